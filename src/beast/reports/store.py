"""The only place in reports that talks to the database."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import date, datetime
from typing import Any

import msgspec

from beast.reports.types import (
    TIMES,
    Filters,
    GroupRow,
    Made,
    Period,
    Record,
    RecordsQuery,
    ReportKey,
    ReportQuery,
)
from beast.storage.database import Database
from beast.storage.queries import Queries
from beast.storage.statements import Named

_QUERIES = Queries("beast.reports")
COUNT_CHECK = Named.of("beast_report_count_check", _QUERIES["report_count_check"])
COUNT_UPSERT = Named.of("beast_report_count_upsert", _QUERIES["report_count_upsert"])
_SIZES = (1, 4, 10)
"""Groupings that the statements report_1, report_4 and report_10 have room for: each costs a sort, wanted or not."""
BATCH = 200
"""Rows taken at once: well under 5 ms of the event loop, encoding included."""
WORK_MEM = "64MB"


class Counted(msgspec.Struct, frozen=True):
    """What a customer may make in a month, and has made."""

    allowed: int | None
    in_month: int
    in_day: int


class _Line(msgspec.Struct, frozen=True):
    ids: list[int]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a datagram tells."""

    answers: int
    prices: int
    tier_1: int
    tier_2: int
    tier_3: int
    assets: int
    ns: list[float] | None
    """p50, p95 and p99 of the latency in ns; None where none was measured."""
    top: list[str]
    """The assets answered most, the first one most."""
    top_answers: list[int]


class ReportStore:
    """Statements of `queries.sql` as methods. Every method may raise DatabaseUnavailableError.

    Args:
        database: An open database.
        timeout_ms: How long one statement of a report may take.
    """

    def __init__(self, database: Database, *, timeout_ms: int = 60_000) -> None:
        self._database = database
        self.timeout_ms = timeout_ms

    async def find_line(self, owner: int) -> list[int]:
        """The keys of a line, in the order of their ids, by the owner of its quota."""
        found = await self._database.fetch_one(_QUERIES["key_line"], {"owner": owner}, row=_Line)
        return found.ids if found else []

    # The limiter

    async def check(self, key: ReportKey, *, month: date, day: date) -> Counted:
        """What has been made in a month and on a day."""
        values = {"id": key.id, "owner": key.owner, "month": month, "day": day}
        found = await self._database.fetch_named(COUNT_CHECK, values, row=Counted)
        return found[0] if found else Counted(0, 0, 0)

    async def count(self, key: ReportKey, *, month: date, day: date, now: datetime) -> Counted | None:
        """Counts one report; None when no further one is allowed."""
        values = {"id": key.id, "owner": key.owner, "month": month, "day": day, "now": now}
        counted = await self._database.fetch_named(COUNT_UPSERT, values, row=Counted)
        return counted[0] if counted else None

    async def give_back(self, owner: int, *, month: date, day: date) -> None:
        """Takes one counted report back."""
        await self._database.execute(_QUERIES["report_count_give_back"], {"owner": owner, "month": month, "day": day})

    async def set_addon(self, key_id: int, *, unlimited: bool, now: datetime) -> bool:
        """Gives or takes the add-on that lifts the limit; False when there was nothing to do it to."""
        query = _QUERIES["set_addon" if unlimited else "unset_addon"]
        return await self._database.execute(query, {"id": key_id, "now": now}) > 0

    # Reports

    def groups(self, query: ReportQuery) -> AsyncGenerator[list[GroupRow], None]:
        """The figures of everything, then those of each grouping's groups."""
        size = next(size for size in _SIZES if size >= len(query.groupings))
        values: dict[str, Any] = {
            **_meant(query.period, query.filters, query.visible),
            "groupings": len(query.groupings),
            "by_first": [len(by) > 1 or by[0] in TIMES for by in query.groupings],
            "by_second": [len(by) > 1 and by[1] in TIMES for by in query.groupings],
        }
        for number in range(size):
            by = query.groupings[number] if number < len(query.groupings) else ()
            first, second = (*by, None, None)[:2]
            values |= {f"first_{number + 1}": first, f"second_{number + 1}": second}
        return self._stream(_QUERIES[f"report_{size}"], values, GroupRow)

    def records(self, query: RecordsQuery) -> AsyncGenerator[list[Record], None]:
        """The records after the query's place, in the order of places, at most its limit."""
        period, place = query.period, query.after
        if place is not None and place.at > period.since:
            period = msgspec.structs.replace(period, since=place.at)
        values = {
            **_meant(period, query.filters, query.visible),
            "at": place.at if place else period.since,
            "after_node": place.node if place else "",
            "boot": place.boot if place else 0,
            "lane": place.lane if place else 0,
            "sequence": place.sequence if place else 0,
            "limit": query.limit,
        }
        return self._stream(_QUERIES["records"], values, Record)

    async def summary(self, period: Period, visible: Sequence[int], *, top: int) -> Summary:
        """The figures of everything, and the `top` assets."""
        values = {**_meant(period, Filters(), tuple(visible)), "top": top}
        async with aclosing(self._stream(_QUERIES["summary"], values, Summary)) as batches:
            found: Summary = (await anext(batches))[0]
        return found

    def _stream(
        self, query: bytes, values: dict[str, Any], row: type[msgspec.Struct]
    ) -> AsyncGenerator[list[Any], None]:
        bounds = {"timeout_ms": str(self.timeout_ms), "work_mem": WORK_MEM}
        return self._database.stream(query, values, row=row, batch=BATCH, first=_QUERIES["bounds"], first_values=bounds)

    # What was made

    async def log(self, made: Made) -> None:
        """Writes one line of report_usage_logs; its id is given by the table."""
        await self._database.execute(_QUERIES["log_report"], msgspec.structs.asdict(made))

    async def list_made(self, *, keys: Sequence[int] | None, before: int, limit: int) -> list[Made]:
        """Reports made by these keys (None: by anybody) whose ids are below `before`, the newest first."""
        values = {"keys": None if keys is None else list(keys), "before": before, "limit": limit}
        return await self._database.fetch(_QUERIES["list_made"], values, row=Made)


def _meant(period: Period, filters: Filters, visible: tuple[int, ...] | None) -> dict[str, Any]:
    """The arguments of usage_meant()."""
    wanted = {name: list(values) or None for name, values in msgspec.structs.asdict(filters).items()}
    if wanted["key"] is None and visible is not None:
        wanted["key"] = list(visible)
    return {"since": period.since, "until": period.until, **wanted}
