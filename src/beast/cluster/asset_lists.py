"""The lists of assets in `application_parameters`, for programs that read them there."""

from typing import Final

import msgspec

from beast.base.clock import Clock
from beast.base.errors import BeastError
from beast.cluster.store import ParameterStore
from beast.feeds.store import FeedStore
from beast.storage.database import Database

PREFIX: Final = "exchange_assets_"
MASTER: Final = "master"


class SyncedLists(msgspec.Struct, frozen=True):
    """How many assets each parameter holds now."""

    parameters: dict[str, int]


class AssetLists:
    """Writes `exchange_assets_NAME` of every exchange that is on, and `exchange_assets_master`.

    Each is one record of CSV: the names of the assets that are enabled, in order; in the master list each once.

    Args:
        database: An open database.
        clock: Says when a parameter was set.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._feeds = FeedStore(database)
        self._parameters = ParameterStore(database, clock)

    async def sync(self) -> SyncedLists:
        """Writes the lists of the rows as they are, and removes those of exchanges that are off or gone.

        Raises:
            BeastError: An exchange has the master list's name.
            DatabaseUnavailableError: Nothing has changed.
        """
        feeds, _ = await self._feeds.list_feeds()
        assets: dict[str, set[str]] = {feed.name: set() for feed in feeds if feed.enabled}
        if MASTER in assets:
            raise BeastError("an exchange of this name would overwrite the master list", where=MASTER)
        for row in await self._feeds.list_mappings():
            if row.enabled and row.exchange in assets:
                assets[row.exchange].add(row.asset)
        assets[MASTER] = {asset for each in assets.values() for asset in each}
        lists = {PREFIX + name: ",".join(sorted(each)) for name, each in assets.items()}
        await self._parameters.set_lists(PREFIX, lists)
        return SyncedLists({PREFIX + name: len(each) for name, each in sorted(assets.items())})
