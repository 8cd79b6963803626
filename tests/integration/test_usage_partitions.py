"""Partitions are made ahead, dropped whole when they are old, and identities outlive them; one node does it."""

import asyncio
from datetime import date

import msgspec
import pytest
from tests.fixtures.usage import NOW_NS, make_batch

from beast.base.clock import ManualClock
from beast.cluster.types import Parameters
from beast.storage.database import Database, DatabaseUnavailableError
from beast.usage.consumer import book
from beast.usage.partitions import Partitions
from beast.usage.store import UsageStore
from beast.usage.types import HOUR_NS, Fate

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DAY_NS = 24 * HOUR_NS
FOUR = ["at, asset", "at, key_id", "at, node", "at, source"]
DAY_END_NS = NOW_NS // DAY_NS * DAY_NS + DAY_NS
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


async def indexes_of(database: Database, part: str) -> list[str]:
    """What its indexes are of, those that are whole."""
    rows = await database.fetch(
        b"SELECT pg_get_indexdef(indexrelid) AS name FROM pg_index WHERE indrelid = %(part)s::regclass AND indisvalid",
        {"part": part},
        row=Row,
    )
    return sorted(row.name.rsplit("(", 1)[1].rstrip(")") for row in rows)


@pytest.fixture
async def bare(database: Database) -> Database:
    """Without the days that the migration has made, whenever that was."""
    await database.execute(b"SELECT drop_usage_partitions('2200-01-01')")
    return database


async def finished_by(keeping: Partitions) -> list[str]:
    """What is finished once it is this one's turn: a connection ends a moment after who held it has left it."""
    async with asyncio.timeout(10):
        while (finished := await keeping.finish()) is None:  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)
    return finished


async def test_a_day_has_one_index_while_rows_come_and_four_when_it_is_over(bare: Database) -> None:
    clock = ManualClock(NOW_NS)
    keeping = keeper(bare, clock, usage_partitions_ahead=1)
    await keeping.tidy()
    today, tomorrow = "usage_logs_y2026m09d21", "usage_logs_y2026m09d22"
    assert await keeping.finish() == []
    clock.set_wall_ns(DAY_END_NS + HOUR_NS - 1)
    assert await keeping.finish() == []
    assert await indexes_of(bare, today) == ["at, key_id"]
    clock.set_wall_ns(DAY_END_NS + HOUR_NS)
    assert await keeping.finish() == [today]
    assert await indexes_of(bare, today) == FOUR
    assert await indexes_of(bare, tomorrow) == ["at, key_id"]
    assert await keeping.finish() == []


async def test_what_comes_after_the_end_of_a_day_is_booked_once_all_the_same(bare: Database) -> None:
    early, late = make_batch(5), make_batch(4, lane=1)
    clock = ManualClock(NOW_NS + 2 * DAY_NS)
    assert [each.fate for each in await book(bare, [early], clock)] == [Fate.BOOKED]
    assert await keeper(bare, clock).finish() == ["usage_logs_y2026m09d21"]
    fates = [each.fate for each in await book(bare, [late, early, late], clock)]
    assert fates == [Fate.BOOKED, Fate.REPEATED, Fate.REPEATED]
    assert len(await bare.fetch(b"SELECT node AS name FROM usage_logs", row=Row)) == 9


async def test_an_index_that_was_left_half_made_is_made_anew(bare: Database) -> None:
    clock = ManualClock(NOW_NS + 2 * DAY_NS)
    await book(bare, [make_batch(5)], clock)
    part = "usage_logs_y2026m09d21"
    await bare.execute(b"CREATE INDEX usage_logs_y2026m09d21_at_source_idx ON usage_logs_y2026m09d21 (at, source)")
    await bare.execute(
        b"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'usage_logs_y2026m09d21_at_source_idx'::regclass"
    )
    assert await keeper(bare, clock).finish() == [part]
    assert await indexes_of(bare, part) == FOUR


async def test_the_last_day_is_finished_first_and_by_one_node(bare: Database) -> None:
    clock = ManualClock(NOW_NS + 5 * DAY_NS)
    await UsageStore(bare).make_partitions(date(2026, 9, 21), date(2026, 9, 23))
    async with bare.apart() as connection:
        await connection.execute(b"SELECT pg_advisory_lock(x'7573616767'::bigint)")
        assert await keeper(bare, clock).finish() is None
    assert await finished_by(keeper(bare, clock)) == [f"usage_logs_y2026m09d{day}" for day in (23, 22, 21)]


async def test_a_day_that_cannot_be_finished_now_is_told(bare: Database) -> None:
    clock = ManualClock(NOW_NS + 2 * DAY_NS)
    await UsageStore(bare).make_partitions(date(2026, 9, 21), date(2026, 9, 21))
    # A table of that name, which the index would need.
    await bare.execute(b"CREATE TABLE usage_logs_y2026m09d21_at_node_idx (n int)")
    with pytest.raises(DatabaseUnavailableError, match="already exists"):
        await keeper(bare, clock).finish()
    await bare.execute(b"DROP TABLE usage_logs_y2026m09d21_at_node_idx")
    assert await finished_by(keeper(bare, clock)) == ["usage_logs_y2026m09d21"]


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
