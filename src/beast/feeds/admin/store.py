"""The statements of the exchange admin."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from beast.feeds.admin.rows import AssetBatch, AssetRow, Columns, mapping_of, merged_feed
from beast.feeds.store import QUERIES, full
from beast.feeds.turns import TURN, in_turns
from beast.feeds.types import Feed
from beast.storage.database import Connection, Database

PAGE: Final = 500
"""Rows read at once: some ms of the event loop."""


class FeedOverview(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange's row, and how many assets it maps."""

    feed: dict[str, Any]
    updated_at: datetime
    assets: int
    enabled_assets: int
    prewarmed_assets: int


class FeedSwitch(msgspec.Struct, frozen=True):
    """Whether an exchange is on."""

    name: str
    enabled: bool


class SavedAssets(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a batch."""

    added: int
    changed: int
    exchanges: list[str]


class AdminStore:
    """Statements of `queries.sql` as methods. Every method may raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_feeds(self) -> list[FeedOverview]:
        """All exchanges, in order of priority."""
        return await self._database.fetch(QUERIES["feed_overview"], row=FeedOverview)

    async def list_assets(self, exchange: str | None = None) -> AsyncIterator[list[AssetRow]]:
        """The rows of one exchange or of all, a page at a time, in order of their ids."""
        exchanges = None if exchange is None else [exchange]
        after = 0
        while True:
            values = {"exchanges": exchanges, "after": after, "limit": PAGE}
            page = await self._database.fetch(QUERIES["asset_page"], values, row=AssetRow)
            yield page
            if len(page) < PAGE:
                return
            after = page[-1].id

    async def toggle_feed(self, name: str, enabled: bool | None) -> FeedSwitch | None:  # noqa: FBT001 - SQL's NULL
        """Switches an exchange on or off, or over; None when there is none of this name."""
        return await self._database.fetch_one(
            QUERIES["toggle_feed"], {"name": name, "enabled": enabled}, row=FeedSwitch
        )

    async def toggle_asset(
        self,
        *,
        row_id: int | None = None,
        exchange: str | None = None,
        asset: str | None = None,
        enabled: bool | None = None,
        prewarm: bool | None = None,
    ) -> AssetRow | None:
        """Changes one row, told by its id or by exchange and asset; None when there is none.

        Without `enabled` and `prewarm` the row is switched over.
        """
        values = {"id": row_id, "exchange": exchange, "asset": asset, "enabled": enabled, "prewarm": prewarm}
        return await self._database.fetch_one(QUERIES["toggle_asset"], values, row=AssetRow)

    async def save_feed(self, columns: Columns) -> tuple[Feed, bool]:
        """Inserts or changes an exchange's row; returns it, and whether it is new.

        Raises:
            RowsError: It is not valid, alone or with its assets; nothing has changed.
        """
        name = columns.get("name")
        async with self._database.transaction() as connection:
            stored = await _lock(connection, [name] if isinstance(name, str) and "\0" not in name else [])
            assets = [mapping_of(row) for row in (await _assets(connection, list(stored))).values()]
            feed = merged_feed(columns, next(iter(stored.values()), None), assets)
            await connection.execute(QUERIES["save_feed"], {"feed": msgspec.json.encode(full(feed)).decode()})
        return feed, not stored

    async def save_assets(self, batch: AssetBatch) -> SavedAssets:
        """Inserts or changes all rows of a batch, or none.

        Raises:
            BatchError: With the rows that are not valid, alone or with others; nothing has changed.
        """
        async with self._database.transaction() as connection:
            rows = await _lock(connection, [name for name in batch.exchanges if "\0" not in name])
            feeds = {name: feed for name, row in rows.items() if (feed := _read(row)) is not None}
            stored = await _assets(connection, list(feeds))
            merged = await batch.merge(feeds, stored)
            for exchange, mappings in merged.items():
                async for part in in_turns(mappings, TURN):
                    assets = msgspec.json.encode([full(each) for each in part]).decode()
                    await connection.execute(QUERIES["save_categories"], {"assets": assets})
                    for query in ("update_mappings", "insert_mappings"):
                        await connection.execute(QUERIES[query], {"exchange": exchange, "assets": assets})
        changed = sum((name, each.asset) in stored for name, mappings in merged.items() for each in mappings)
        return SavedAssets(added=sum(map(len, merged.values())) - changed, changed=changed, exchanges=sorted(merged))


async def _lock(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The rows of these exchanges: each is the lock under which its assets change."""
    cursor = await connection.execute(QUERIES["lock_feeds"], {"names": list(names)})
    return {row["name"]: row for (row,) in await cursor.fetchall()}


async def _assets(connection: Connection, exchanges: Sequence[str]) -> dict[tuple[str, str], AssetRow]:
    found: dict[tuple[str, str], AssetRow] = {}
    after = 0
    while True:
        values = {"exchanges": list(exchanges), "after": after, "limit": PAGE}
        page = await (await connection.execute(QUERIES["asset_page"], values)).fetchall()
        rows = [AssetRow(**dict(zip(AssetRow.__struct_fields__, row, strict=True))) for row in page]
        found.update(((row.exchange, row.asset), row) for row in rows)
        if len(page) < PAGE:
            return found
        after = rows[-1].id


def _read(row: dict[str, Any]) -> Feed | None:
    try:
        return msgspec.convert(row, Feed)
    except msgspec.ValidationError:
        return None
