"""The only place in feeds that talks to the database: the tables exchange_feeds and exchange_asset_map."""

from typing import Any

import msgspec

from beast.base.errors import BeastError
from beast.feeds.rows.files import Exchange, RowsError, Unreadable, validate
from beast.feeds.turns import in_turns
from beast.feeds.types import Feed, Mapping
from beast.storage.database import Connection, Database
from beast.storage.queries import Queries

CHANNEL = "beast_feeds"
"""Notified, with the exchange's name as payload, when one of its rows changes."""

QUERIES = Queries("beast.feeds")


class _FeedRow(msgspec.Struct):
    feed: dict[str, Any]


class FeedStore:
    """Statements of `queries.sql` as methods. Every method may raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_feeds(self) -> tuple[list[Feed], list[Unreadable]]:
        """All exchanges, in order of priority, and those among them that can't be read."""
        rows = await self._database.fetch(QUERIES["feeds"], {"name": None}, row=_FeedRow)
        read = [_feed(row) for row in rows]
        return [row for row in read if isinstance(row, Feed)], [row for row in read if isinstance(row, Unreadable)]

    async def list_mappings(self) -> list[Mapping]:
        """The assets of all exchanges."""
        return await self._database.fetch(QUERIES["mappings"], {"exchange": None}, row=Mapping)

    async def exchange(self, name: str) -> Exchange:
        """All rows of one exchange. Raises BeastError when there is none of this name, or it can't be read."""
        row = await self._database.fetch_one(QUERIES["feeds"], {"name": name}, row=_FeedRow)
        if row is None:
            raise _unknown(name)
        feed = _feed(row)
        if isinstance(feed, Unreadable):
            raise BeastError(feed.reason, where=name, todo="import its rows again")
        assets = await self._database.fetch(QUERIES["mappings"], {"exchange": name}, row=Mapping)
        return Exchange(feed, tuple(assets))

    async def save(self, exchange: Exchange, *, replace: bool = False) -> Exchange:
        """Inserts or updates all rows of an exchange in one transaction; returns what the table then holds.

        Args:
            exchange: Valid rows.
            replace: Also delete the assets that `exchange` doesn't name; else they stay as they are.

        Raises:
            RowsError: The rows don't go together with those that stay; nothing has changed.
        """
        name = exchange.feed.name
        assets = msgspec.json.encode([full(mapping) for mapping in exchange.assets]).decode()
        async with self._database.transaction() as connection:
            # The feed first: its row is the lock under which an exchange's assets change.
            await connection.execute(QUERIES["save_feed"], {"feed": msgspec.json.encode(full(exchange.feed)).decode()})
            if replace:
                kept = [mapping.asset for mapping in exchange.assets]
                await connection.execute(QUERIES["delete_other_mappings"], {"exchange": name, "kept": kept})
            await connection.execute(QUERIES["save_categories"], {"assets": assets})
            for query in ("update_mappings", "insert_mappings"):
                await connection.execute(QUERIES[query], {"exchange": name, "assets": assets})
            merged = Exchange(exchange.feed, await _mappings(connection, name))
            if faults := validate(merged):
                raise RowsError(faults, where=f"{name}, together with the assets that are there already")
        return merged

    async def prewarm(self, asset: str) -> int:
        """Has an asset subscribed wherever it is mapped; returns at how many exchanges it was not."""
        return await self._database.execute(QUERIES["prewarm_asset"], {"asset": asset})

    async def enable(self, name: str, *, enabled: bool) -> None:
        """Switches an exchange on or off. Raises BeastError when there is none of this name."""
        if not await self._database.execute(QUERIES["enable_feed"], {"name": name, "enabled": enabled}):
            raise _unknown(name)


def _feed(row: _FeedRow) -> Feed | Unreadable:
    try:
        return msgspec.convert(row.feed, Feed)
    except msgspec.ValidationError as error:
        return Unreadable(row.feed["name"], row.feed["enabled"], f"the row can't be read: {error}")


async def read_exchange(connection: Connection, name: str) -> Exchange | None:
    """All rows of one exchange, whose own row nobody else changes until the transaction ends; None: it has none.

    Raises BeastError when they can't be read.
    """
    found = await (await connection.execute(QUERIES["lock_feeds"], {"names": [name]})).fetchone()
    if found is None:
        return None
    feed = _feed(_FeedRow(found[0]))
    if isinstance(feed, Unreadable):
        raise BeastError(feed.reason, where=name, todo="import its rows again")
    return Exchange(feed, await _mappings(connection, name))


async def write_difference(connection: Connection, old: Exchange | None, new: Exchange) -> None:
    """Makes an exchange's rows what `new` says, which is valid; what `old` says already is not touched."""
    name = new.feed.name
    if old is None or old.feed != new.feed:
        await connection.execute(QUERIES["save_feed"], {"feed": msgspec.json.encode(full(new.feed)).decode()})
    before = {row.asset: row for row in old.assets} if old else {}
    if before.keys() - {row.asset for row in new.assets}:
        kept = [row.asset for row in new.assets]
        await connection.execute(QUERIES["delete_other_mappings"], {"exchange": name, "kept": kept})
    async for part in in_turns([row for row in new.assets if before.get(row.asset) != row]):
        assets = msgspec.json.encode([full(row) for row in part]).decode()
        await connection.execute(QUERIES["save_categories"], {"assets": assets})
        for query in ("update_mappings", "insert_mappings"):
            await connection.execute(QUERIES[query], {"exchange": name, "assets": assets})


def full(row: Feed | Mapping) -> dict[str, Any]:
    """A row with its defaults written out: an import leaves no column as it was."""
    return {name: msgspec.to_builtins(value) for name, value in msgspec.structs.asdict(row).items()}


async def _mappings(connection: Connection, exchange: str) -> tuple[Mapping, ...]:
    cursor = await connection.execute(QUERIES["mappings"], {"exchange": exchange})
    rows = await cursor.fetchall()
    return tuple(Mapping(**dict(zip(Mapping.__struct_fields__, row, strict=True))) for row in rows)


def _unknown(name: str) -> BeastError:
    return BeastError(f"there is no exchange {name!r}", todo="beast feeds list shows those there are")
