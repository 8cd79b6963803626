"""Fixtures that every test may ask for. What they make is in tests/fixtures."""

import logging
from collections.abc import Iterator

import pytest
import structlog

pytest_plugins = ["tests.fixtures.postgres"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that a test runs in this process sets logging up for itself; the next test begins anew."""
    root = logging.getLogger()
    handlers, level, configured = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**configured)
