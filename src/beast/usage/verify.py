"""Whether every answer is where it should be: what the lanes have made, and what batches, rows and counters say of it.

Each lane tells the database how many numbers it has given out and which of them still wait on its server. Whatever
is neither waiting nor booked is missing. Since what waited when it was told can only have been booked since, this
holds while everything runs.
"""

import asyncio
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from beast.accounts.months import utc
from beast.base.clock import Clock
from beast.base.errors import UsageError
from beast.storage.database import Connection, Database
from beast.storage.queries import Queries
from beast.usage.consumer import AHEAD
from beast.usage.ledger import Ledger
from beast.usage.names import Life
from beast.usage.pipeline import rings_folder, spool_folder
from beast.usage.records import runs_of
from beast.usage.recovery import left_rings, this_life
from beast.usage.sink import Depth
from beast.usage.spool import spooled
from beast.usage.store import UsageStore

_QUERIES = Queries("beast.usage")
_Row = TypeVar("_Row", bound=msgspec.Struct)


class Lane(msgspec.Struct, frozen=True, kw_only=True):
    """One lane of one life of a server. What it has made is booked, waiting, lost, forgotten or missing."""

    node: str
    boot: int
    lane: int
    made: int
    told_at: datetime | None
    """When it last said so; null: never, and this is what is known of it."""
    booked: int
    waiting: int
    """In that server's rings, spool or queue."""
    lost: int
    """Answered while the ring was full: these have no record."""
    forgotten: int
    """Booked so long ago that their identities are deleted."""
    missing: int
    missing_numbers: str
    lost_numbers: str


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """An hour whose figures differ."""

    hour: datetime
    in_batches: int
    in_logs: int
    in_keys: int


class KeyHour(msgspec.Struct, frozen=True, kw_only=True):
    """A key's hour whose figures differ."""

    hour: datetime
    key_id: int
    in_logs: int
    in_keys: int


class KeyMonth(msgspec.Struct, frozen=True, kw_only=True):
    """A key whose row says other than its hours."""

    key_id: int
    month: date
    in_row: int
    in_hours: int


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What verify() found. Empty lists are as it should be."""

    ok: bool
    at: datetime
    since: datetime
    until: datetime
    """Hours from `since` to `until` were compared; lanes and months wholly."""
    made: int
    booked: int
    waiting: int
    lost: int
    missing: int
    dead_letters: int
    lanes: list[Lane]
    """Those where something waits, was lost, or is missing."""
    hours: list[Hour]
    keys: list[KeyHour]
    months: list[KeyMonth]
    differences: list[str]
    """All that is wrong, in words."""
    queue: Depth | None = None
    """What the queue says is in it; null: there is none. It may explain what is missing, and proves nothing."""


async def verify(
    database: Database, clock: Clock, *, since: datetime | None = None, until: datetime | None = None
) -> Verification:
    """Compares everything with everything.

    Args:
        database: An open database.
        clock: The time.
        since: Compare hours from this one on; without it, from the beginning of the month.
        until: Compare hours before this one; without it, up to now.

    Raises:
        UsageError: `since` and `until` are no whole hours of UTC, or in the wrong order.
        DatabaseUnavailableError: It could not be found out.
    """
    now = utc(clock.wall_ns())
    first = since or now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = until or now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=AHEAD + 1)
    _check_window(first, end)
    async with database.transaction() as connection:
        await connection.execute(_QUERIES["verify_begins"])
        await connection.execute(_QUERIES["verify_patience"])
        [[oldest]] = await (await connection.execute(_QUERIES["verify_oldest"])).fetchall()
        window = {"since": max(first, oldest) if oldest else first, "until": end}
        lanes = await _rows(connection, "verify_lanes", Lane)
        hours = await _rows(connection, "verify_hours", Hour, window)
        keys = await _rows(connection, "verify_keys", KeyHour, window)
        months = await _rows(connection, "verify_months", KeyMonth)
        [[letters]] = await (await connection.execute(_QUERIES["count_dead_letters"])).fetchall()
    differences = list(_in_words(lanes, hours, keys, months, letters))
    return Verification(
        ok=not differences,
        at=now,
        since=window["since"],
        until=min(end, now),
        made=sum(lane.made for lane in lanes),
        booked=sum(lane.booked + lane.forgotten for lane in lanes),
        waiting=sum(lane.waiting for lane in lanes),
        lost=sum(lane.lost for lane in lanes),
        missing=sum(lane.missing for lane in lanes),
        dead_letters=letters,
        lanes=[lane for lane in lanes if lane.waiting or lane.lost or lane.missing],
        hours=hours,
        keys=keys,
        months=months,
        differences=differences,
    )


async def tell_what_is_left(database: Database, home: Path, node: str, clock: Clock) -> None:
    """Tells the database what a server that runs no more has left in the rings and the spool of its home.

    Raises:
        DatabaseUnavailableError: It could not be told.
        OSError: A file can't be read.
    """
    ledger = await asyncio.to_thread(_left_in, home, this_life(node, 0))
    store = UsageStore(database)
    await store.reset_edges(node, clock.wall_ns())
    for told, edges in ledger.untold().items():
        await store.tell_edges(told, edges, utc(clock.wall_ns()))


def _left_in(home: Path, life: Life) -> Ledger:
    ledger = Ledger()
    for batch in spooled(spool_folder(home)):
        ledger.find((batch.node, batch.boot, batch.lane), batch.first, batch.last)
    for left in left_rings(rings_folder(home), life, aside=False):
        for run in runs_of(left.records):
            ledger.find((left.life.node, left.life.boot, left.lane), run.first, run.last)
    return ledger


def _check_window(since: datetime, until: datetime) -> None:
    for each in (since, until):
        if each.tzinfo is None or each.timestamp() % 3600:
            raise UsageError(f"{each.isoformat()} is no whole hour of UTC", todo="such as 2026-11-01T00:00:00Z")
    if since >= until:
        raise UsageError(f"{until.isoformat()} is not after {since.isoformat()}", where="from, to")


async def _rows(
    connection: Connection, query: str, row: type[_Row], parameters: dict[str, Any] | None = None
) -> list[_Row]:
    cursor = await connection.execute(_QUERIES[query], parameters)
    names = [column.name for column in cursor.description or ()]
    return [row(**dict(zip(names, values, strict=True))) for values in await cursor.fetchall()]


def _in_words(
    lanes: Iterable[Lane], hours: Iterable[Hour], keys: Iterable[KeyHour], months: Iterable[KeyMonth], letters: int
) -> Iterable[str]:
    for lane in lanes:
        where = f"{lane.node}, boot {lane.boot}, lane {lane.lane}"
        if lane.missing:
            yield f"{where}: {lane.missing} of {lane.made} answers are missing: {lane.missing_numbers}"
        if lane.lost:
            yield f"{where}: {lane.lost} answers were given while the ring was full: {lane.lost_numbers}"
    for hour in hours:
        yield (
            f"{hour.hour:%Y-%m-%d %H:00}Z: {hour.in_batches} answers in usage_batches, {hour.in_logs} in usage_logs,"
            f" {hour.in_keys} in usage_key_hours"
        )
    for key in keys:
        yield (
            f"{key.hour:%Y-%m-%d %H:00}Z, key {key.key_id}: {key.in_logs} answers in usage_logs,"
            f" {key.in_keys} in usage_key_hours"
        )
    for month in months:
        yield (
            f"key {month.key_id}, {month.month:%Y-%m}: {month.in_row} answers in its row, {month.in_hours} in its hours"
        )
    if letters:
        yield f"{letters} dead letters: beast usage dead-letters shows them"
