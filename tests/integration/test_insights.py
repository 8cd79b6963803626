"""What the database tells: summaries against plain SQL, the rollup, plans, and who may ask what."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from psycopg import sql

from beast.accounts.store import KEY_LOOKUP, KEY_TOUCH
from beast.base.clock import SystemClock
from beast.base.errors import UsageError
from beast.cluster.store import PARAMETERS_LOAD
from beast.cluster.types import Parameters
from beast.insights.rollup import Refresher
from beast.insights.service import InsightService
from beast.insights.store import InsightStore
from beast.storage.database import Database, DatabaseUnavailableError
from beast.storage.statements import Named, Statements
from beast.usage.store import UsageStore

pytestmark = [pytest.mark.integration, pytest.mark.anyio]

NOW = datetime.now(UTC).replace(microsecond=0)
FILL = """
INSERT INTO usage_logs
SELECT %(now)s::timestamptz - n * %(step)s * interval '1 second', 1 + n %% 7, 'A' || n %% 50,
    'kraken', CASE n %% 5 WHEN 0 THEN 'kraken-rest' ELSE 'kraken-ws' END, 'n' || n %% 20, 1, 0, n,
    (ARRAY['udp', 'http'])[1 + n %% 2], 'live', 1 + (n %% 5 = 0)::int * 2, 1, n %% 100,
    CASE WHEN n %% 4 > 0 THEN n END
FROM generate_series(1, %(count)s) AS n
"""


class _Count(msgspec.Struct):
    value: str
    answers: int
    p95_ns: float | None


async def fill(database: Database, count: int, *, step: int = 1) -> None:
    async with database.connection() as connection:
        first = (NOW - timedelta(seconds=count * step)).date()
        await connection.execute("SELECT make_usage_partitions(%s, %s)", [first, NOW.date()])
        await connection.execute(FILL, {"now": NOW, "count": count, "step": step})
        await connection.execute("ANALYZE usage_logs")


@pytest.fixture
async def service(database: Database) -> AsyncIterator[InsightService]:
    node = f"test-{id(database)}"
    yield InsightService(database, node, SystemClock())
    async with database.connection() as connection:
        role = f"beast_reader_{node}"
        known = await (await connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])).fetchone()
        if known:
            await connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
            await connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_the_summary_says_what_single_queries_say(database: Database, service: InsightService) -> None:
    await fill(database, 3_000)
    until = NOW + timedelta(seconds=1)
    summary = await service.summary(until - timedelta(minutes=30), until, top=100)
    told = {(each.dimension, each.value): each for each in summary.groups}
    for dimension, column in {
        "asset": b"asset",
        "key": b"key_id::text",
        "source": b"source",
        "node": b"node",
        "protocol": b"protocol",
    }.items():
        rows = await database.fetch(
            b"SELECT " + column + b" AS value, count(*) AS answers, percentile_cont(0.95) WITHIN GROUP (ORDER BY"
            b" latency_ns) AS p95_ns FROM usage_logs WHERE at >= %(since)s AND at < %(until)s GROUP BY 1",
            {"since": summary.since, "until": summary.until},
            row=_Count,
        )
        assert {row.value: (row.answers, row.p95_ns) for row in rows} == {
            value: (each.answers, each.p95_ns) for (name, value), each in told.items() if name == dimension
        }
    whole = told["all", ""]
    assert whole.answers == 1_799
    assert sum(each.share for (name, _), each in told.items() if name == "asset") == pytest.approx(1)
    assert whole.hit_rate == pytest.approx(0.8, abs=0.01)


async def test_a_summary_of_nothing_is_empty(service: InsightService) -> None:
    assert (await service.summary(None, None)).groups == []


async def test_a_period_that_is_none_is_refused(service: InsightService) -> None:
    with pytest.raises(UsageError, match="no period"):
        await service.summary(NOW, NOW - timedelta(hours=1))
    with pytest.raises(UsageError, match="no period"):
        await service.summary(NOW - timedelta(days=36), NOW)
    with pytest.raises(UsageError, match="no time zone"):
        await service.summary(NOW.replace(tzinfo=None), NOW)


async def test_the_rollup_is_refreshed_when_it_is_due_and_by_one_of_them(
    database: Database, service: InsightService
) -> None:
    await fill(database, 1_000)
    store = InsightStore(database)
    assert not await store.refresh(3600)
    assert sorted(await asyncio.gather(store.refresh(0), store.refresh(0))) in ([False, True], [True, True])
    rollup = await service.rollup(dimension="all")
    assert sum(day.answers for day in rollup.days) == 1_000
    assert rollup.by == "server"
    assert rollup.age_s < 60
    asset = [day for day in (await service.rollup(dimension="asset")).days if day.value == "A7"]
    assert sum(day.answers for day in asset) == 20
    assert all(day.assets == 1 and day.keys <= 7 for day in asset)


async def test_a_day_that_is_over_is_summed_up_once_and_outlives_its_records(
    database: Database, service: InsightService
) -> None:
    await fill(database, 5 * 86_400 // 60, step=60)
    store, first = InsightStore(database), (NOW - timedelta(days=3)).date()
    assert await store.refresh(0)
    before = (await service.rollup(dimension="all")).days
    assert [day.day for day in before] == [(NOW - timedelta(days=n)).date() for n in range(6)]
    assert sum(day.answers for day in before) == 5 * 1440
    whole = await database.fetch(
        b"SELECT '' AS value, count(*) AS answers, percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ns) AS p95_ns"
        b" FROM usage_logs WHERE (at AT TIME ZONE 'UTC')::date = %(day)s",
        {"day": first},
        row=_Count,
    )
    assert [(day.answers, day.p95_ns) for day in before if day.day == first] == [
        (each.answers, each.p95_ns) for each in whole
    ]
    async with database.connection() as connection:
        await connection.execute("DELETE FROM usage_logs WHERE at < now() - interval '2 days'")
    assert await store.refresh(0)
    assert (await service.rollup(dimension="all")).days == before


async def test_records_that_come_after_their_day_was_summed_up_are_added(
    database: Database, service: InsightService
) -> None:
    await fill(database, 4 * 1440, step=60)
    store, late = InsightStore(database), NOW - timedelta(days=3)
    assert await store.refresh(0)
    async with database.transaction() as connection:
        await connection.execute(FILL, {"now": late, "count": 10, "step": 1})
        await connection.execute(
            "INSERT INTO usage_batches (node, boot, lane, first, last, records, digest, hour) VALUES"
            " ('n1', 1, 0, 1, 10, 10, sha256('late'), date_trunc('hour', %(late)s))",
            {"late": late},
        )
    assert await store.refresh(0)
    days = {day.day: day.answers for day in (await service.rollup(dimension="all")).days}
    async with database.connection() as connection:
        counted = await connection.execute(
            "SELECT (at AT TIME ZONE 'UTC')::date AS day, count(*) AS answers FROM usage_logs GROUP BY 1"
        )
        assert days == {row[0]: row[1] for row in await counted.fetchall()}
    assert sum(days.values()) == 4 * 1440 + 10


async def test_a_refresh_that_takes_long_is_not_made_as_often(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("UPDATE usage_rollup SET took_ms = 60000, refreshed_at = now() - interval '9 minutes'")
        assert not await InsightStore(database).refresh(300)
        await connection.execute("UPDATE usage_rollup SET refreshed_at = now() - interval '11 minutes'")
    assert await InsightStore(database).refresh(300)


async def test_two_at_once_do_not_refresh_twice(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(x'726f6c6c75'::bigint)")
        assert not await InsightStore(database).refresh(0)


async def test_the_servers_refresh_where_there_is_no_pg_cron(database: Database) -> None:
    refresher = Refresher(database)
    async with database.connection() as connection:
        await connection.execute("UPDATE usage_rollup SET refreshed_at = now()")
    assert not await refresher.tick()
    async with database.connection() as connection:
        await connection.execute("UPDATE usage_rollup SET refreshed_at = now() - interval '301 seconds'")
    assert await refresher.tick()
    assert not await refresher.tick()
    refresher.tune(msgspec.structs.replace(Parameters(), rollup_refresh_s=0))
    assert not await refresher.tick()


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("asset = 'A7'", "asset"),
        ("key_id = 3", "key_id"),
        ("source = 'kraken-rest'", "source"),
        ("node = 'n1'", "node"),
    ],
)
async def test_each_dimension_of_a_period_that_is_over_has_its_index(
    database: Database, condition: str, index: str
) -> None:
    await fill(database, 100_000)
    await UsageStore(database).finish(NOW.date() + timedelta(days=1))
    async with database.connection() as connection:
        until, since = NOW - timedelta(hours=3), NOW - timedelta(hours=4)
        period = f"at >= '{since}' AND at < '{until}'"
        question = f"EXPLAIN (FORMAT JSON) SELECT count(*) FROM usage_logs WHERE {period} AND {condition}"
        row = await (await connection.execute(question.encode())).fetchone()
    assert row is not None
    plan = json.dumps(row[0])
    assert f"_at_{index}_idx" in plan
    assert plan.count('"Relation Name"') <= 2, "other days are pruned"


async def test_records_of_the_day_come_in_their_order_from_its_one_index(database: Database) -> None:
    await fill(database, 100_000)
    until = NOW.replace(hour=0, minute=0, second=0)
    since = until - timedelta(hours=3)
    for condition in ("key_id = 3", "asset = 'A7'", "true"):
        page = (
            f"EXPLAIN SELECT * FROM usage_logs WHERE at >= '{since}' AND at < '{until}' AND {condition}"
            " ORDER BY at, node, boot, lane, sequence LIMIT 100"
        )
        async with database.connection() as connection:
            plan = "\n".join(line for (line,) in await (await connection.execute(page.encode())).fetchall())
        assert "_at_key_id_idx" in plan, plan
        # By time they are in order already: nothing reads all of them for a page.
        assert "Incremental Sort" in plan, plan
        assert "Seq Scan" not in plan, plan


async def test_the_insights_name_the_statements_and_the_tables(database: Database, service: InsightService) -> None:
    await service.reset()
    secret = "a-value-that-must-not-be-seen"
    async with database.connection() as connection:
        await connection.execute(f"SELECT count(*) FROM users WHERE email = '{secret}'".encode())
    insights = await service.insights()
    assert insights.statements_fault == ""
    assert secret not in str(msgspec.to_builtins(insights))
    assert any("email = $1" in each.query for each in insights.by_calls)
    assert {"api_keys", "exchange_feeds"} <= {each.name for each in insights.tables}
    assert insights.database_bytes > 0


async def test_a_question_is_answered_with_names_types_and_rows(service: InsightService) -> None:
    answer = await service.sql("SELECT $1::int + 1 AS next, $2::text AS word, 0.10::numeric AS exact", [41, "x'; --"])
    assert (answer.columns, answer.types) == (["next", "word", "exact"], ["int4", "text", "numeric"])
    assert msgspec.json.encode(answer.rows) == b'[[42,"x\'; --","0.10"]]'
    assert not answer.more
    many = await service.sql("SELECT generate_series(1, 1000000000)", rows=5)
    assert (len(many.rows), many.more) == (5, True)
    assert (await service.sql("SELECT id, prefix, tier FROM api_keys")).rows == []


ATTACKS = (
    "SELECT 1; DELETE FROM api_keys",
    "DELETE FROM users",
    "INSERT INTO users (email) VALUES ('a@b.c')",
    "WITH gone AS (DELETE FROM users RETURNING 1) SELECT * FROM gone",
    "CREATE TABLE mine (n int)",
    "CREATE TEMP TABLE mine (n int)",
    "SELECT key_hash FROM api_keys",
    "SELECT * FROM api_keys",
    "SELECT * FROM idempotent_answers",
    "SELECT passwd FROM pg_shadow",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_export(1, '/tmp/x')",
    "SELECT lo_import('/etc/passwd')",
    "COPY users TO '/tmp/x'",
    "COPY users TO PROGRAM 'id'",
    "COPY users FROM PROGRAM 'id'",
    "DO $$ BEGIN DELETE FROM users; END $$",
    "DO $$ BEGIN RESET ROLE; PERFORM pg_read_file('/etc/passwd'); END $$",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('session_authorization', 'postgres', false)",
    "SELECT set_config('role', 'none', false), query_to_xml('SELECT pg_read_file(''/etc/passwd'')', true, true, '')",
    "SELECT set_config('transaction_read_only', 'off', false), query_to_xml('DELETE FROM users', true, true, '')",
    "ALTER SYSTEM SET fsync = off",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user",
    "SELECT dblink('', 'SELECT 1')",
    "CREATE EXTENSION dblink",
    "REFRESH MATERIALIZED VIEW mv_usage_daily",
    "SELECT refresh_usage_daily()",
    "LOCK TABLE users IN ACCESS EXCLUSIVE MODE",
    "VACUUM",
    "SELECT nextval('users_id_seq')",
)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_question_can_change_nothing_and_read_no_secret(
    database: Database, service: InsightService, attack: str
) -> None:
    async with database.connection() as connection:
        await connection.execute("INSERT INTO users (email) VALUES ('left@alone.test')")
    with pytest.raises((UsageError, DatabaseUnavailableError)):
        await service.sql(attack)
    async with database.connection() as connection:
        row = await (await connection.execute("SELECT count(*) FROM users")).fetchone()
    assert row == (1,)


async def test_what_it_tells_others_is_rolled_back(database: Database, service: InsightService) -> None:
    heard = database.listen("beast_keys")
    assert await anext(heard) is None
    await service.sql("SELECT pg_notify('beast_keys', '*')")
    async with database.connection() as connection:
        await connection.execute("SELECT pg_notify('beast_keys', 'end')")
    notice = await anext(heard)
    assert notice is not None
    assert notice.payload == "end"
    await heard.aclose()


async def test_a_long_question_is_ended(service: InsightService) -> None:
    with pytest.raises(DatabaseUnavailableError, match="not done within 100 ms"):
        await service.sql("SELECT pg_sleep(60)", timeout_ms=100)


async def test_named_statements_are_prepared_on_every_connection(database_url: str) -> None:
    statements = Statements(KEY_LOOKUP, KEY_TOUCH, PARAMETERS_LOAD)
    async with Database(database_url, application_name="tests", statements=statements) as database:
        assert statements.prepared == {
            "beast_key_lookup": True,
            "beast_key_touch": True,
            "beast_parameters_load": True,
        }
        await database.fetch_named(PARAMETERS_LOAD, {}, row=_Row)
        async with database.connection() as connection:
            found = await connection.execute(
                "SELECT name, generic_plans + custom_plans FROM pg_prepared_statements"
                " WHERE starts_with(name, 'beast') ORDER BY name"
            )
            assert await found.fetchall() == [
                ("beast_key_lookup", 0),
                ("beast_key_touch", 0),
                ("beast_parameters_load", 1),
            ]


class _Row(msgspec.Struct):
    name: str
    value: Any


class _Number(msgspec.Struct):
    n: int


async def test_what_can_not_be_prepared_is_sent_as_it_is(database_url: str) -> None:
    good = Named.of("good", b"SELECT %(a)s::int + %(b)s::int + %(a)s::int AS n")
    bad = Named.of("bad", b"SELECT * FROM nowhere")
    async with Database(database_url, statements=Statements(good, bad)) as database:
        assert database.statements.prepared == {"good": True, "bad": False}
        assert await database.fetch_named(good, {"a": 1, "b": 40}, row=_Number) == [_Number(42)]
        async with database.connection() as connection:
            await connection.execute("DEALLOCATE ALL")
        assert await database.fetch_named(good, {"a": 1, "b": 40}, row=_Number) == [_Number(42)]
        assert not database.statements.is_prepared(good)
