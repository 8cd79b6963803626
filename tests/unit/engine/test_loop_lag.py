"""A loop that was held is seen to have been held."""

import asyncio
import time

import pytest

from beast.engine.loop_lag import SAMPLE_S, LoopLag

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_held_loop_is_counted_as_long_as_it_was_held() -> None:
    lag = LoopLag()
    sampling = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    held_until = time.monotonic() + SAMPLE_S + 0.05
    while time.monotonic() < held_until:
        pass
    for _ in range(10):
        await asyncio.sleep(0)
    [(bound_ns, count)] = lag.buckets()
    assert (bound_ns >= 40e6, count) == (True, 1)
    sampling.cancel()
