import asyncio
import importlib.resources
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from beast.base.errors import BeastError
from beast.storage.embedded import EmbeddedPostgres
from beast.storage.migrate import migrate

pytestmark = pytest.mark.integration

ALL = sorted(
    file.name.removesuffix(".sql")
    for file in importlib.resources.files("beast.storage").joinpath("migrations").iterdir()
)


@pytest.fixture
def empty_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    name = f"empty_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield postgres.url(name)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def shape(url: str) -> list[tuple[object, ...]]:
    columns = (
        "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name !~ '^(_?yoyo|pg_stat_statements)' ORDER BY 1, 2"
    )
    with psycopg.connect(url) as connection:
        return connection.execute(columns).fetchall()


def test_all_are_applied_in_order_and_only_once(empty_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert migrate(empty_url) == ALL
    assert migrate(empty_url) == []
    # Standard output is for the answer of the command that needed the tables: no rows of theirs on it.
    assert "row)" not in capfd.readouterr().out


@pytest.mark.anyio
async def test_several_nodes_may_migrate_at_once(empty_url: str) -> None:
    applied = await asyncio.gather(*(asyncio.to_thread(migrate, empty_url) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == ALL


def test_a_killed_migrator_leaves_nothing_in_the_way(empty_url: str, database_url: str) -> None:
    script = "import sys; from beast.storage.migrate import migrate; print('go', flush=True); migrate(sys.argv[1])"
    for delay_s in (0.0, 0.02, 0.05, 0.1):
        arguments = [sys.executable, "-c", script, empty_url]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout
            process.stdout.readline()
            time.sleep(delay_s)
            os.kill(process.pid, signal.SIGKILL)
    migrate(empty_url)
    assert shape(empty_url) == shape(database_url)


def test_times_have_zones_and_money_is_never_floating(database_url: str) -> None:
    types = {kind for _, _, kind, _ in shape(database_url)}
    assert not types & {"timestamp without time zone", "real", "double precision", "money"}


def test_a_missing_database_is_one_clear_line(postgres: EmbeddedPostgres) -> None:
    with pytest.raises(BeastError, match="DATABASE_URL") as caught:
        migrate(postgres.url("no_such_database"))
    assert postgres.layout.password_file.read_text().strip() not in str(caught.value)
