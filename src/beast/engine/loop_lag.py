"""How late the event loop is: the workers never notice, feeds and everything behind ASGI do."""

import asyncio

import structlog

from beast.engine.histogram import Histogram

SAMPLE_S = 0.1
LATE_MS = 50.0
"""From here on it is worth a line in the log."""

log = structlog.get_logger(__name__)


class LoopLag(Histogram):
    """Counts how much later than asked the loop wakes a sleeper."""

    async def run(self) -> None:
        """Samples until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + SAMPLE_S
            await asyncio.sleep(SAMPLE_S)
            lag_ms = (loop.time() - due) * 1e3
            self.record(int(lag_ms * 1e6))
            if lag_ms > LATE_MS:
                log.debug("loop.late", lag_ms=round(lag_ms, 1))
