"""The only place in usage that talks to the database."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

import msgspec

from beast._fast import COPY_HEADER, COPY_TRAILER
from beast.storage.database import Connection, Database, rows_of
from beast.storage.queries import Queries
from beast.usage.types import Identity

_QUERIES = Queries("beast.usage")

COPY_PIECE = 1 << 17
"""Bytes that the loop hands on in one turn."""


class NewBatch(msgspec.Struct, frozen=True):
    """A row of `usage_batches` to be."""

    identity: Identity
    last: int
    digest: bytes
    hour: datetime


class KeyCount(msgspec.Struct, frozen=True):
    """What one key is to be charged."""

    key_id: int
    answers: int
    month: date
    used_at: datetime


class HourCount(msgspec.Struct, frozen=True):
    """Answers of one key in one hour."""

    hour: datetime
    key_id: int
    answers: int


class Tidied(msgspec.Struct, frozen=True):
    """What tidy() did."""

    made: int
    dropped: list[str]
    forgotten: int


class _Mine(msgspec.Struct, frozen=True):
    mine: bool


class _Work(msgspec.Struct, frozen=True):
    """A statement that a day which is over still wants."""

    day: date
    part: str
    statement: str


class DeadLetter(msgspec.Struct, frozen=True):
    """A row of `usage_dead_letters`, as it may be shown."""

    id: int
    at: datetime
    reason: str
    type: str
    bytes: int
    begins: str
    """Its first characters."""


class Day(msgspec.Struct, frozen=True):
    """Answers of one day of UTC."""

    day: datetime
    answers: int
    keys: int
    """How many API keys asked."""


class Edge(msgspec.Struct, frozen=True):
    """What one lane says of itself; ranges as PostgreSQL writes a multirange."""

    boot: int
    lane: int
    made: int
    waiting: str
    lost: str


class _Digest(msgspec.Struct, frozen=True):
    node: str
    boot: int
    lane: int
    first: int
    digest: bytes


class _Body(msgspec.Struct, frozen=True):
    body: bytes


class _Letters(msgspec.Struct, frozen=True):
    letters: int


class UsageStore:
    """Statements of `queries.sql` on their own. Every method may raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def make_partitions(self, first: date, last: date) -> None:
        """Makes the partitions of these days, if they are missing. In its own transaction: others needn't wait."""
        await self._database.execute(_QUERIES["make_partitions"], {"first": first, "last": last})

    async def tidy(self, *, today: date, ahead: int, days: int, identity_days: int) -> Tidied | None:
        """Partitions made `ahead` days and dropped after `days`; None when another node is at it."""
        values = {"today": today, "ahead": ahead, "days": days, "identity_days": identity_days}
        return await self._database.fetch_one(_QUERIES["tidy"], values, row=Tidied)

    async def finish(self, before: date) -> list[str] | None:
        """Freezes the partitions of days before one and makes the indexes that they lack, the last day first.

        Returns:
            The names of those that lacked any; None when another node is at it.
        """
        finished: list[str] = []
        async with self._database.apart() as connection:
            (lead,) = await rows_of(connection, _QUERIES["lead_finishing"], row=_Mine)
            if not lead.mine:
                return None
            while work := await rows_of(connection, _QUERIES["unfinished"], {"before": before}, row=_Work):
                for each in work:
                    await connection.execute(each.statement.encode())
                finished.append(work[0].part)
                before = work[0].day
        return finished

    async def known(self, batches: Sequence[tuple[Identity, int]]) -> set[Identity]:
        """Which of these, each with its last number, are booked to the last record, in one piece or in parts."""
        if not batches:
            return set()
        values = {**_columns([identity for identity, _ in batches]), "lasts": [last for _, last in batches]}
        return set(await self._database.fetch(_QUERIES["booked_wholly"], values, row=Identity))

    async def dead_letters(self, *, before: int, limit: int) -> list[DeadLetter]:
        """At most `limit` with ids below `before`, the newest first."""
        return await self._database.fetch(_QUERIES["dead_letters"], {"before": before, "limit": limit}, row=DeadLetter)

    async def count_dead_letters(self) -> int:
        """How many there are."""
        found = await self._database.fetch_one(_QUERIES["count_dead_letters"], row=_Letters)
        return found.letters if found else 0

    async def dead_letter(self, number: int) -> bytes | None:
        """The body of one, as it came; None when there is none."""
        found = await self._database.fetch_one(_QUERIES["dead_letter"], {"id": number}, row=_Body)
        return found.body if found else None

    async def delete_dead_letter(self, number: int) -> DeadLetter | None:
        """Deletes one; None when there is none."""
        return await self._database.fetch_one(_QUERIES["delete_dead_letter"], {"id": number}, row=DeadLetter)

    async def tell_edges(self, node: str, edges: Sequence[Edge], now: datetime) -> None:
        """Writes what the lanes say of themselves."""
        values = {
            "node": node,
            "now": now,
            "boots": [edge.boot for edge in edges],
            "lanes": [edge.lane for edge in edges],
            "made": [edge.made for edge in edges],
            "waiting": [edge.waiting for edge in edges],
            "lost": [edge.lost for edge in edges],
        }
        await self._database.execute(_QUERIES["tell_edges"], values)

    async def reset_edges(self, node: str, before: int) -> None:
        """Nothing of what a node's lives before this `boot` had waiting is to be waited for."""
        await self._database.execute(_QUERIES["reset_edges"], {"node": node, "before": before})

    async def days(self, since: datetime) -> list[Day]:
        """Answers by day of UTC, of days with any."""
        return await self._database.fetch(_QUERIES["days"], {"since": since}, row=Day)


class Booking:
    """The statements of the one transaction that books a group of batches."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def insert(self, batches: Sequence[NewBatch]) -> set[Identity]:
        """Inserts the identities; returns those that are new. Those that another transaction inserts are waited for."""
        if not batches:
            return set()
        values = {
            **_columns([batch.identity for batch in batches]),
            "lasts": [batch.last for batch in batches],
            "digests": [batch.digest for batch in batches],
            "hours": [batch.hour for batch in batches],
        }
        cursor = await self._connection.execute(_QUERIES["insert_batches"], values)
        return {Identity(*row) for row in await cursor.fetchall()}

    async def digests(self, identities: Sequence[Identity]) -> dict[Identity, bytes]:
        """What the table knows these batches by."""
        if not identities:
            return {}
        cursor = await self._connection.execute(_QUERIES["known_batches"], _columns(identities))
        rows = [_Digest(*row) for row in await cursor.fetchall()]
        return {Identity(row.node, row.boot, row.lane, row.first): row.digest for row in rows}

    async def overlapping(self, batches: Sequence[NewBatch]) -> set[Identity]:
        """Which of these, inserted before, share a record with another batch."""
        if not batches:
            return set()
        values = {**_columns([batch.identity for batch in batches]), "lasts": [batch.last for batch in batches]}
        cursor = await self._connection.execute(_QUERIES["overlapping_batches"], values)
        return {Identity(*row) for row in await cursor.fetchall()}

    async def horizon(self) -> datetime:
        """Batches of before it are refused. To be asked after insert()."""
        row = await (await self._connection.execute(_QUERIES["horizon"])).fetchone()
        assert row is not None
        horizon: datetime = row[0]
        return horizon

    async def copy(self, rows: Iterable[bytes]) -> None:
        """Adds rows of the binary format to usage_logs."""
        async with self._connection.cursor() as cursor, cursor.copy(_QUERIES["copy_logs"]) as copy:
            await copy.write(COPY_HEADER)
            for each in rows:
                view = memoryview(each)
                for start in range(0, len(view), COPY_PIECE):
                    await copy.write(view[start : start + COPY_PIECE])
            await copy.write(COPY_TRAILER)

    async def count(self, keys: "Counts") -> None:
        """Adds to the counters of keys, of hours, and notes the alerts that follow."""
        await self._connection.execute(_QUERIES["count_keys"], keys.keys)
        await self._connection.execute(_QUERIES["count_hours"], keys.hours)
        if len(keys.months) > 1:
            await self._connection.execute(_QUERIES["lock_lines"], {"ids": keys.keys["ids"]})
        for month, ids in keys.months:
            await self._connection.execute(_QUERIES["note_alerts"], {"ids": ids, "month": month})

    async def bury(self, body: bytes, *, reason: str, kind: str, digest: bytes) -> bool:
        """Keeps a dead letter, one of each digest; returns whether it is new."""
        values = {"reason": reason, "type": kind, "body": body, "digest": digest}
        return (await self._connection.execute(_QUERIES["insert_dead_letter"], values)).rowcount > 0

    async def unbury(self, number: int) -> bool:
        """Deletes a dead letter; False when there is none."""
        return (await self._connection.execute(_QUERIES["delete_dead_letter"], {"id": number})).rowcount > 0


class Counts(msgspec.Struct, frozen=True):
    """The parameters of the counting statements, made ready on a thread: arrays as PostgreSQL's text."""

    keys: dict[str, str]
    hours: dict[str, str]
    months: list[tuple[date, str]]

    @classmethod
    def of(cls, keys: Sequence[KeyCount], hours: Sequence[HourCount]) -> "Counts":
        """As arrays; a list of thousands would hold the loop while it is written out."""
        months = sorted({key.month for key in keys})
        return cls(
            keys={
                "ids": _array(key.key_id for key in keys),
                "answers": _array(key.answers for key in keys),
                "months": _array(key.month for key in keys),
                "used": _array(f'"{key.used_at.isoformat()}"' for key in keys),
            },
            hours={
                "hours": _array(f'"{hour.hour.isoformat()}"' for hour in hours),
                "ids": _array(hour.key_id for hour in hours),
                "answers": _array(hour.answers for hour in hours),
            },
            months=[(month, _array(key.key_id for key in keys if key.month == month)) for month in months],
        )


def _array(values: Iterable[object]) -> str:
    return "{" + ",".join(map(str, values)) + "}"


def _columns(identities: Sequence[Identity]) -> dict[str, list[object]]:
    return {
        "nodes": [each.node for each in identities],
        "boots": [each.boot for each in identities],
        "lanes": [each.lane for each in identities],
        "firsts": [each.first for each in identities],
    }
