"""Assets that are asked for often are subscribed by themselves."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from beast.base.errors import BeastError

SLICE_S: Final = 5.0
SLICES: Final = 12
"""The window is a minute, and moves on by a slice."""

log = structlog.get_logger(__name__)


class Prewarming:
    """Counts answers about assets that no connection brings, and has those subscribed that are asked for too often.

    Args:
        take_answers: How many answers there were of each instrument since it was called last.
        unsubscribed: The asset of an instrument that no connection brings; None of any other.
        prewarm: Subscribes an asset wherever it is mapped, on all nodes; returns at how many exchanges it was not.
    """

    def __init__(
        self,
        take_answers: Callable[[], Mapping[int, int]],
        unsubscribed: Callable[[int], str | None],
        prewarm: Callable[[str], Awaitable[int]],
    ) -> None:
        self._take_answers = take_answers
        self._unsubscribed = unsubscribed
        self._prewarm = prewarm
        self._window = deque[Counter[str]](maxlen=SLICES)
        self.after = 0
        """Answers a minute that are too many; 0: none is."""

    async def run(self) -> None:
        """Looks once a slice, until cancelled."""
        while True:
            await asyncio.sleep(SLICE_S)
            await self.look()

    async def look(self) -> None:
        """Ends a slice of the window, and acts on what the window holds now."""
        counted = Counter[str]()
        for instrument, answers in self._take_answers().items():
            if asset := self._unsubscribed(instrument):
                counted[asset] += answers
        self._window.append(counted)
        total = Counter[str]()
        for each in self._window:
            total.update(each)
        for asset in list(counted):  # what is subscribed leaves the window
            if 0 < self.after <= total[asset]:
                await self._subscribe(asset, total[asset])

    async def _subscribe(self, asset: str, answers: int) -> None:
        try:
            exchanges = await self._prewarm(asset)
        except BeastError as error:
            log.warning("prewarm.failed", asset=asset, error=str(error))
            return
        if exchanges:
            log.info("prewarm.subscribed", asset=asset, exchanges=exchanges, answers_a_minute=answers)
        for each in self._window:
            del each[asset]
