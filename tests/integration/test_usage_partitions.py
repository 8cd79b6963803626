"""Partitions are made ahead, dropped whole when they are old, and identities outlive them; one node does it."""

import asyncio

import msgspec
import pytest
from tests.fixtures.usage import NOW_NS, make_batch

from beast.base.clock import ManualClock
from beast.cluster.types import Parameters
from beast.storage.database import Database
from beast.usage.consumer import book
from beast.usage.partitions import Partitions
from beast.usage.store import UsageStore
from beast.usage.types import HOUR_NS, Fate

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DAY_NS = 24 * HOUR_NS
LATER_NS = NOW_NS + 400 * DAY_NS
"""Of the migration's own partitions none is as late."""


class Row(msgspec.Struct):
    name: str


async def partitions_of(database: Database) -> list[str]:
    rows = await database.fetch(
        b"SELECT c.relname AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
        b" WHERE i.inhparent = 'usage_logs'::regclass ORDER BY 1",
        row=Row,
    )
    return [row.name for row in rows]


def keeper(database: Database, clock: ManualClock, **parameters: int) -> Partitions:
    made = Partitions(UsageStore(database), clock)
    made.tune(Parameters(**parameters))  # type: ignore[arg-type]
    return made


async def test_they_are_made_ahead_and_dropped_in_time(database: Database) -> None:
    clock = ManualClock(LATER_NS)
    keeping = keeper(database, clock, usage_partitions_ahead=2, usage_retention_days=3)
    tidied = await keeping.tidy()
    assert tidied is not None
    assert tidied.made == 3
    assert await partitions_of(database) == [f"usage_logs_y2027m10d{day}" for day in (26, 27, 28)]
    clock.advance(4 * 86_400)
    tidied = await keeping.tidy()
    assert tidied is not None
    assert tidied.dropped == ["usage_logs_y2027m10d26"]
    assert await partitions_of(database) == [
        *(f"usage_logs_y2027m10d{day}" for day in (27, 28, 30, 31)),
        "usage_logs_y2027m11d01",
    ]


async def test_every_partition_has_the_four_indexes(database: Database) -> None:
    await keeper(database, ManualClock(LATER_NS), usage_partitions_ahead=1).tidy()
    for name in await partitions_of(database):
        rows = await database.fetch(
            b"SELECT indexdef AS name FROM pg_indexes WHERE tablename = %(name)s", {"name": name}, row=Row
        )
        columns = sorted(row.name.rsplit("(", 1)[1] for row in rows)
        assert columns == ["at, asset)", "at, key_id)", "at, node)", "at, source)"]


async def test_only_one_node_does_it(database: Database) -> None:
    clock = ManualClock(LATER_NS)
    async with database.transaction() as connection:
        await connection.execute(b"SELECT pg_advisory_xact_lock(x'7573616766'::bigint)")
        assert await keeper(database, clock).tidy() is None
    assert await keeper(database, clock).tidy() is not None


async def test_a_batch_of_dropped_days_is_still_known_for_a_month(database: Database) -> None:
    clock = ManualClock(NOW_NS)
    batch = make_batch(3)
    assert [each.fate for each in await book(database, [batch], clock)] == [Fate.BOOKED]
    for days, fate in ((20, Fate.REPEATED), (40, Fate.DEAD)):
        await keeper(database, ManualClock(NOW_NS + days * DAY_NS), usage_retention_days=1).tidy()
        assert [each.fate for each in await book(database, [batch], clock)] == [fate]
        assert not await database.fetch(b"SELECT node AS name FROM usage_logs", row=Row)


async def test_many_who_need_the_same_days_make_each_once(database: Database) -> None:
    batches = [make_batch(1, lane=lane, time_ns=NOW_NS + lane // 4 * DAY_NS) for lane in range(12)]
    clock = ManualClock(NOW_NS + 3 * DAY_NS)
    told = await asyncio.gather(*(book(database, [batch], clock) for batch in batches))
    assert {each.fate for outcomes in told for each in outcomes} == {Fate.BOOKED}
