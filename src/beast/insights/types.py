"""What the insights answer."""

from datetime import date, datetime
from typing import Any

import msgspec


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of one value of one dimension. Latencies in ns, null where none was measured."""

    dimension: str
    """all, asset, key, source, node, protocol or day."""
    value: str
    answers: int
    share: float
    """Of all answers of the period, 0 to 1."""
    hit_rate: float
    """The share that came from memory, tier 1."""
    p50_ns: float | None
    p95_ns: float | None
    p99_ns: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Usage of a period."""

    since: datetime
    until: datetime
    groups: list[Group]
    """`all` first, then each dimension's values with the most answers."""
    took_ms: float


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `mv_usage_daily`."""

    day: date
    dimension: str
    """all, asset, exchange, node or protocol."""
    value: str
    answers: int
    prices: int
    from_memory: int
    hit_rate: float
    live: int
    stale: int
    keys: int
    """Distinct API keys."""
    assets: int
    """Distinct assets."""
    p50_ns: float | None
    p95_ns: float | None
    p99_ns: float | None


class Rollup(msgspec.Struct, frozen=True, kw_only=True):
    """Usage by day, as of the last refresh."""

    refreshed_at: datetime
    age_s: float
    took_ms: int
    by: str
    """Who refreshes it: pg_cron, or server."""
    days: list[Day]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of statement, its values left out."""

    query: str
    calls: int
    total_ms: float
    mean_ms: float
    rows: int
    hit_ratio: float | None
    """Of the blocks it touched, those found in the buffers."""


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """One table: how it is read, and how large it is."""

    name: str
    sequential_scans: int
    index_scans: int
    live_rows: int
    dead_rows: int
    bytes: int
    index_bytes: int
    last_vacuum: datetime | None


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """Who is connected."""

    state: str
    """active, idle, idle in transaction."""
    connections: int
    longest_s: float
    """The oldest transaction among them."""


class Insights(msgspec.Struct, frozen=True, kw_only=True):
    """How the database fares, since its statistics were last reset."""

    version: str
    database_bytes: int
    buffer_hit_ratio: float | None
    statistics_since: datetime | None
    prepared: dict[str, bool]
    """The named statements, and whether they are prepared on this node's connections."""
    statements_fault: str
    """Why the two lists of statements are empty; else empty."""
    by_time: list[Statement]
    by_calls: list[Statement]
    tables: list[Relation]
    sessions: list[Sessions]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a question of the operator's own came to."""

    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    more: bool
    """There were more rows than the limit."""
    took_ms: float
