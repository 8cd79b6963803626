"""The lines of a report, whatever its format: a group, its figures, its share, and where its records are."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec

from beast.reports.asking import filter_pairs, stamp
from beast.reports.types import Allowance, Dimension, Figures, Filters, Grouping, GroupRow, Period, ReportQuery

FIGURES = ("answers", "share", "prices", "p50_us", "p95_us", "p99_us", "tier_1", "tier_2", "tier_3", "hit_rate")
"""What each line tells, in the order of all formats, before `timed`, `assets`, `keys`, `first_at` and `last_at`."""
SHARE_DIGITS = 6


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a report is about."""

    generated_at: datetime
    node: str
    period: str
    """As it was asked for; empty: by its two ends."""
    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")
    keys: tuple[int, ...] | None
    """The API keys that are told of; null: all there are."""
    filters: dict[str, str]
    groupings: tuple[Grouping, ...]
    origin: str = ""
    """Where the server was asked, such as http://127.0.0.1:9090: what `records` of a line begins with."""


class Line(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One line."""

    by: Grouping
    """Its dimensions; none: everything together."""
    values: tuple[str | int, ...]
    """Of each of its dimensions."""
    figures: Figures
    share: float | None
    """Of all answers of the report; None when there are none."""
    records: str
    """The path and query that show the records behind it."""

    def cells(self) -> dict[str, Any]:
        """All it tells, by name, in order."""
        figures = self.figures
        told = {name: getattr(figures, name) for name in FIGURES if name != "share"}
        return {
            **dict(zip(self.by, self.values, strict=True)),
            "answers": told.pop("answers"),
            "share": self.share,
            **told,
            "timed": figures.timed,
            "assets": figures.assets,
            "keys": figures.keys,
            "first_at": stamp(figures.first_at) if figures.first_at else None,
            "last_at": stamp(figures.last_at) if figures.last_at else None,
            "records": self.records,
        }


def about(query: ReportQuery, *, now: datetime, node: str, origin: str = "") -> About:
    """What this report is about."""
    return About(
        generated_at=now,
        node=node,
        period=query.period.name,
        since=query.period.since,
        until=query.period.until,
        keys=query.filters.key or query.visible,
        filters=filter_pairs(query.filters),
        groupings=query.groupings,
        origin=origin,
    )


class LineMaker:
    """Turns what the database tells into lines, in its order: the line of everything comes first.

    Args:
        query: What was asked.
        path: Where records are asked for: `/report/records`, or the operator's.
    """

    def __init__(self, query: ReportQuery, path: str) -> None:
        self._query = query
        self._path = path
        self._total = 0

    def make(self, rows: Sequence[GroupRow]) -> list[Line]:
        """The next lines."""
        return [self._line(row) for row in rows]

    def _line(self, row: GroupRow) -> Line:
        if row.grouping == 0:
            self._total = row.answers
        by: Grouping = self._query.groupings[row.grouping - 1] if row.grouping else ()
        texts = [text for text in (row.first, row.second)[: len(by)] if text is not None]
        values = tuple(int(text) if name in {"tier", "key"} else text for name, text in zip(by, texts, strict=True))
        return Line(
            by=by,
            values=values,
            figures=row,
            share=round(row.answers / self._total, SHARE_DIGITS) if self._total else None,
            records=records_of(self._query.period, self._query.filters, dict(zip(by, values, strict=True)), self._path),
        )


def records_of(period: Period, filters: Filters, group: dict[Dimension, str | int], path: str) -> str:
    """The address of the records of one group within a period and filters."""
    since, until = period.since, period.until
    narrowed: dict[str, Any] = {}
    for name, value in group.items():
        if name in {"day", "hour"}:
            begin = datetime.fromisoformat(str(value)).replace(tzinfo=UTC)
            since = max(since, begin)
            until = min(until, begin + (timedelta(days=1) if name == "day" else timedelta(hours=1)))
        else:
            narrowed[name] = (value,)
    pairs = {
        "from": stamp(since),
        "to": stamp(until),
        **filter_pairs(msgspec.structs.replace(filters, **narrowed)),
    }
    return f"{path}?{urlencode(pairs, safe=':,~')}"


class LimitTold(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of GET /report/limit."""

    allowed: int | None
    """Reports a month; null: no limit."""
    made: int
    left: int | None
    resets_at: datetime

    @classmethod
    def of(cls, allowance: Allowance) -> "LimitTold":
        """As it is shown."""
        left = None if allowance.allowed is None else max(0, allowance.allowed - allowance.in_month)
        return cls(allowed=allowance.allowed, made=allowance.in_month, left=left, resets_at=allowance.resets_at)
