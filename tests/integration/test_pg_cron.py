"""The daily rollup where the database has pg_cron. Only where this machine has it, see tests/fixtures/pg_cron.py."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import msgspec
import psycopg
import pytest
from tests.fixtures.pg_cron import FOUND, cron_server

from beast.base.clock import SystemClock
from beast.insights.rollup import Refresher
from beast.insights.service import InsightService
from beast.storage.database import Database
from beast.storage.migrate import migrate

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.integration,
    pytest.mark.skipif(not FOUND, reason="there is no pg_cron on this machine"),
]


class Job(msgspec.Struct):
    jobname: str
    schedule: str
    command: str
    active: bool


@pytest.fixture(scope="module")
def cron_url() -> Iterator[str]:
    with cron_server() as url:
        migrate(url)
        with psycopg.connect(url) as connection:
            connection.execute("CREATE EXTENSION pg_cron")
        yield url


@pytest.fixture
async def database(cron_url: str) -> AsyncIterator[Database]:
    async with Database(cron_url, application_name="tests") as pool:
        yield pool
        await pool.execute(b"DELETE FROM cron.job")
        await pool.execute(b"UPDATE usage_rollup SET refreshed_at = now(), took_ms = 0")


async def jobs_of(database: Database) -> list[Job]:
    return await database.fetch(b"SELECT jobname, schedule, command, active FROM cron.job", row=Job)


async def age(database: Database, minutes: int) -> None:
    await database.execute(
        b"UPDATE usage_rollup SET refreshed_at = now() - %(age)s * interval '1 minute'", {"age": minutes}
    )


async def test_every_node_schedules_the_same_one_job(database: Database) -> None:
    await age(database, 6)
    assert await asyncio.gather(*(Refresher(database).tick() for _ in range(4))) == [False] * 4
    [job] = await jobs_of(database)
    assert (job.jobname, job.schedule, job.active) == ("beast-usage-daily", "*/5 * * * *", True)
    assert (await InsightService(database, "test", SystemClock()).rollup()).by == "pg_cron"


async def test_what_the_job_runs_refreshes(database: Database) -> None:
    await Refresher(database).tick()
    [job] = await jobs_of(database)
    await age(database, 6)
    await database.execute(job.command.encode())
    assert (await InsightService(database, "test", SystemClock()).rollup()).age_s < 60


async def test_the_servers_do_it_when_the_job_has_missed_three_turns(database: Database) -> None:
    refresher = Refresher(database)
    for minutes, refreshed in ((14, False), (16, True), (0, False)):
        await age(database, minutes)
        assert await refresher.tick() is refreshed


async def test_the_servers_do_it_where_pg_cron_does_not_want_to(database: Database, cron_url: str) -> None:
    with psycopg.connect(cron_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE plain")
        connection.execute("SET ROLE plain")
        assert connection.execute("SELECT schedule_usage_daily()").fetchone() == (False,)
        connection.execute("RESET ROLE")
        connection.execute("DROP ROLE plain")
    assert await jobs_of(database) == []
