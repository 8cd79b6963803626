"""What operators ask of usage: is all of it there, what could not be booked, how much is it."""

from datetime import datetime, timedelta

import msgspec

from beast.accounts.months import utc
from beast.base.clock import Clock
from beast.storage.database import Database
from beast.usage.consumer import rebook
from beast.usage.queues import AnyQueue
from beast.usage.store import Day, DeadLetter, UsageStore
from beast.usage.types import Outcome
from beast.usage.verify import Verification, verify

LAST_ID = 2**63 - 1
PAGE_MAX = 1000


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Usage at one moment."""

    at: datetime
    pending: int
    """Answers of this node that are not booked yet."""
    dead_letters: int
    days: list[Day]


class UsageAdmin:
    """Read from the tables; a running server's own part is told to them every two seconds.

    Args:
        database: An open database.
        clock: The time.
        queue: What usage goes through, if it goes through one.
    """

    def __init__(self, database: Database, clock: Clock, queue: AnyQueue | None = None) -> None:
        self._database = database
        self._queue = queue
        self._store = UsageStore(database)
        self._clock = clock

    async def summary(self, *, days: int, pending: int = 0) -> Summary:
        """The last so many days."""
        now = utc(self._clock.wall_ns())
        since = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
        return Summary(
            at=now,
            pending=pending,
            dead_letters=await self._store.count_dead_letters(),
            days=await self._store.days(since),
        )

    async def verify(self, since: datetime | None, until: datetime | None) -> Verification:
        """See beast.usage.verify. What the queue says of itself is told, and nothing concluded from it."""
        found = await verify(self._database, self._clock, since=since, until=until)
        return found if self._queue is None else msgspec.structs.replace(found, queue=await self._queue.depth())

    async def dead_letters(self, *, before: int = LAST_ID, limit: int = 100) -> list[DeadLetter]:
        """The newest with ids below `before`, PAGE_MAX at most."""
        return await self._store.dead_letters(before=before, limit=min(limit, PAGE_MAX))

    async def dead_letter(self, number: int) -> bytes | None:
        """One's body, as it came."""
        return await self._store.dead_letter(number)

    async def retry_dead_letter(self, number: int) -> Outcome | None:
        """Books it after all, if it can be booked by now; None when there is none."""
        return await rebook(self._database, number, self._clock)

    async def delete_dead_letter(self, number: int) -> DeadLetter | None:
        """For good; None when there is none."""
        return await self._store.delete_dead_letter(number)
