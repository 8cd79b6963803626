"""Who may have a report made now: a few at once, and nobody all of them."""

import asyncio
from collections import Counter

WAIT_S = 5.0


class BusyError(Exception):
    """Too many reports are being made; one may have ended in a moment."""

    def __init__(self) -> None:
        super().__init__("too many reports are being made; try again in a moment")


class Turns:
    """Gives turns to customers.

    Args:
        at_once: As many turns are taken at once, half of them (but one at least) by one customer.
        wait_s: How long to wait for one.
    """

    def __init__(self, at_once: int, *, wait_s: float = WAIT_S) -> None:
        self._at_once = at_once
        self._wait_s = wait_s
        self._taken: Counter[int | None] = Counter()
        self._left = asyncio.Condition()

    @property
    def taken(self) -> int:
        """Turns taken now."""
        return self._taken.total()

    def tune(self, at_once: int) -> None:
        """Changes how many there are, from the next one on."""
        self._at_once = at_once

    async def take(self, who: int | None) -> None:
        """Waits for a turn; to be given back by leave().

        Raises:
            BusyError: there was none in time.
        """
        try:
            async with asyncio.timeout(self._wait_s), self._left:
                await self._left.wait_for(lambda: self._free(who))
                self._taken[who] += 1
        except TimeoutError:
            raise BusyError from None

    async def leave(self, who: int | None) -> None:
        """Gives one turn back."""
        self._taken[who] -= 1
        if not self._taken[who]:
            del self._taken[who]
        async with self._left:
            self._left.notify_all()

    def _free(self, who: int | None) -> bool:
        return self.taken < self._at_once and self._taken[who] < max(1, self._at_once // 2)
