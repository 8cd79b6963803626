"""What several of these tests start from; a file that needs another kind has a fixture of the same name."""

from collections.abc import AsyncIterator

import pytest
from tests.fixtures.exchange import FakeExchange, running_exchange
from tests.fixtures.feeds import House

from beast.feeds.simulator.server import Simulator


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    """All simulated exchanges, in a hurry."""
    made = Simulator(rate=20)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def exchange() -> AsyncIterator[FakeExchange]:
    """A small exchange that does what the test says."""
    async with running_exchange() as running:
        yield running


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """An engine and its feeds, without rows yet."""
    made = House()
    yield made
    await made.manager.stop()
