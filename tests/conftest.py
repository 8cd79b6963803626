"""Fixtures that every test may ask for. What they make is in tests/fixtures."""

import pytest

pytest_plugins = ["tests.fixtures.postgres"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
