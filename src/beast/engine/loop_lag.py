"""How late the event loop is: the workers never notice, feeds and everything behind ASGI do."""

import asyncio

import structlog

SAMPLE_S = 0.1
LATE_MS = 50.0
"""From here on it is worth a line in the log."""

log = structlog.get_logger(__name__)


class LoopLag:
    """Samples how much later than asked the loop wakes a sleeper.

    `worst_ms` is the worst sample since it was last asked for.
    """

    def __init__(self) -> None:
        self._worst_ms = 0.0

    async def run(self) -> None:
        """Samples until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + SAMPLE_S
            await asyncio.sleep(SAMPLE_S)
            lag_ms = (loop.time() - due) * 1e3
            self._worst_ms = max(self._worst_ms, lag_ms)
            if lag_ms > LATE_MS:
                log.debug("loop.late", lag_ms=round(lag_ms, 1))

    def take_worst_ms(self) -> float:
        """The worst sample, in ms, since the last call."""
        worst, self._worst_ms = self._worst_ms, 0.0
        return worst
