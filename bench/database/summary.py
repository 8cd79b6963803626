"""A summary of usage in one pass beside one statement for each grouping.

    python -m bench.database.summary                 a million records, nine rounds
    python -m bench.database.summary --records 200000 --rounds 3

A database of its own is made and dropped again. One JSON line goes to bench/results/database.jsonl.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from bench.load.report import keep, machine, show

from beast.base.config_sources import load_config
from beast.insights.store import InsightStore
from beast.storage.database import Database, rows_of
from beast.storage.opening import open_database

FILL = b"""
INSERT INTO usage_logs
SELECT %(until)s::timestamptz - n * %(step)s::interval, 1 + (n * 7919) %% 500, 'A' || (n * 104729) %% 150,
    'e' || n %% 6, 'e' || n %% 6 || '-ws', 'n' || n %% 4, 1, 0, n, (ARRAY['udp', 'http'])[1 + n %% 2], 'live',
    1 + (n %% 20 = 0)::int, 1, n %% 1000, (n * 1299709) %% 100000
FROM generate_series(1, %(count)s::bigint) AS n
"""
GROUPINGS = {
    "all": b"''",
    "asset": b"asset",
    "key": b"key_id::text",
    "source": b"source",
    "node": b"node",
    "protocol": b"protocol",
    "day": b"(at AT TIME ZONE 'UTC')::date::text",
}


class Group(msgspec.Struct):
    """A row of one of the single statements."""

    value: str
    answers: int
    from_memory: int
    latency_ns: list[float]


def single(column: bytes) -> bytes:
    """The statement of one grouping."""
    return (
        b"SELECT " + column + b" AS value, count(*) AS answers, count(*) FILTER (WHERE tier = 1) AS from_memory,"
        b" percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ns) AS latency_ns"
        b" FROM usage_logs WHERE at >= %(since)s AND at < %(until)s GROUP BY 1 ORDER BY 2 DESC LIMIT 10"
    )


async def rounds(database: Database, count: int, times: int) -> dict[str, object]:
    """Medians of both ways, in ms, and their ratio round by round."""
    until = datetime.now(UTC)
    since = until - timedelta(days=1)
    values = {"until": until, "count": count, "step": timedelta(days=1) / (count + 1)}
    async with database.connection() as connection:
        await connection.execute(b"SELECT make_usage_partitions(%s, %s)", [since.date(), until.date()])
        await connection.execute(FILL, values)
        await connection.execute(b"ANALYZE usage_logs")
    store, one, many = InsightStore(database), list[float](), list[float]()
    for _ in range(times):
        began = time.perf_counter()
        await store.summary(since, until, 10)
        one.append((time.perf_counter() - began) * 1e3)
        began = time.perf_counter()
        async with database.transaction() as connection:
            # The same room for sorting as the one pass has.
            await connection.execute(b"SELECT set_config('work_mem', '64MB', true)")
            for column in GROUPINGS.values():
                await rows_of(connection, single(column), {"since": since, "until": until}, row=Group)
        many.append((time.perf_counter() - began) * 1e3)
    ratios = [b / a for a, b in zip(one, many, strict=True)]
    return {
        "records": count,
        "groupings": len(GROUPINGS),
        "one_pass_ms": round(statistics.median(one)),
        "single_statements_ms": round(statistics.median(many)),
        "times_as_fast": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
    }


async def measure(home: Path, count: int, times: int) -> dict[str, object]:
    config = load_config({"home": home}, environ={}).config
    async with open_database(config, max_size=2) as database:
        return await rounds(database, count, times)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.database.summary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    args, about = parser.parse_args(), machine()
    with tempfile.TemporaryDirectory(prefix="beast-bench-") as name:
        Path(name).chmod(0o711)
        result = asyncio.run(measure(Path(name) / "home", args.records, args.rounds))
    show(result)
    keep("database", vars(args), [result], about)


if __name__ == "__main__":
    main()
