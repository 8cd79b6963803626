"""A stand-in for the exchanges: real servers on loopback that speak every dialect, for the demo and for tests."""

from beast.feeds.simulator.server import Simulator
from beast.feeds.simulator.types import Product

__all__ = ["Product", "Simulator"]
