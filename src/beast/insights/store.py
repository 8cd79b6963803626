"""The only place in insights that talks to the database."""

import time
from datetime import date, datetime

import msgspec

from beast.insights.types import Day, Group, Insights, Relation, Rollup, Sessions, Statement, Summary
from beast.storage.database import Database, rows_of
from beast.storage.queries import Queries

NO_STATEMENTS = "pg_stat_statements is not there: CREATE EXTENSION, and name it in shared_preload_libraries"

_QUERIES = Queries("beast.insights")


class _Done(msgspec.Struct, frozen=True):
    done: bool


class _State(msgspec.Struct, frozen=True):
    refreshed_at: datetime
    took_ms: int
    age_s: float
    cron: bool


class _About(msgspec.Struct, frozen=True):
    version: str
    database_bytes: int
    buffer_hit_ratio: float | None
    statistics_since: datetime | None


class InsightStore:
    """Statements of `queries.sql` as methods. Every method may raise DatabaseUnavailableError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def summary(self, since: datetime, until: datetime, top: int) -> Summary:
        """All groupings of a period in one statement."""
        began = time.perf_counter()
        values = {"since": since, "until": until, "top": top}
        async with self._database.transaction() as connection:
            await connection.execute(_QUERIES["room"])
            groups = await rows_of(connection, _QUERIES["summary"], values, row=Group)
        took_ms = round((time.perf_counter() - began) * 1e3, 3)
        return Summary(since=since, until=until, groups=groups, took_ms=took_ms)

    async def rollup(self, after: date, dimension: str | None) -> Rollup:
        """The days after one, the newest first."""
        state = await self._database.fetch_one(_QUERIES["rollup_state"], row=_State)
        assert state is not None, "the migration made its only row"
        days = await self._database.fetch(_QUERIES["rollup"], {"after": after, "dimension": dimension}, row=Day)
        by = "pg_cron" if state.cron else "server"
        return Rollup(refreshed_at=state.refreshed_at, age_s=state.age_s, took_ms=state.took_ms, by=by, days=days)

    async def refresh(self, older_than_s: float) -> bool:
        """Refreshes the rollup if it is older; False: it is not, or somebody else is at it."""
        async with self._database.transaction() as connection:
            await connection.execute(_QUERIES["patience"])
            values = {"older_than": f"{older_than_s:f} seconds"}
            (told,) = await rows_of(connection, _QUERIES["refresh"], values, row=_Done)
        return told.done

    async def schedule(self) -> bool:
        """Has pg_cron refresh the rollup every five minutes; False where there is no pg_cron that would."""
        return await self._is("schedule")

    async def insights(self, top: int) -> Insights:
        """How the database fares."""
        about = await self._database.fetch_one(_QUERIES["database"], row=_About)
        assert about is not None, "a database knows itself"
        by_time, by_calls, fault = list[Statement](), list[Statement](), NO_STATEMENTS
        if await self._is("has_statements"):
            by_time, by_calls = [
                await self._database.fetch(_QUERIES["statements"], {"top": top, "by_calls": calls}, row=Statement)
                for calls in (False, True)
            ]
            fault = ""
        return Insights(
            **msgspec.structs.asdict(about),
            prepared=self._database.statements.prepared,
            statements_fault=fault,
            by_time=by_time,
            by_calls=by_calls,
            tables=await self._database.fetch(_QUERIES["tables"], row=Relation),
            sessions=await self._database.fetch(_QUERIES["sessions"], row=Sessions),
        )

    async def reset(self) -> None:
        """Begins the statistics of the database, and of its statements where they are kept, anew."""
        await self._is("reset_database")
        if await self._is("has_statements"):
            await self._is("reset_statements")

    async def _is(self, query: str) -> bool:
        told = await self._database.fetch_one(_QUERIES[query], row=_Done)
        return bool(told and told.done)
