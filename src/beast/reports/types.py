"""What the reports room knows: what may be asked, and what is told."""

from datetime import datetime
from typing import Literal, get_args

import msgspec

Dimension = Literal["asset", "exchange", "source", "node", "protocol", "state", "tier", "day", "hour", "key"]
"""What answers are grouped by. `state` is also called status; days and hours are those of UTC."""
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
TIMES: frozenset[Dimension] = frozenset({"day", "hour"})
"""Told in the order of time; all others by their number of answers."""
GROUPINGS_MAX = 10
Grouping = tuple[Dimension, ...]
"""One dimension, or two: `("day", "asset")` is every asset of every day."""

Format = Literal["json", "csv", "xlsx", "pdf"]


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """Which answers are meant. An empty tuple means all; otherwise one of these values."""

    asset: tuple[str, ...] = ()
    exchange: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    node: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    tier: tuple[int, ...] = ()
    key: tuple[int, ...] = ()
    """API keys by id."""


class Period(msgspec.Struct, frozen=True):
    """From one moment to another, which is no longer part of it. Both are UTC, to the microsecond."""

    since: datetime
    until: datetime
    name: str = ""
    """As it was asked for: `30d`; empty: by its two ends."""


class ReportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One report: the answers meant, and how they are grouped."""

    period: Period
    filters: Filters
    groupings: tuple[Grouping, ...]
    visible: tuple[int, ...] | None
    """API keys whose answers the asker may see; None: all there are."""


class Place(msgspec.Struct, frozen=True):
    """Where a record stands among all: by time, then by its identity. No two have the same."""

    at: datetime
    node: str
    boot: int
    lane: int
    sequence: int


class RecordsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the records behind a number."""

    period: Period
    filters: Filters
    visible: tuple[int, ...] | None
    """As in ReportQuery."""
    after: Place | None
    limit: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one group of answers. Latencies are in µs, None where none was measured."""

    answers: int
    prices: int
    """In all these answers: one to thirty each."""
    tier_1: int
    tier_2: int
    tier_3: int
    timed: int
    """Answers whose latency was measured."""
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    assets: int
    """Distinct ones."""
    keys: int
    """Distinct ones."""
    first_at: datetime | None
    last_at: datetime | None

    @property
    def hit_rate(self) -> float | None:
        """The share of answers from a cache, memory or Valkey; None of no answers."""
        return round((self.tier_1 + self.tier_2) / self.answers, 6) if self.answers else None


class GroupRow(Figures, frozen=True, kw_only=True):
    """One group, as the database tells it."""

    grouping: int
    """Which of the query's groupings, from 1; 0: everything together."""
    first: str | None
    """The value of the grouping's dimension, as text."""
    second: str | None
    """The value of its second dimension, if it has one."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One answered request."""

    at: datetime
    key_id: int
    asset: str
    exchange: str
    source: str
    protocol: str
    state: str
    tier: int
    prices: int
    age_ms: int
    latency_ns: int | None
    node: str
    boot: int
    lane: int
    sequence: int

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.at, self.node, self.boot, self.lane, self.sequence)


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer has made and may make this month."""

    allowed: int | None
    """Reports a month; None: no limit."""
    in_month: int
    in_day: int
    resets_at: datetime


class ReportKey(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever asks with an API key."""

    id: int
    owner: int
    """Of the quota: the first key of its line."""
    line: list[int]
    """All keys of the customer's line, in the order of their ids: what it may see."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """One line of report_usage_logs."""

    id: int
    at: datetime
    key_id: int | None
    node: str
    address: str
    kind: str
    format: str
    query: str
    rows: int
    bytes: int
    ms: int
    state: str
