"""A loop that was held is seen to have been held."""

import asyncio
import time

import pytest

from beast.engine.loop_lag import SAMPLE_S, LoopLag

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_worst_sample_is_told_once() -> None:
    lag = LoopLag()
    sampling = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    held_until = time.monotonic() + SAMPLE_S + 0.05
    while time.monotonic() < held_until:
        pass
    for _ in range(10):
        await asyncio.sleep(0)
    assert lag.take_worst_ms() >= 50
    assert lag.take_worst_ms() == 0
    sampling.cancel()
