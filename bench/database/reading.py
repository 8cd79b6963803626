"""What reports on a day cost with one index and with four: the other side of `bench.database.copying`."""

import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg

FILL: LiteralString = """
INSERT INTO usage_logs
SELECT %(day)s::timestamptz + n * %(step)s::interval, 1 + (n * 7919) %% 1000, 'A' || (n * 104729) %% 150,
    'e' || n %% 6, CASE WHEN n %% 500 = 0 THEN 'e1-rest' ELSE 'e' || n %% 6 || '-ws' END, 'n' || n %% 20, 1, 0, n,
    (ARRAY['udp', 'http'])[1 + n %% 2], 'live', 1, 1, n %% 1000, (n * 1299709) %% 100000
FROM generate_series(1, %(count)s::bigint) AS n
"""
PERIODS = {"ten minutes": timedelta(minutes=10), "an hour": timedelta(hours=1), "the day": timedelta(days=1)}
CONDITIONS: dict[str, LiteralString] = {
    "all": "true",
    "a key": "key_id = 7",
    "an asset": "asset = 'A7'",
    "a source": "source = 'e1-rest'",
    "a node": "node = 'n3'",
}
COUNT: LiteralString = "SELECT count(*) FROM {part} WHERE at >= %(since)s AND at < %(until)s AND {condition}"
PAGE: LiteralString = (
    "SELECT * FROM {part} WHERE at >= %(since)s AND at < %(until)s AND {condition}"
    " ORDER BY at, node, boot, lane, sequence LIMIT 100"
)
FIGURES: LiteralString = (
    "SELECT asset, count(*), percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ns) FROM {part}"
    " WHERE at >= %(since)s AND at < %(until)s AND {condition} GROUP BY GROUPING SETS ((), (asset))"
)
QUESTIONS: dict[str, LiteralString] = {"count": COUNT, "figures": FIGURES, "page": PAGE}


def read(connection: psycopg.Connection[Any], count: int, rounds: int) -> Iterator[dict[str, object]]:
    """The same rows on two days, one open and one finished; medians of both in ms."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = {"one": today, "four": today - timedelta(days=1)}
    parts = {name: f"usage_logs_y{day:%Y}m{day:%m}d{day:%d}" for name, day in days.items()}
    connection.execute("SELECT make_usage_partitions(%s, %s)", [days["four"].date(), today.date()])
    for day in days.values():
        connection.execute(FILL, {"day": day, "count": count, "step": timedelta(days=1) / (count + 1)})
    for name in ("asset", "source", "node"):
        connection.execute(f"CREATE INDEX ON {parts['four']} (at, {name})".encode())
    for part in parts.values():
        connection.execute(f"VACUUM (ANALYZE) {part}".encode())
    for kind, question in QUESTIONS.items():
        for length, period in PERIODS.items():
            for what, condition in CONDITIONS.items():
                took: dict[str, list[float]] = {name: [] for name in parts}
                for _ in range(rounds):
                    for name, part in parts.items():
                        # The end of the day for counts, as of what happened just now; its middle for pages.
                        until = days[name] + (timedelta(days=1) if kind != "page" else timedelta(hours=12) + period)
                        text = question.format(part=part, condition=condition)
                        begun = time.perf_counter()
                        connection.execute(text.encode(), {"since": until - period, "until": until}).fetchall()
                        took[name].append((time.perf_counter() - begun) * 1e3)
                yield {
                    "asks": kind,
                    "of": length,
                    "for": what,
                    **{f"{name}_ms": round(statistics.median(each), 2) for name, each in took.items()},
                }
