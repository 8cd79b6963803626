"""Keeps mv_usage_daily fresh: by pg_cron where the database has it, by the servers where not."""

import asyncio

import structlog

from beast.cluster.types import Parameters
from beast.insights.store import InsightStore
from beast.storage.database import Database, DatabaseUnavailableError

LOOK_S = 15.0
"""Between two looks whether it is due; every server looks, and an advisory lock lets one of them work."""
CRON_LATE = 3
"""pg_cron that has missed so many turns is no longer trusted: the servers do it again."""

log = structlog.get_logger(__name__)


class Refresher:
    """Refreshes the rollup when it is due.

    Args:
        database: An open database.
    """

    def __init__(self, database: Database) -> None:
        self._store = InsightStore(database)
        self._every_s = float(Parameters().rollup_refresh_s)
        self._by_cron: bool | None = None

    def tune(self, parameters: Parameters) -> None:
        """Takes `rollup_refresh_s`, from now on; 0: never."""
        self._every_s = float(parameters.rollup_refresh_s)

    async def run(self) -> None:
        """Until cancelled. While the database is away the rollup stays as it is."""
        while True:
            try:
                await self.tick()
            except DatabaseUnavailableError as error:
                log.warning("insights.rollup_late", error=str(error))
            await asyncio.sleep(LOOK_S)

    async def tick(self) -> bool:
        """Does what is due; True when this server has refreshed the rollup.

        Raises:
            DatabaseUnavailableError: It is still due.
        """
        if self._every_s <= 0:
            return False
        if self._by_cron is None:
            self._by_cron = await self._store.schedule()
            log.info("insights.rollup", by="pg_cron" if self._by_cron else "server")
        return await self._store.refresh(self._every_s * (CRON_LATE if self._by_cron else 1))
