"""Verification finds everything that is not as it should be, names it, and finds nothing else."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fixtures.usage import BOOT, NOW_NS, make_batch

from beast.accounts.service import Accounts
from beast.base.clock import ManualClock, SystemClock
from beast.base.errors import UsageError
from beast.storage.database import Database
from beast.usage.consumer import book
from beast.usage.ledger import Ledger
from beast.usage.pipeline import rings_folder, spool_folder
from beast.usage.spool import Spool
from beast.usage.store import UsageStore
from beast.usage.types import HOUR_NS, Batch
from beast.usage.verify import Verification, tell_what_is_left, verify

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CLOCK = ManualClock(NOW_NS + HOUR_NS)


async def told(database: Database, batches: list[Batch], ledger: Ledger | None = None) -> None:
    """What the server that made these would have said."""
    ledger = ledger or Ledger()
    for batch in batches:
        where = batch.node, batch.boot, batch.lane
        ledger.make(where, batch.first, batch.last)
        ledger.acknowledge(batch.identity, batch.last)
    for node, edges in ledger.untold().items():
        await UsageStore(database).tell_edges(node, edges, datetime(2026, 9, 23, tzinfo=UTC))


@pytest.fixture
async def key(database: Database) -> int:
    return (await Accounts(database, ManualClock(NOW_NS)).create_key("free")).id


@pytest.fixture
async def booked(database: Database, key: int) -> list[Batch]:
    """Two lanes of two batches each, told and booked."""
    batches = [make_batch(20, lane=lane, first=first, keys=[key]) for lane in (0, 1) for first in (1, 21)]
    await told(database, batches)
    await book(database, batches, CLOCK)
    return batches


async def differences(database: Database) -> list[str]:
    found = await verify(database, CLOCK)
    assert found.ok == (not found.differences)
    return found.differences


async def test_nothing_is_found_where_all_is_well(database: Database, booked: list[Batch]) -> None:
    found = await verify(database, CLOCK)
    assert found.ok, found.differences
    assert (found.made, found.booked, found.waiting, found.lost, found.missing) == (80, 80, 0, 0, 0)
    assert found.lanes == []
    assert json.loads(json.dumps(found.differences)) == []
    assert len(booked) == 4


async def test_what_waits_on_its_server_is_no_difference(database: Database, booked: list[Batch]) -> None:
    ledger = Ledger()
    ledger.reach(("n1", BOOT, 0), 40)
    ledger.make(("n1", BOOT, 0), 41, 60)
    await told(database, [], ledger)
    found = await verify(database, CLOCK)
    assert found.ok
    assert (found.made, found.waiting) == (100, 20)
    await book(database, [make_batch(20, first=41, keys=[1])], CLOCK)
    assert (await verify(database, CLOCK)).waiting == 0
    assert booked


async def test_a_batch_that_got_lost_is_named_by_its_numbers(database: Database, booked: list[Batch]) -> None:
    lost = make_batch(20, first=41)
    await told(database, [*booked, lost])
    assert await differences(database) == [
        f"n1, boot {BOOT}, lane 0: 20 of 60 answers are missing: {{[41,61)}}",
    ]
    found = await verify(database, CLOCK)
    assert (found.missing, [lane.lane for lane in found.lanes]) == (20, [0])


async def test_numbers_that_never_had_a_record_are_named(database: Database, booked: list[Batch]) -> None:
    ledger = Ledger()
    ledger.reach(("n1", BOOT, 1), 40)
    later = make_batch(10, first=46, lane=1)
    ledger.make(("n1", BOOT, 1), later.first, later.last)
    await told(database, [], ledger)
    assert await differences(database) == [
        f"n1, boot {BOOT}, lane 1: 5 answers were given while the ring was full: {{[41,46)}}"
    ]
    assert booked


async def test_identities_deleted_since_are_not_missing(database: Database, booked: list[Batch]) -> None:
    await database.execute(b"SELECT forget_usage_batches('2026-09-22')")
    found = await verify(database, CLOCK)
    assert (found.made, found.booked, found.missing) == (80, 80, 0)
    assert booked


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (
            b"DELETE FROM usage_logs WHERE lane = 0 AND sequence = 7",
            [
                "2026-09-21 14:00Z: 80 answers in usage_batches, 79 in usage_logs, 80 in usage_key_hours",
                "2026-09-21 14:00Z, key {key}: 79 answers in usage_logs, 80 in usage_key_hours",
            ],
        ),
        (
            b"INSERT INTO usage_logs SELECT * FROM usage_logs WHERE sequence = 7",
            [
                "2026-09-21 14:00Z: 80 answers in usage_batches, 82 in usage_logs, 80 in usage_key_hours",
                "2026-09-21 14:00Z, key {key}: 82 answers in usage_logs, 80 in usage_key_hours",
            ],
        ),
        (
            b"UPDATE usage_logs SET key_id = 999 WHERE lane = 1 AND sequence = 7",
            [
                "2026-09-21 14:00Z, key {key}: 79 answers in usage_logs, 80 in usage_key_hours",
                "2026-09-21 14:00Z, key 999: 1 answers in usage_logs, 0 in usage_key_hours",
            ],
        ),
        (
            b"UPDATE api_keys SET current_usage = current_usage + 1",
            ["key {key}, 2026-09: 81 answers in its row, 80 in its hours"],
        ),
        (
            b"INSERT INTO usage_dead_letters (reason, type, body, digest) VALUES ('x', 'x', 'x', sha256('x'))",
            ["1 dead letters: beast usage dead-letters shows them"],
        ),
    ],
)
async def test_every_difference_is_named(
    database: Database, key: int, booked: list[Batch], damage: bytes, expected: list[str]
) -> None:
    await database.execute(damage)
    assert await differences(database) == [each.format(key=key) for each in expected]
    assert booked


async def test_what_was_used_before_there_were_records_is_no_difference(database: Database, key: int) -> None:
    await database.execute(b"UPDATE api_keys SET current_usage = 5")
    await database.execute(b"INSERT INTO usage_carried SELECT id, usage_month, 5 FROM api_keys")
    await book(database, [make_batch(3, keys=[key])], CLOCK)
    assert await differences(database) == []


async def test_hours_outside_of_the_window_are_not_compared(database: Database, booked: list[Batch]) -> None:
    await database.execute(b"DELETE FROM usage_logs WHERE sequence = 7")
    first = datetime(2026, 9, 21, 15, tzinfo=UTC)
    found: Verification = await verify(database, CLOCK, since=first)
    assert (found.ok, found.since) == (True, first)
    with pytest.raises(UsageError, match="no whole hour"):
        await verify(database, CLOCK, since=first.replace(minute=1))
    with pytest.raises(UsageError, match="is not after"):
        await verify(database, CLOCK, since=first, until=first)
    assert booked


async def test_what_a_dead_server_has_left_on_its_disk_is_waiting(
    database: Database, booked: list[Batch], tmp_path: Path
) -> None:
    left = make_batch(20, first=41)
    await told(database, [*booked, left])
    assert not (await verify(database, CLOCK)).ok
    rings_folder(tmp_path)
    spool = Spool(spool_folder(tmp_path), max_bytes=1 << 30)
    spool.open()
    spool.append([left])
    await tell_what_is_left(database, tmp_path, "n1", SystemClock())
    found = await verify(database, CLOCK)
    assert (found.ok, found.waiting, found.made) == (True, 20, 100)
