"""What changes by time alone: a source gone quiet leaves its consensus, a price held back is looked at again."""

import asyncio
from typing import Protocol

from beast.base.clock import Clock

SWEEP_S = 0.25
"""BEAST_SWEEP_NS in _fast/c/price_table.h."""


class Swept(Protocol):
    """What is needed of the engine."""

    def sweep(self, now_ns: int) -> None:
        """Looks at all of it again; `now_ns` is CLOCK_MONOTONIC."""


async def sweep(engine: Swept, clock: Clock) -> None:
    """Sweeps the price table every SWEEP_S seconds, until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_S)
        engine.sweep(clock.monotonic_ns())
