"""The sink that needs no queue: straight into PostgreSQL, by the consumer itself."""

from collections.abc import Callable, Sequence

from beast.base.clock import Clock
from beast.storage.database import Database
from beast.usage.consumer import book
from beast.usage.types import BATCH_RECORDS, Batch, Fate, Identity


class PostgresSink:
    """Books what it is given.

    Args:
        database: An open database.
        clock: The time.
        dead: Called with the reason when a batch could not be booked, ever.
    """

    books = True
    timed = False
    longest = BATCH_RECORDS

    def __init__(self, database: Database, clock: Clock, dead: Callable[[str], None]) -> None:
        self._database = database
        self._clock = clock
        self._dead = dead

    async def put(self, batches: Sequence[Batch]) -> Sequence[Identity]:
        """See Sink. All or none of them: what can't be booked is a dead letter, and so acknowledged as well."""
        for outcome in await book(self._database, batches, self._clock):
            if outcome.fate == Fate.DEAD:
                self._dead(outcome.reason)
        return [batch.identity for batch in batches]
