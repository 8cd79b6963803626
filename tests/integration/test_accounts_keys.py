import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from tests.fixtures.usage_path import count_answers, make_pipeline

from beast._fast import Engine
from beast.accounts.months import utc
from beast.accounts.service import Accounts
from beast.accounts.sync import KeySync
from beast.base.clock import ManualClock
from beast.base.errors import UsageError
from beast.storage.database import Database
from beast.usage.pipeline import UsagePipeline

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

MARCH_31 = datetime(2026, 3, 31, 23, 59, 0, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(wall_ns=int(MARCH_31.timestamp()) * 1_000_000_000)


@pytest.fixture
def accounts(database: Database, clock: ManualClock) -> Accounts:
    return Accounts(database, clock)


@pytest.fixture
def engine() -> Engine:
    engine = Engine(node="test", max_keys=1 << 14, max_instruments=64)
    engine.load_instruments([(1, "BTC", "kraken", "USD", 1, 0)])
    engine.publish(1, b"100.5", 1, 1_000_000)
    return engine


@pytest.fixture
async def usage(engine: Engine, database: Database, tmp_path: Path) -> AsyncIterator[UsagePipeline]:
    pipeline = make_pipeline(engine, database, tmp_path)
    await pipeline.start()
    yield pipeline
    await pipeline.stop(5)


@pytest.fixture
def sync(engine: Engine, usage: UsagePipeline, database: Database, clock: ManualClock) -> KeySync:
    return KeySync(engine, usage, database, clock)


@pytest.fixture
async def running(sync: KeySync) -> AsyncIterator[KeySync]:
    task = asyncio.create_task(sync.run())
    await asyncio.wait_for(sync.loaded(), 5)
    yield sync
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def ask(engine: Engine, key: str, now_ns: int = 2_000_000) -> str:
    """What the workers answer to this key: `price`, or the code of the error."""
    question = msgspec.json.encode({"api_key": key, "asset": "BTC", "allow_stale": True, "id": "x" * 64})
    (answer,) = engine.ask(question, now_ns=now_ns)
    members = msgspec.json.decode(answer)
    return "price" if "price" in members else str(members["error"])


async def eventually(engine: Engine, key: str, expected: str, *, within_s: float = 1) -> None:
    """The answer must come to be `expected` in time: within a second, unless a connection was lost."""
    now_ns = 2_000_000
    answers = []
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        answers.append(ask(engine, key, now_ns))
        if answers[-1] == expected:
            return
        # The workers' clock runs ahead, so that the key's rate is no reason to refuse.
        now_ns += 3_600_000_000_000
        await asyncio.sleep(0.01)
    pytest.fail(f"never {expected}: {dict.fromkeys(answers)}")


async def test_a_key_is_shown_once_and_stored_as_its_digest(accounts: Accounts, database: Database) -> None:
    new = await accounts.create_key("pro", label="mine")
    assert re.fullmatch(r"tb_[A-Za-z0-9_-]{43}", new.api_key)
    async with database.connection() as connection:
        (row,) = await (await connection.execute("SELECT key_hash, to_jsonb(api_keys)::text FROM api_keys")).fetchall()
    assert row[0] == sha256(new.api_key.encode()).digest()
    assert new.api_key[11:] not in row[1]


async def test_keys_differ(accounts: Accounts) -> None:
    keys = {(await accounts.create_key("free")).api_key for _ in range(20)}
    assert len(keys) == 20


async def test_unknown_tiers_and_bad_labels_are_refused(accounts: Accounts) -> None:
    with pytest.raises(UsageError, match="one of free, pro, enterprise, lifetime, unlimited, partner"):
        await accounts.create_key("gold'; --")
    with pytest.raises(UsageError, match="label"):
        await accounts.create_key("free", label="two\nlines")
    for expires_at, told in (
        (MARCH_31, "expired"),
        (datetime(2199, 1, 1), "no time zone"),  # noqa: DTZ001 - that is the mistake
        (datetime(2200, 1, 2, tzinfo=UTC), "at the latest"),
    ):
        with pytest.raises(UsageError, match=told):
            await accounts.create_key("free", expires_at=expires_at)
    assert await accounts.list_keys() == []


async def test_odd_labels_are_only_text(accounts: Accounts) -> None:
    label = "'); DROP TABLE api_keys; -- %s %(id)s {x} ☃"
    await accounts.create_key("free", label=label)
    assert [key.label for key in await accounts.list_keys()] == [label]


@pytest.mark.parametrize("name", ["id", "prefix", "whole"])
async def test_a_key_is_revoked_by_any_of_its_names(accounts: Accounts, name: str, clock: ManualClock) -> None:
    new = await accounts.create_key("free")
    await accounts.create_key("free")
    which = {"id": str(new.id), "prefix": new.api_key[:11], "whole": new.api_key}[name]
    revoked = await accounts.revoke_key(which)
    assert (revoked.id, revoked.enabled, revoked.revoked_at) == (new.id, False, utc(clock.wall_ns()))
    clock.advance(5)
    assert (await accounts.revoke_key(which)).revoked_at == revoked.revoked_at


@pytest.mark.parametrize(
    "which", ["", "7", "tb_nothing", "tb_" + "x" * 43, "%", "tb_%", "bob", "9" * 30, "9" * 5000, "tb_\0", "tb_é"]
)
async def test_what_names_no_key_revokes_none(accounts: Accounts, which: str) -> None:
    new = await accounts.create_key("free")
    with pytest.raises(UsageError):
        await accounts.revoke_key(which if which != "7" else str(new.id + 1))
    assert [key.enabled for key in await accounts.list_keys()] == [True]


async def test_an_ambiguous_beginning_revokes_none(accounts: Accounts) -> None:
    await accounts.create_key("free")
    await accounts.create_key("free")
    with pytest.raises(UsageError, match="several keys"):
        await accounts.revoke_key("tb_")


async def test_a_key_not_found_is_not_repeated_whole(accounts: Accounts) -> None:
    secret = "tb_" + "s" * 43
    with pytest.raises(UsageError) as caught:
        await accounts.revoke_key(secret)
    assert secret not in str(caught.value)


async def test_usage_adds_up_and_starts_anew_with_the_month(
    accounts: Accounts, database: Database, clock: ManualClock
) -> None:
    first, second = await accounts.create_key("free"), await accounts.create_key("free")
    await count_answers(database, clock, (first.id, 3), (second.id, 5), (999, 1))
    await count_answers(database, clock, (first.id, 4))
    assert [key.current_usage for key in await accounts.list_keys()] == [7, 5]
    clock.advance(60)
    await count_answers(database, clock, (first.id, 2))
    used = [(key.current_usage, key.usage_month.isoformat()) for key in await accounts.list_keys()]
    assert used == [(2, "2026-04-01"), (5, "2026-03-01")]


async def test_a_late_count_is_not_held_against_the_new_month(
    accounts: Accounts, database: Database, clock: ManualClock
) -> None:
    new = await accounts.create_key("free")
    now_ns = clock.wall_ns()
    clock.advance(60)
    await count_answers(database, clock, (new.id, 2))
    clock.set_wall_ns(now_ns)
    await count_answers(database, clock, (new.id, 50))
    assert [key.current_usage for key in await accounts.list_keys()] == [2]


async def test_no_full_read_gives_back_what_was_answered(
    accounts: Accounts, engine: Engine, usage: UsagePipeline, sync: KeySync, database: Database
) -> None:
    await database.execute(b"UPDATE rate_limit_template SET monthly_queries = 100, burst = 1000 WHERE tier = 'free'")
    new = await accounts.create_key("free")
    await sync.tick()
    answers = []
    for flushed in range(10):
        answers += [ask(engine, new.api_key) for _ in range(15)]
        if flushed % 3 == 0:
            await asyncio.gather(usage.flush(5), sync.reread(), usage.flush(5))
        else:
            await sync.reread()
    assert answers == ["price"] * 100 + ["quota_exceeded"] * 50
    assert await usage.flush(5)
    assert [key.current_usage for key in await accounts.list_keys()] == [100]


async def test_many_counters_at_once_do_not_deadlock(
    accounts: Accounts, database: Database, clock: ManualClock
) -> None:
    ids = [(await accounts.create_key("free")).id for _ in range(20)]
    pairs = [(key_id, 1) for key_id in ids]
    counters = (count_answers(database, clock, *(pairs if n % 2 else reversed(pairs))) for n in range(40))
    await asyncio.gather(*counters)
    assert {key.current_usage for key in await accounts.list_keys()} == {40}


async def test_all_keys_are_loaded_with_their_limits(accounts: Accounts, engine: Engine, sync: KeySync) -> None:
    keys = {tier.tier: await accounts.create_key(tier.tier) for tier in await accounts.list_tiers()}
    await accounts.revoke_key(str(keys["pro"].id))
    await sync.tick()
    assert engine.key_count == 5
    assert ask(engine, keys["pro"].api_key) == "unauthorized"
    assert [ask(engine, keys["free"].api_key) for _ in range(6)] == ["price"] * 5 + ["rate_limited"]
    for tier in ("unlimited", "lifetime"):
        assert [ask(engine, keys[tier].api_key) for _ in range(201)] == ["price"] * 200 + ["rate_limited"]
    assert {ask(engine, keys["partner"].api_key) for _ in range(1000)} == {"price"}


@pytest.mark.usefixtures("running")
async def test_a_new_key_works_and_a_revoked_one_dies_within_a_second(accounts: Accounts, engine: Engine) -> None:
    new = await accounts.create_key("partner")
    await eventually(engine, new.api_key, "price")
    await accounts.revoke_key(str(new.id))
    await eventually(engine, new.api_key, "unauthorized")


@pytest.mark.usefixtures("running")
async def test_a_changed_tier_reaches_the_workers(accounts: Accounts, engine: Engine, database: Database) -> None:
    new = await accounts.create_key("partner")
    await eventually(engine, new.api_key, "price")
    await database.execute(
        b"UPDATE rate_limit_template SET monthly_queries = 0, partner = false WHERE tier = 'partner'"
    )
    await eventually(engine, new.api_key, "quota_exceeded")
    await database.execute(b"UPDATE api_keys SET tier = 'unlimited'")
    await eventually(engine, new.api_key, "price")


@pytest.mark.usefixtures("running")
async def test_a_deleted_key_dies(accounts: Accounts, engine: Engine, database: Database) -> None:
    new = await accounts.create_key("partner")
    await eventually(engine, new.api_key, "price")
    await database.execute(b"DELETE FROM api_keys")
    await eventually(engine, new.api_key, "unauthorized")


@pytest.mark.parametrize("statement", [b"DELETE FROM api_keys", b"UPDATE api_keys SET key_hash = sha256('other')"])
async def test_lost_notifications_are_made_good_by_the_next_read(
    engine: Engine, sync: KeySync, clock: ManualClock, database: Database, statement: bytes
) -> None:
    accounts = Accounts(database, clock)
    gone = await accounts.create_key("partner")
    await sync.tick()
    await database.execute(statement)
    late = await accounts.create_key("partner")
    assert (ask(engine, gone.api_key), ask(engine, late.api_key)) == ("price", "unauthorized")
    clock.advance(29.9)
    await sync.tick()
    assert ask(engine, late.api_key) == "unauthorized"
    clock.advance(0.1)
    await sync.tick()
    assert (ask(engine, gone.api_key), ask(engine, late.api_key)) == ("unauthorized", "price")


@pytest.mark.usefixtures("running")
async def test_a_lost_connection_leads_to_a_full_read(engine: Engine, database: Database) -> None:
    async with database.transaction() as connection:
        # No trigger, no notification: as if it had been sent while nobody listened.
        await connection.execute("SET LOCAL session_replication_role = replica")
        key = "tb_" + "k" * 43
        digest = sha256(key.encode()).digest()
        await connection.execute(
            "INSERT INTO api_keys (key_hash, prefix, tier) VALUES (%s, 'tb_', 'partner')", [digest]
        )
    await asyncio.sleep(0.1)
    assert ask(engine, key) == "unauthorized"
    await database.execute(
        b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        b" WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    )
    await eventually(engine, key, "price", within_s=3)


async def test_a_key_expires_by_its_own_time(
    accounts: Accounts, engine: Engine, sync: KeySync, clock: ManualClock
) -> None:
    new = await accounts.create_key("partner", expires_at=utc(clock.wall_ns()) + timedelta(seconds=10))
    assert await sync.tick() <= 30
    assert await sync.tick() == pytest.approx(10)
    clock.advance(9.9)
    await sync.tick()
    assert ask(engine, new.api_key) == "price"
    clock.advance(0.1)
    await sync.tick()
    assert ask(engine, new.api_key) == "unauthorized"


async def test_a_prolonged_key_goes_on(
    accounts: Accounts, engine: Engine, sync: KeySync, clock: ManualClock, database: Database
) -> None:
    new = await accounts.create_key("partner", expires_at=utc(clock.wall_ns()) + timedelta(seconds=10))
    await sync.tick()
    await database.execute(b"UPDATE api_keys SET expires_at = expires_at + interval '5 seconds'")
    clock.advance(10)
    assert await sync.tick() == pytest.approx(5)
    assert ask(engine, new.api_key) == "price"


async def test_the_cap_is_what_is_left_and_starts_anew_with_the_month(
    accounts: Accounts, database: Database, engine: Engine, sync: KeySync, clock: ManualClock
) -> None:
    new = await accounts.create_key("free")
    await count_answers(database, clock, (new.id, 998))
    await sync.tick()
    assert [ask(engine, new.api_key) for _ in range(3)] == ["price", "price", "quota_exceeded"]
    await count_answers(database, clock, (new.id, 2))
    clock.advance(31)
    await sync.tick()
    assert ask(engine, new.api_key, 10**12) == "quota_exceeded"
    clock.advance(29)
    await sync.tick()
    assert ask(engine, new.api_key, 10**13) == "price"


async def test_ten_thousand_keys_come_in_chunks(engine: Engine, sync: KeySync, database: Database) -> None:
    await database.execute(
        b"INSERT INTO api_keys (key_hash, prefix, tier)"
        b" SELECT sha256(n::text::bytea), 'tb_', 'pro' FROM generate_series(1, 10000) AS n"
    )
    await sync.tick()
    assert engine.key_count == 10_000
    assert ask(engine, "9999") == "price"


async def test_a_full_table_is_reported_and_the_rest_goes_on(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    engine = Engine(node="test", max_keys=1024, max_instruments=64)
    sync = KeySync(engine, make_pipeline(engine, database, tmp_path), database, clock)
    await database.execute(
        b"INSERT INTO api_keys (key_hash, prefix, tier)"
        b" SELECT sha256(n::text::bytea), 'tb_', 'pro' FROM generate_series(1, 5000) AS n"
    )
    await sync.tick()
    assert engine.key_count >= 1024
