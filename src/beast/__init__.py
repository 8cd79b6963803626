"""Beast: a self-hosted crypto price server."""

from importlib.metadata import version

__version__ = version("trinity-beast")
