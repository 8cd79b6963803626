"""The shapes of docs/reports.md, for the OpenAPI description. The reports room writes the answers itself."""

from dataclasses import dataclass
from datetime import datetime

from beast.reports.types import Record


@dataclass
class ReportAbout:
    """What a report is about."""

    generated_at: datetime
    node: str
    period: str
    keys: list[int] | None
    filters: dict[str, str]
    groupings: list[list[str]]
    # `from` is a word of Python's; the description says it in words.


@dataclass
class ReportFigures:
    """The figures of one group; latencies in µs, null where none was measured."""

    answers: int
    share: float | None
    prices: int
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    tier_1: int
    tier_2: int
    tier_3: int
    hit_rate: float | None
    timed: int
    assets: int
    keys: int
    first_at: datetime | None
    last_at: datetime | None
    records: str


@dataclass
class ReportGroups:
    """One grouping: its dimensions, and a row for each group, which begins with its values."""

    by: list[str]
    rows: list[ReportFigures]


@dataclass
class ReportDocument:
    """A report in JSON."""

    report: ReportAbout
    totals: ReportFigures
    groups: list[ReportGroups]


@dataclass
class RecordsPage:
    """One page of records, and where the next one is."""

    records: list[Record]
    next: str | None


@dataclass
class NotAcceptable:
    """None of the formats there are is what the client takes."""

    error: str
    message: str
    formats: list[str]


@dataclass
class LimitReached:
    """The month's reports are made."""

    error: str
    message: str
    retry_after_ms: int
    resets_at: datetime
