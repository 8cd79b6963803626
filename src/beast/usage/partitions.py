"""Keeps the tables of usage in shape. One node at a time does it.

Partitions are made ahead and dropped in time. While rows come, a day has one index; when it is over it gets the others.
"""

import asyncio
from datetime import timedelta

import structlog

from beast.accounts.months import utc
from beast.base.clock import Clock
from beast.cluster.types import Parameters
from beast.storage.database import DatabaseUnavailableError
from beast.usage.store import Tidied, UsageStore

EVERY_S = 600.0
IDENTITY_DAYS = 30
"""Identities of batches are kept at least so long: a server that was off for that long may still bring repeats."""

FINISHED = timedelta(hours=1)
"""So long after its end a day is finished. What comes later is booked all the same, and costs more."""

log = structlog.get_logger(__name__)


class Partitions:
    """Makes, finishes and drops; `run()` is its one long task.

    Args:
        store: The tables.
        clock: Says which day it is, in UTC.
    """

    def __init__(self, store: UsageStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._changed = asyncio.Event()
        self._parameters = Parameters()

    def tune(self, parameters: Parameters) -> None:
        """Takes the retention and how far ahead, and acts on it at once."""
        self._parameters = parameters
        self._changed.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_tidy(), name="usage partitions")
            group.create_task(self._keep_finished(), name="usage indexes")

    async def _keep_tidy(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self.tidy()
            except DatabaseUnavailableError as error:
                # A reader that holds the table makes the dropping give up, too.
                log.warning("usage.not_tidied", error=str(error))
            try:
                async with asyncio.timeout(EVERY_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _keep_finished(self) -> None:
        while True:
            try:
                await self.finish()
            except DatabaseUnavailableError as error:
                # A day may have been dropped meanwhile; what is half made is made anew.
                log.warning("usage.not_finished", error=str(error))
            await asyncio.sleep(EVERY_S)

    async def finish(self) -> list[str] | None:
        """Gives the days that are over what they lack; their partitions' names, None when another node is at it.

        Raises:
            DatabaseUnavailableError: It could not be done, or not to its end.
        """
        finished = await self._store.finish((utc(self._clock.wall_ns()) - FINISHED).date())
        if finished:
            log.info("usage.finished", days=finished)
        return finished

    async def tidy(self) -> Tidied | None:
        """Does what is due; None when another node is at it.

        Raises:
            DatabaseUnavailableError: It could not be done now.
        """
        tidied = await self._store.tidy(
            today=utc(self._clock.wall_ns()).date(),
            ahead=self._parameters.usage_partitions_ahead,
            days=self._parameters.usage_retention_days,
            identity_days=IDENTITY_DAYS,
        )
        if tidied is not None and (tidied.dropped or tidied.forgotten):
            log.info("usage.tidied", dropped=tidied.dropped, forgotten=tidied.forgotten)
        return tidied
