"""The consumer as a process of its own: from a queue into the tables."""

import asyncio
from contextlib import suppress
from random import Random

import structlog

from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.base.retry import Backoff
from beast.storage.database import Database
from beast.usage.consumer import consume
from beast.usage.sink import Message, Source
from beast.usage.types import Fate

log = structlog.get_logger(__name__)


class Consuming:
    """Consumes until it is told to stop.

    Args:
        source: The queue.
        database: An open database.
        clock: The time.
    """

    def __init__(self, source: Source, database: Database, clock: Clock) -> None:
        self.booked = self.repeated = self.dead = 0
        self._source = source
        self._database = database
        self._clock = clock
        self._held: list[Message] = []
        """Received, and not acknowledged yet. While the database is away it is these that are tried again: a queue
        counts how often it has brought a message, and puts it aside in the end."""

    async def run(self, stop: asyncio.Event, *, until_empty: bool = False) -> None:
        """Returns when `stop` is set and what was received is booked, or when the queue is empty if so wanted.

        While queue or database are away it tries again, for as long as it takes; told to stop, it gives back what it
        could not book.
        """
        try:
            await self._run(stop, until_empty=until_empty)
        finally:
            if self._held:
                await self._source.release(self._held)

    async def _run(self, stop: asyncio.Event, *, until_empty: bool) -> None:
        backoff = Backoff(Random(), first_s=0.1, limit_s=10)  # noqa: S311 - jitter, no secret
        while not stop.is_set():
            try:
                received = await self.turn()
            except BeastError as error:
                log.warning("usage.consumer_waits", error=str(error))
                with suppress(TimeoutError):
                    async with asyncio.timeout(backoff.next_s()):
                        await stop.wait()
                continue
            backoff.reset()
            if until_empty and not received:
                return

    async def turn(self) -> int:
        """Books what the queue has now; returns how many messages that was.

        Raises:
            BeastError: Nothing was acknowledged: the next turn is about the same.
        """
        self._held = messages = self._held or list(await self._source.receive())
        if not messages:
            return 0
        outcomes = await consume(self._database, [message.body for message in messages], self._clock)
        fates = [outcome.fate for outcome in outcomes]
        self.booked += fates.count(Fate.BOOKED)
        self.repeated += fates.count(Fate.REPEATED)
        self.dead += fates.count(Fate.DEAD)
        # Whatever its fate: none of them needs to come again.
        await self._source.acknowledge(messages)
        self._held = []
        return len(messages)
