"""Each batch is booked exactly once, whoever brings it and however often; what can't be booked is kept and told."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from tests.fixtures.usage import NAMES, NOW_NS, make_batch, make_records

from beast.accounts.service import Accounts
from beast.base.clock import ManualClock
from beast.storage.database import Database
from beast.usage.codec import pack, seal
from beast.usage.consumer import book, consume, grouped
from beast.usage.records import Run
from beast.usage.types import HOUR_NS, Batch, Fate

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DAY_NS = 24 * HOUR_NS
CLOCK = ManualClock(NOW_NS)


class Row(msgspec.Struct):
    value: Any


async def one(database: Database, query: bytes) -> Any:
    row = await database.fetch_one(query, row=Row)
    assert row is not None
    return row.value


async def fates(database: Database, batches: Sequence[Batch]) -> list[str]:
    return [outcome.fate for outcome in await book(database, batches, CLOCK)]


async def booked(database: Database) -> tuple[int, int, int]:
    """Rows of usage_logs, records that usage_batches tells, answers that usage_key_hours tells."""
    return (
        await one(database, b"SELECT count(*) AS value FROM usage_logs"),
        await one(database, b"SELECT coalesce(sum(records), 0)::bigint AS value FROM usage_batches"),
        await one(database, b"SELECT coalesce(sum(answers), 0)::bigint AS value FROM usage_key_hours"),
    )


@pytest.fixture
async def keys(database: Database) -> list[int]:
    accounts = Accounts(database, ManualClock(NOW_NS - DAY_NS))
    return [(await accounts.create_key("free")).id for _ in range(3)]


async def used(database: Database) -> dict[int, int]:
    return {key.id: key.current_usage for key in await Accounts(database, CLOCK).list_keys()}


async def test_a_batch_becomes_rows_and_counts(database: Database, keys: list[int]) -> None:
    assert await fates(database, [make_batch(30, keys=keys)]) == [Fate.BOOKED]
    assert await booked(database) == (30, 30, 30)
    assert await used(database) == dict.fromkeys(keys, 10)
    row = await one(
        database,
        b"""SELECT to_jsonb(usage_logs) AS value FROM usage_logs WHERE sequence = 3""",
    )
    assert row == {
        "at": "2026-09-21T14:10:00.002+00:00",
        "key_id": keys[2],
        "asset": "BTC",
        "exchange": "consensus",
        "source": "consensus-median",
        "node": "n1",
        "boot": row["boot"],
        "lane": 0,
        "sequence": 3,
        "protocol": "http",
        "state": "stale",
        "tier": 3,
        "prices": 3,
        "age_ms": 2,
        "latency_ns": None,
    }
    [last] = {key.last_used_at for key in await Accounts(database, CLOCK).list_keys() if key.id == keys[0]}
    assert last is not None
    assert last.isoformat() == "2026-09-21T14:10:00.027000+00:00"


async def test_a_repeat_changes_nothing(database: Database, keys: list[int]) -> None:
    first, second = make_batch(10, keys=keys), make_batch(5, first=11, keys=keys)
    assert await fates(database, [first, first]) == [Fate.BOOKED, Fate.REPEATED]
    assert await fates(database, [second, first]) == [Fate.BOOKED, Fate.REPEATED]
    assert await fates(database, [second, first]) == [Fate.REPEATED] * 2
    assert await booked(database) == (15, 15, 15)
    assert sum((await used(database)).values()) == 15


async def test_two_consumers_with_the_same_batches_book_each_once(database: Database, keys: list[int]) -> None:
    batches = [make_batch(50, lane=lane, first=first, keys=keys) for lane in range(4) for first in (1, 51, 101)]
    told = await asyncio.gather(
        *(fates(database, batches if number % 2 else batches[::-1]) for number in range(8)),
    )
    assert sum(fate == Fate.BOOKED for each in told for fate in each) == len(batches)
    assert {fate for each in told for fate in each} == {Fate.BOOKED, Fate.REPEATED}
    assert await booked(database) == (600, 600, 600)


async def test_the_same_identity_with_other_content_is_a_dead_letter(database: Database, keys: list[int]) -> None:
    assert await fates(database, [make_batch(10, keys=keys)]) == [Fate.BOOKED]
    other = make_batch(10, keys=keys[::-1])
    told = await book(database, [other, make_batch(3, first=11, keys=keys)], CLOCK)
    assert [outcome.fate for outcome in told] == [Fate.DEAD, Fate.BOOKED]
    assert "other content" in told[0].reason
    assert await booked(database) == (13, 13, 13)
    [body] = [await one(database, b"SELECT body AS value FROM usage_dead_letters")]
    assert body == seal(other)
    await fates(database, [other])
    assert await one(database, b"SELECT count(*) AS value FROM usage_dead_letters") == 1


async def test_of_batches_that_share_records_only_one_is_booked(database: Database, keys: list[int]) -> None:
    assert await fates(database, [make_batch(10, first=5), make_batch(10, first=8), make_batch(4)]) == [
        Fate.BOOKED,
        Fate.DEAD,
        Fate.BOOKED,
    ]
    assert await fates(database, [make_batch(9, first=1, lane=1), make_batch(3, first=3)]) == [Fate.BOOKED, Fate.DEAD]
    assert await booked(database) == (23, 23, 23)
    assert keys


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (b"\xff{", "", "is no envelope"),
        (b"[]", "", "is no envelope"),
        (b'{"type":"invoice","payload":{}}', "invoice", "type 'invoice' are unknown"),
        (b'{"type":"usage","payload":{"version":2}}', "usage", "version 2 is unknown"),
        (b'{"type":"usage","payload":{"version":1}}', "usage", "missing required field"),
    ],
)
async def test_what_is_no_batch_is_a_dead_letter(database: Database, body: bytes, kind: str, reason: str) -> None:
    good = make_batch(2)
    told = await consume(database, [body, seal(good), body], CLOCK)
    assert [outcome.fate for outcome in told] == [Fate.DEAD, Fate.BOOKED, Fate.DEAD]
    assert reason in told[0].reason
    assert await one(database, b"SELECT jsonb_agg(jsonb_build_array(type, encode(body, 'hex'))) AS value "
                               b"FROM usage_dead_letters") == [[kind, body.hex()]]  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        lambda batch: {"data": batch.data[:-1]},
        lambda batch: {"data": batch.data[:20] + bytes([batch.data[20] ^ 1]) + batch.data[21:]},
        lambda batch: {"data": batch.data + b"\0"},
        lambda _: {"data": b""},
        lambda batch: {"last": batch.last + 1},
        lambda batch: {"first": batch.first + 1},
        lambda batch: {"lane": batch.lane + 1},
        lambda batch: {"names": batch.names[1:]},
        lambda _: {"names": ()},
    ],
)
async def test_a_damaged_batch_is_a_dead_letter(database: Database, damage: Any) -> None:
    batch = make_batch(20, first=5)
    bad = msgspec.structs.replace(batch, **damage(batch))
    told = await consume(database, [seal(bad)], CLOCK)
    assert [outcome.fate for outcome in told] == [Fate.DEAD]
    assert await booked(database) == (0, 0, 0)


async def test_records_of_a_broken_clock_are_dead_letters(database: Database) -> None:
    late, early = make_batch(1, time_ns=NOW_NS + 4 * DAY_NS), make_batch(1, time_ns=-(2**63))
    assert await fates(database, [late, early, make_batch(1, lane=1)]) == [Fate.DEAD, Fate.DEAD, Fate.BOOKED]
    two_hours = make_records(2, time_ns=NOW_NS // HOUR_NS * HOUR_NS + HOUR_NS - 1_000_000)
    run = Run(0, 1, two_hours, [])
    assert await fates(database, [pack(run, node="n", boot=1, names=NAMES)]) == [Fate.DEAD]


async def test_months_and_days_are_those_of_the_records(database: Database, keys: list[int]) -> None:
    september, october = NOW_NS, NOW_NS + 12 * DAY_NS
    clock = ManualClock(october + DAY_NS)
    batches = [
        make_batch(4, keys=keys[:1], time_ns=october, first=10),
        make_batch(3, keys=keys[:2], time_ns=september),
    ]
    assert [outcome.fate for outcome in await book(database, batches, clock)] == [Fate.BOOKED] * 2
    late = make_batch(7, keys=keys[:1], time_ns=september, first=20)
    assert [outcome.fate for outcome in await book(database, [late], clock)] == [Fate.BOOKED]
    rows = await Accounts(database, clock).list_keys()
    assert {key.id: (f"{key.usage_month:%m}", key.current_usage) for key in rows[:2]} == {
        keys[0]: ("10", 4),
        keys[1]: ("09", 1),
    }
    days = await one(
        database,
        b"SELECT jsonb_agg(DISTINCT tableoid::regclass::text ORDER BY tableoid::regclass::text) AS value "
        b"FROM usage_logs",
    )
    assert days == ["usage_logs_y2026m09d21", "usage_logs_y2026m10d03"]
    assert await booked(database) == (14, 14, 14)


async def test_what_is_older_than_the_known_repeats_is_refused(database: Database) -> None:
    assert await fates(database, [make_batch(3)]) == [Fate.BOOKED]
    await database.execute(b"SELECT forget_usage_batches('2026-09-22')")
    assert await one(database, b"SELECT count(*) AS value FROM usage_batches") == 0
    told = await book(database, [make_batch(3), make_batch(3, first=4, time_ns=NOW_NS + DAY_NS)], CLOCK)
    assert [outcome.fate for outcome in told] == [Fate.DEAD, Fate.BOOKED]


async def test_alerts_follow_the_counters(database: Database, keys: list[int]) -> None:
    await database.execute(b"UPDATE rate_limit_template SET monthly_queries = 40 WHERE tier = 'free'")
    await fates(database, [make_batch(31, keys=keys[:1])])
    await fates(database, [make_batch(9, keys=keys[:1], first=32), make_batch(5, keys=keys[1:2], lane=1)])
    told = await one(database, b"SELECT jsonb_agg(jsonb_build_array(key_id, percent, used) ORDER BY percent) AS value "
                               b"FROM usage_alerts")  # fmt: skip
    assert told == [[keys[0], 75, 31], [keys[0], 90, 40], [keys[0], 100, 40]]


def test_groups_hold_about_as_much_as_a_transaction_should() -> None:
    assert [list(group) for group in grouped("abcde", [60_000, 30_000, 30_000, 200_000, 1])] == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e"],
    ]
    assert list(grouped("", [])) == []


def test_an_envelope_is_one_line_of_json() -> None:
    told = json.loads(seal(make_batch(3, first=7)))
    assert told["type"] == "usage"
    payload = told["payload"]
    assert {name: payload[name] for name in ("version", "node", "lane", "first", "last")} == {
        "version": 1,
        "node": "n1",
        "lane": 0,
        "first": 7,
        "last": 9,
    }
    assert payload["names"] == [[7, "BTC", "kraken"], [8, "ETH", "okx"], [9, "BTC", "consensus"]]
