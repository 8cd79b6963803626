import asyncio
import time
from contextlib import suppress
from random import Random

import msgspec
import psycopg
import pytest

from beast.base.errors import BeastError
from beast.storage.database import Database, DatabaseUnavailableError, Notice
from beast.storage.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


class Number(msgspec.Struct, frozen=True):
    n: int


async def test_rows_come_as_structs(database: Database) -> None:
    rows = await database.fetch(b"SELECT generate_series(1, %(last)s) AS n", {"last": 3}, row=Number)
    assert rows == [Number(1), Number(2), Number(3)]
    assert await database.fetch_one(b"SELECT 1 AS n WHERE false", row=Number) is None


async def test_values_are_never_read_as_sql(database: Database) -> None:
    evil = "'; DROP TABLE users; --"
    values = {"name": evil, "email": "a@example.org"}
    assert await database.execute(b"INSERT INTO users (name, email) VALUES (%(name)s, %(email)s)", values) == 1
    async with database.connection() as connection:
        cursor = await connection.execute("SELECT name FROM users")
        assert await cursor.fetchall() == [(evil,)]


async def test_a_transaction_is_undone_by_an_exception(database: Database) -> None:
    with suppress(RuntimeError):
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO users (email) VALUES ('b@example.org')")
            raise RuntimeError
    assert await database.fetch(b"SELECT id AS n FROM users", row=Number) == []


async def test_times_are_utc(database: Database) -> None:
    async with database.connection() as connection:
        assert await (await connection.execute("SHOW timezone")).fetchone() == ("UTC",)


async def test_a_slow_statement_is_ended(database_url: str) -> None:
    async with Database(database_url, statement_timeout_ms=50) as database:
        with pytest.raises(DatabaseUnavailableError, match="statement timeout"):
            await database.execute(b"SELECT pg_sleep(10)")
        assert await database.fetch_one(b"SELECT 1 AS n", row=Number) == Number(1)


async def test_the_counters_tell_of_use_and_waiting(database_url: str) -> None:
    async with Database(database_url, max_size=1) as database:
        assert database.counters() == {"db_open_conns": 1, "db_in_use_conns": 0, "db_wait_count": 0}
        async with database.connection():
            assert database.counters()["db_in_use_conns"] == 1
            waiter = asyncio.create_task(database.execute(b"SELECT 1"))
            await asyncio.sleep(0.05)
            assert database.counters()["db_wait_count"] == 1
        await waiter


async def test_waiting_for_a_connection_ends(database_url: str) -> None:
    async with Database(database_url, max_size=1, connect_timeout_s=0.1) as database, database.connection():
        with pytest.raises(DatabaseUnavailableError, match="no connection in time"):
            await database.execute(b"SELECT 1")


async def test_a_missing_server_is_one_clear_line() -> None:
    url = "postgresql://someone:hidden-password@127.0.0.1:9/x"
    with pytest.raises(BeastError, match="DATABASE_URL") as caught:
        await Database(url).open()
    assert "hidden-password" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_notification_arrives_within_a_second(database: Database) -> None:
    notices = database.listen("beast_test")
    assert await anext(notices) is None
    started = time.monotonic()
    await database.execute(b"SELECT pg_notify('beast_test', 'hello')")
    assert await anext(notices) == Notice(channel="beast_test", payload="hello")
    assert time.monotonic() - started < 1
    await notices.aclose()


async def test_a_lost_listener_says_that_it_may_have_missed_something(
    database: Database, postgres: EmbeddedPostgres
) -> None:
    notices = database.listen("beast_test", rng=Random(1))
    assert await anext(notices) is None
    following = asyncio.ensure_future(anext(notices))
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tests'"
            " AND query LIKE 'LISTEN%'"
        )
    assert await following is None
    await database.execute(b"SELECT pg_notify('beast_test', 'again')")
    assert await anext(notices) == Notice(channel="beast_test", payload="again")
    await notices.aclose()


async def test_channel_names_are_quoted(database: Database) -> None:
    channel = 'x"; DROP TABLE users; --'
    notices = database.listen(channel)
    assert await anext(notices) is None
    await database.execute(b"SELECT pg_notify(%(channel)s, '1')", {"channel": channel})
    assert await anext(notices) == Notice(channel=channel, payload="1")
    await notices.aclose()
    assert await database.fetch(b"SELECT id AS n FROM users", row=Number) == []


async def test_a_connection_that_broke_while_idle_is_replaced(database: Database, postgres: EmbeddedPostgres) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tests'")
    assert await database.fetch_one(b"SELECT 1 AS n", row=Number) == Number(1)
