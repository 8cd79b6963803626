"""Builds what watches the exchanges, and what explains prices."""

import contextlib
from collections.abc import Callable

from beast._fast import Engine
from beast.base.clock import Clock
from beast.base.tasks import Tasks
from beast.feeds.manager import FeedManager
from beast.feeds.watch.gaps import GapBook
from beast.feeds.watch.health import FeedsHealth
from beast.feeds.watch.refill import Refill, Refresh
from beast.feeds.watch.watchdog import Watchdog
from beast.feeds.watch.why import Explainer
from beast.prices.catalogue import Catalogue
from beast.storage.database import Database, DatabaseUnavailableError


class Watching:
    """The watchdog of one server.

    Args:
        engine: Memory.
        catalogue: What can be asked for.
        feeds: The exchanges that run.
        database: Where rows and gaps are.
        refresh: Asks by REST.
        node: The server's name.
        clock: The time.
    """

    def __init__(
        self,
        engine: Engine,
        catalogue: Catalogue,
        feeds: FeedManager,
        database: Database,
        *,
        refresh: Refresh,
        node: str,
        clock: Clock,
    ) -> None:
        self.book = GapBook(database, node=node, clock=clock)
        self._refill = Refill(engine, refresh, self.book, clock)
        self.watchdog = Watchdog(feeds, engine, catalogue, book=self.book, refill=self._refill, clock=clock)
        self.health = FeedsHealth(feeds, self.watchdog, engine, clock)
        self.explainer = Explainer(engine, catalogue, feeds, self.health, database=database, clock=clock)

    def start(self, tasks: Tasks, report: Callable[[str | None], None]) -> None:
        """Starts what runs in the background; `report` is told when gaps can't be written, None when they can."""
        tasks.spawn("watchdog", self.watchdog.run())
        tasks.spawn("feed gaps", self.book.run(report))

    async def stop(self) -> None:
        """Asks no exchange any more, and writes what it still can."""
        await self._refill.stop()
        with contextlib.suppress(DatabaseUnavailableError):
            await self.book.write()
