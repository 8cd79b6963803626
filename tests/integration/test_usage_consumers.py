"""Several consumers at once, whatever they bring and in whatever order; and dead letters that are booked after all."""

import asyncio
import random
from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from tests.fixtures.usage import NOW_NS, make_batch

from beast.accounts.service import Accounts
from beast.base.clock import ManualClock
from beast.storage.database import Database
from beast.usage.admin import UsageAdmin
from beast.usage.codec import seal, unpack
from beast.usage.consumer import book, consume, rebook
from beast.usage.records import sums_of
from beast.usage.types import HOUR_NS, Batch, Fate, Outcome

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DAY_NS = 24 * HOUR_NS
OCTOBER_NS = NOW_NS + 12 * DAY_NS
CLOCK = ManualClock(OCTOBER_NS + DAY_NS)
CONSUMERS = 6
BOOKED, REPEATED = Outcome(Fate.BOOKED), Outcome(Fate.REPEATED)


class Row(msgspec.Struct):
    value: Any


async def one(database: Database, query: bytes) -> Any:
    row = await database.fetch_one(query, row=Row)
    assert row is not None
    return row.value


async def letters(database: Database) -> list[int]:
    return [letter.id for letter in await UsageAdmin(database, CLOCK).dead_letters()]


@pytest.fixture
async def lines(database: Database) -> list[list[int]]:
    """Keys that have been rotated once: both of a line share a cap, which is soon reached."""
    await database.execute(b"UPDATE rate_limit_template SET monthly_queries = 100 WHERE tier = 'free'")
    accounts = Accounts(database, ManualClock(NOW_NS - DAY_NS))
    made = []
    for _ in range(4):
        old = await accounts.create_key("free")
        new = await accounts.rotate_key(str(old.id), grace=timedelta(days=90))
        made.append([old.id, new.id])
    return made


async def test_consumers_with_groups_of_any_shape_and_order_never_wait_in_a_ring(
    database: Database, lines: list[list[int]]
) -> None:
    chance = random.Random(11)
    batches = [
        make_batch(24, lane=lane, first=first, keys=[chance.choice(line) for line in lines], time_ns=month_ns)
        for lane, month_ns in enumerate((NOW_NS, OCTOBER_NS, NOW_NS + HOUR_NS, OCTOBER_NS + HOUR_NS))
        for first in range(1, 24 * 8, 24)
    ]
    poison = [b"poison %d" % number for number in range(8)]
    wanted: Counter[int] = Counter()
    for batch in batches:
        wanted.update({each.key_id: each.answers for each in sums_of(unpack(batch))})

    async def bring(seed: int) -> list[Fate]:
        """All of it, as a queue would: once, in another order and in other groups than anybody else."""
        order = random.Random(seed)
        envelopes = [*map(seal, batches), *poison]
        order.shuffle(envelopes)
        fates = []
        while envelopes:
            size = order.randrange(1, 12)
            group, envelopes = envelopes[:size], envelopes[size:]
            fates += [outcome.fate for outcome in await consume(database, group, CLOCK)]
        return fates

    # A deadlock would raise here: PostgreSQL ends one of both.
    told = Counter(fate for fates in await asyncio.gather(*map(bring, range(CONSUMERS))) for fate in fates)
    assert told[Fate.BOOKED] == len(batches)
    assert told[Fate.REPEATED] == len(batches) * (CONSUMERS - 1)
    assert told[Fate.DEAD] == len(poison) * CONSUMERS
    assert len(await letters(database)) == len(poison)
    counted = await one(
        database,
        b"SELECT jsonb_object_agg(key_id, answers) AS value FROM "
        b"(SELECT key_id, count(*) AS answers FROM usage_logs GROUP BY key_id) AS counted",
    )
    assert counted == {str(key): answers for key, answers in wanted.items() if answers}


async def test_two_consumers_with_the_same_letters_the_other_way_round_never_wait_in_a_ring(
    database: Database,
) -> None:
    for turn in range(10):
        poison = [b"poison %d-%d" % (turn, number) for number in range(40)]
        told = await asyncio.gather(consume(database, poison, CLOCK), consume(database, poison[::-1], CLOCK))
        assert {outcome.fate for each in told for outcome in each} == {Fate.DEAD}
    assert await one(database, b"SELECT count(*) AS value FROM usage_dead_letters") == 400


async def test_two_consumers_at_the_turn_of_a_month_never_wait_in_a_ring(
    database: Database, lines: list[list[int]]
) -> None:
    (old, new), (other_old, other_new) = lines[:2]
    for turn in range(25):
        first = 1 + 2 * turn
        crosswise = [
            [
                make_batch(2, lane=lane, first=first, keys=[september], time_ns=NOW_NS),
                make_batch(2, lane=lane + 1, first=first, keys=[october], time_ns=OCTOBER_NS),
            ]
            for lane, september, october in ((0, old, other_old), (2, other_new, new))
        ]
        told = await asyncio.gather(*(book(database, group, CLOCK) for group in crosswise))
        assert {outcome.fate for each in told for outcome in each} == {Fate.BOOKED}


async def test_a_letter_is_booked_once_its_cause_is_mended(database: Database) -> None:
    early = ManualClock(NOW_NS - 4 * DAY_NS)
    [outcome] = await book(database, [make_batch(7)], early)
    assert outcome.fate == Fate.DEAD, "of a clock that is days ahead"
    [letter] = await letters(database)
    still = await rebook(database, letter, early)
    assert still is not None
    assert (still.fate, still.reason) == (Fate.DEAD, outcome.reason)
    assert await letters(database) == [letter]
    assert await one(database, b"SELECT count(*) AS value FROM usage_logs") == 0
    assert await UsageAdmin(database, CLOCK).retry_dead_letter(letter) == BOOKED
    assert await letters(database) == []
    assert await one(database, b"SELECT count(*) AS value FROM usage_logs") == 7
    assert await one(database, b"SELECT sum(answers)::bigint AS value FROM usage_key_hours") == 7
    assert await rebook(database, letter, CLOCK) is None


async def test_a_letter_that_was_booked_by_other_ways_changes_nothing(database: Database) -> None:
    batch = make_batch(7)
    await book(database, [batch], ManualClock(NOW_NS - 4 * DAY_NS))
    [letter] = await letters(database)
    assert [outcome.fate for outcome in await book(database, [batch], CLOCK)] == [Fate.BOOKED]
    assert await rebook(database, letter, CLOCK) == REPEATED
    assert await letters(database) == []
    assert await one(database, b"SELECT count(*) AS value FROM usage_logs") == 7


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (make_batch(7, keys=(2,)), "has been booked with other content"),
        (make_batch(7, first=5), "shares records with another batch"),
        (make_batch(5, first=20, time_ns=NOW_NS - 3 * DAY_NS), "is no longer known"),
    ],
)
async def test_a_letter_that_still_cant_be_booked_stays_as_it_is(database: Database, bad: Batch, reason: str) -> None:
    assert [outcome.fate for outcome in await book(database, [make_batch(7)], CLOCK)] == [Fate.BOOKED]
    await database.execute(b"SELECT forget_usage_batches('2026-09-20')")
    assert [outcome.fate for outcome in await book(database, [bad], CLOCK)] == [Fate.DEAD]
    [letter] = await letters(database)
    told = await rebook(database, letter, CLOCK)
    assert told is not None
    assert told.fate == Fate.DEAD
    assert reason in told.reason
    assert await letters(database) == [letter]
    assert await one(database, b"SELECT count(*) AS value FROM usage_logs") == 7
    assert await one(database, b"SELECT count(*) AS value FROM usage_batches") == 1


async def test_a_letter_tried_by_several_at_once_is_booked_once(database: Database) -> None:
    await book(database, [make_batch(7)], ManualClock(NOW_NS - 4 * DAY_NS))
    [letter] = await letters(database)
    told = await asyncio.gather(*(rebook(database, letter, CLOCK) for _ in range(4)))
    assert Counter(outcome.fate for outcome in told if outcome)[Fate.BOOKED] == 1
    assert all(outcome in (BOOKED, None) for outcome in told)
    assert await one(database, b"SELECT count(*) AS value FROM usage_logs") == 7


async def test_a_riddle_stays_a_riddle(database: Database) -> None:
    await consume(database, [b'{"type":"riddle","payload":1}'], CLOCK)
    [letter] = await letters(database)
    told = await rebook(database, letter, CLOCK)
    assert told is not None
    assert told.fate == Fate.DEAD
    assert "riddle" in told.reason
    assert await letters(database) == [letter]
