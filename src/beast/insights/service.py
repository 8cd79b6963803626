"""The rules of the insights: what may be asked for, and within which bounds."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from beast.accounts.months import utc
from beast.base.clock import Clock
from beast.base.errors import UsageError
from beast.insights.store import InsightStore
from beast.insights.types import Answer, Insights, Rollup, Summary
from beast.storage.database import Database
from beast.storage.guest import Guest

PERIOD_MAX: Final = timedelta(days=35)
TOP_MAX: Final = 100
DAYS_MAX: Final = 35
SQL_MS: Final = 5_000
SQL_MS_MAX: Final = 30_000
SQL_ROWS: Final = 1_000
SQL_ROWS_MAX: Final = 10_000
SQL_BYTES: Final = 4 << 20
SQL_TEXT_MAX: Final = 20_000
DIMENSIONS: Final = ("all", "asset", "exchange", "node", "protocol")


class InsightService:
    """What `/admin/usage/summary`, the daily rollup, `/admin/db-insights` and `/admin/sql` answer from.

    Args:
        database: An open database.
        node: This node's name.
        clock: Its wall clock says when a period ends that names no end.
    """

    def __init__(self, database: Database, node: str, clock: Clock) -> None:
        self._store = InsightStore(database)
        self._guest = Guest(database, node)
        self._clock = clock

    async def summary(self, since: datetime | None, until: datetime | None, top: int = 10) -> Summary:
        """Usage of a period, by default the last 24 hours, in one pass over its records.

        Raises:
            UsageError: The period is empty or longer than PERIOD_MAX, a time has no zone, or `top` is not in 1..100.
        """
        until = until or utc(self._clock.wall_ns())
        since = since or until - timedelta(days=1)
        if since.tzinfo is None or until.tzinfo is None:
            raise UsageError("a time has no time zone", where="summary", todo="append Z or an offset such as +01:00")
        if not timedelta(0) < until - since <= PERIOD_MAX:
            raise UsageError(f"from {since} to {until} is no period", where="summary", todo="at most 35 days")
        if not 1 <= top <= TOP_MAX:
            raise UsageError(f"top = {top} is not allowed", where="summary", todo=f"1 to {TOP_MAX}")
        return await self._store.summary(since, until, top)

    async def rollup(self, days: int = 7, dimension: str | None = None) -> Rollup:
        """Usage by day, as of the last refresh.

        Raises:
            UsageError: `days` is not in 1..35, or there is no such dimension.
        """
        if not 1 <= days <= DAYS_MAX:
            raise UsageError(f"days = {days} is not allowed", where="daily rollup", todo=f"1 to {DAYS_MAX}")
        if dimension is not None and dimension not in DIMENSIONS:
            todo = f"one of {', '.join(DIMENSIONS)}"
            raise UsageError(f"dimension = {dimension!r} is not known", where="daily rollup", todo=todo)
        after = utc(self._clock.wall_ns()).date() - timedelta(days=days)
        return await self._store.rollup(after, dimension)

    async def insights(self, top: int = 10) -> Insights:
        """How the database fares since its statistics were last reset. Raises UsageError: `top` is not in 1..100."""
        if not 1 <= top <= TOP_MAX:
            raise UsageError(f"top = {top} is not allowed", where="db-insights", todo=f"1 to {TOP_MAX}")
        return await self._store.insights(top)

    async def reset(self) -> None:
        """Begins all statistics of this database anew."""
        await self._store.reset()

    async def sql(
        self, question: str, args: Sequence[Any] = (), *, rows: int = SQL_ROWS, timeout_ms: int = SQL_MS
    ) -> Answer:
        """One question of the operator's own, read-only.

        Raises:
            UsageError: It is empty, too long, or the server refuses it; or a limit is out of range.
            DatabaseUnavailableError: It takes too long.
        """
        if not question.strip() or len(question) > SQL_TEXT_MAX or "\0" in question:
            raise UsageError("there is no statement, or too long a one", where="sql", todo=f"1 to {SQL_TEXT_MAX} bytes")
        if not 1 <= rows <= SQL_ROWS_MAX:
            raise UsageError(f"rows = {rows} is not allowed", where="sql", todo=f"1 to {SQL_ROWS_MAX}")
        if not 1 <= timeout_ms <= SQL_MS_MAX:
            raise UsageError(f"timeout_ms = {timeout_ms} is not allowed", where="sql", todo=f"1 to {SQL_MS_MAX}")
        found = await self._guest.ask(question, args, timeout_ms=timeout_ms, rows=rows, most_bytes=SQL_BYTES)
        return Answer(
            columns=found.columns,
            types=found.types,
            rows=[list(row) for row in found.rows],
            more=found.more,
            took_ms=round(found.took_ms, 3),
        )
