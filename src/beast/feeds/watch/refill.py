"""After a gap, every price concerned is told anew: by a trade, or else by REST, once, within the exchange's limits."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from beast._fast import Engine
from beast.base.clock import Clock
from beast.base.tasks import Tasks
from beast.feeds.watch.gaps import Gap, GapBook
from beast.prices.held import held_of, is_proven
from beast.prices.types import Instrument

Refresh = Callable[[Instrument], Awaitable[bool]]
"""Asks an exchange for a market's price, whatever memory holds; says whether it told one."""

SETTLE_S: Final = 3.0
"""What trades often, or comes with the subscription, needs nobody to ask."""
GIVE_UP_S: Final = 600.0
GAPS_MAX: Final = 100
"""Gaps of one place that are filled together; of more, the oldest stay unfilled."""


class Refill:
    """Fills gaps, those of one connection one after another.

    Args:
        engine: Where prices are.
        refresh: Asks by REST.
        book: Is told when a gap is filled.
        clock: The time.
    """

    def __init__(self, engine: Engine, refresh: Refresh, book: GapBook, clock: Clock) -> None:
        self._engine = engine
        self._refresh = refresh
        self._book = book
        self._clock = clock
        self._tasks = Tasks()
        self._under_way: dict[object, tuple[asyncio.Task[None], Sequence[Gap]]] = {}

    def start(
        self, place: object, instruments: Sequence[Instrument], gaps: Sequence[Gap], *, since_ns: int, anew: bool
    ) -> None:
        """Has these told anew. What is under way for the same place goes on in this: it would ask twice.

        Args:
            place: What the gaps are of.
            instruments: Those concerned.
            gaps: Are filled when all of them have been told.
            since_ns: What was received from then on counts, CLOCK_MONOTONIC.
            anew: Over a new connection: whatever this one told counts.
        """
        if (old := self._under_way.get(place)) is not None:
            old[0].cancel()
            gaps = [*old[1], *gaps][-GAPS_MAX:]
        work = self._fill(place, instruments, gaps, since_ns, anew=anew)
        self._under_way[place] = self._tasks.spawn("refill", work), gaps

    async def stop(self) -> None:
        """Gives up all that is under way."""
        await self._tasks.cancel()

    async def _fill(
        self, place: object, instruments: Sequence[Instrument], gaps: Sequence[Gap], since_ns: int, *, anew: bool
    ) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_S):
                await asyncio.sleep(SETTLE_S)
                told = [self._is_told(each, since_ns, anew=anew) or await self._refresh(each) for each in instruments]
            # Who answered nothing may have traded meanwhile.
            if all(
                was or self._is_told(each, since_ns, anew=anew) for was, each in zip(told, instruments, strict=True)
            ):
                for gap in gaps:
                    self._book.fill(gap)
        except TimeoutError:
            pass
        finally:
            if (mine := self._under_way.get(place)) is not None and mine[0] is asyncio.current_task():
                del self._under_way[place]

    def _is_told(self, instrument: Instrument, since_ns: int, *, anew: bool) -> bool:
        held = held_of(self._engine, instrument, self._clock.monotonic_ns())
        if held is None:
            return False
        # A snapshot that repeats the trade held leaves its time of receipt, but moves it to the new connection.
        return held.received_ns >= since_ns or (anew and is_proven(self._engine, instrument, held))
