"""Keeps the exchanges that run in step with their rows."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence

from beast.base.tasks import Tasks
from beast.feeds.manager import FeedManager
from beast.feeds.rows.files import Exchange, Unreadable
from beast.feeds.store import CHANNEL, FeedStore
from beast.feeds.types import Mapping
from beast.storage.database import Database, DatabaseUnavailableError

REREAD_S = 30.0
"""The safety net below NOTIFY."""


async def load_rows(store: FeedStore) -> tuple[list[Exchange], list[Unreadable]]:
    """Every exchange with its assets, and those that can't be read."""
    feeds, unreadable = await store.list_feeds()
    assets = defaultdict[str, list[Mapping]](list)
    for mapping in await store.list_mappings():
        assets[mapping.exchange].append(mapping)
    return [Exchange(feed, tuple(assets[feed.name])) for feed in feeds], unreadable


async def follow_rows(
    store: FeedStore, feeds: FeedManager, database: Database, report: Callable[[str | None], None]
) -> None:
    """Applies the exchanges' rows when they change, and now and then anyway, until cancelled.

    Args:
        store: Where the rows are.
        feeds: What they are applied to.
        database: Tells that they have changed.
        report: Told what is wrong with the rows, or None when they are well again.
    """
    changed = asyncio.Event()
    notices = Tasks()
    notices.spawn("feed notices", _listen_into(changed, database))
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REREAD_S):
                    await changed.wait()
            changed.clear()
            try:
                await feeds.apply(*await load_rows(store))
            except (DatabaseUnavailableError, ValueError) as error:
                report(f"the rows could not be applied: {error}")
            else:
                report(None)
    finally:
        await notices.cancel()


def products_of(rows: Sequence[Exchange]) -> list[tuple[str, str, str, str]]:
    """Every market of the rows, so that the simulator has what they subscribe."""
    return [(each.feed.name, row.symbol, row.asset, row.currency) for each in rows for row in each.assets]


async def _listen_into(changed: asyncio.Event, database: Database) -> None:
    """Sets the event whenever rows of exchanges have, or may have, changed."""
    async for _ in database.listen(CHANNEL):
        changed.set()
