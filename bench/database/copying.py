"""What a booked row costs PostgreSQL, index by index: where the time of COPY goes.

    python -m bench.database.copying                        all ways, three rounds: a few minutes
    python -m bench.database.copying --only four --only key --rounds 5
    python -m bench.database.copying --reads                what reports on a day pay for the indexes that it lacks

Each way is a table of its own, which takes the same rows in the same groups as the consumer copies them: 100,000 or so
a transaction, binary. `us` is processor time of the session for a row; `us_all` that of all processes of the server, a
checkpoint at the end included; `per_second` is what one core takes by that, and `session` what it takes while others
write the pages. WAL, heap and indexes are in bytes a row. `build_us` is what the indexes cost that are made afterwards.

One JSON line goes to bench/results/database.jsonl.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, LiteralString

import msgspec
import psycopg
from bench.database.postgres import running, server_s, session_s
from bench.database.reading import read
from bench.load.report import keep, machine, show
from bench.usage.speed import batches

from beast._fast import COPY_HEADER, COPY_TRAILER
from beast.usage.codec import unpack
from beast.usage.records import copy_rows

GROUP = 3
"""Batches that the consumer books in one transaction."""
PIECE = 1 << 17
COLUMNS: LiteralString = (
    "at, key_id, asset, exchange, source, node, boot, lane, sequence, protocol, state, tier, prices, age_ms, latency_ns"
)
NARROW: LiteralString = (
    "at, key_id, substr(asset, 2)::int4 AS asset, length(exchange)::int2 AS exchange, length(source)::int2 AS source,"
    " 1::int2 AS node, boot, lane, sequence, length(protocol)::int2 AS protocol, length(state)::int2 AS state,"
    " tier, prices, age_ms, latency_ns"
)
"""The same row with numbers where there are texts now."""
PLAIN: tuple[LiteralString, ...] = ("CREATE TABLE log (LIKE usage_logs)",)
NUMBERS: tuple[LiteralString, ...] = (f"CREATE TABLE log AS SELECT {NARROW} FROM source LIMIT 0",)
ROUTED: tuple[LiteralString, ...] = (
    "CREATE TABLE parts (LIKE usage_logs) PARTITION BY RANGE (at)",
    "CREATE TABLE log PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2100-01-01')",
)
KEY: LiteralString = "CREATE INDEX ON log (at, key_id)"
OTHERS: tuple[LiteralString, ...] = tuple(f"CREATE INDEX ON log (at, {name})" for name in ("asset", "source", "node"))
FOUR = (KEY, *OTHERS)


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One table, and how rows come into it."""

    made: tuple[LiteralString, ...] = PLAIN
    indexes: tuple[LiteralString, ...] = ()
    rows: LiteralString = COLUMNS
    sorted: bool = False
    """By time within a group, whatever lane they are of."""
    into: LiteralString = "log"
    settings: dict[str, str] = {}
    built: tuple[LiteralString, ...] = ()
    """Indexes that are made when all rows are there."""


WAYS: dict[str, Way] = {
    "none": Way(),
    "routed": Way(made=ROUTED, into="parts"),
    "none-sorted": Way(sorted=True),
    "numbers": Way(made=NUMBERS, rows=NARROW),
    "brin": Way(indexes=("CREATE INDEX ON log USING brin (at) WITH (autosummarize = on)",)),
    "at": Way(indexes=("CREATE INDEX ON log (at)",)),
    "key": Way(indexes=FOUR[:1]),
    "key-sorted": Way(indexes=FOUR[:1], sorted=True),
    "key-plain": Way(indexes=("CREATE INDEX ON log (at, key_id) WITH (deduplicate_items = off)",)),
    "asset": Way(indexes=OTHERS[:1]),
    "two": Way(indexes=FOUR[:2]),
    "three": Way(indexes=FOUR[:3]),
    "four": Way(indexes=FOUR),
    "four-sorted": Way(indexes=FOUR, sorted=True),
    "four-plain-sorted": Way(
        indexes=tuple(f"{index} WITH (deduplicate_items = off)" for index in FOUR),
        sorted=True,
    ),
    "four-turned": Way(
        indexes=tuple(f"CREATE INDEX ON log ({name}, at)" for name in ("key_id", "asset", "source", "node"))
    ),
    "four-numbers": Way(made=NUMBERS, rows=NARROW, indexes=FOUR),
    "covering": Way(indexes=("CREATE INDEX ON log (at) INCLUDE (key_id, asset, source, node)",)),
    "covering-sorted": Way(indexes=("CREATE INDEX ON log (at) INCLUDE (key_id, asset, source, node)",), sorted=True),
    "four-unlogged": Way(made=(*PLAIN, "ALTER TABLE log SET UNLOGGED"), indexes=FOUR),
    "four-large-wal": Way(indexes=FOUR, settings={"max_wal_size": "8GB"}),
    "four-packed-wal": Way(indexes=FOUR, settings={"wal_compression": "pglz"}),
    "four-no-images": Way(indexes=FOUR, settings={"full_page_writes": "off"}),
    "built": Way(built=FOUR),
    "key-built": Way(indexes=FOUR[:1], built=OTHERS),
    "key-built-routed": Way(made=ROUTED, into="parts", indexes=FOUR[:1], built=OTHERS),
}
"""`four-unlogged`, `four-no-images`: never to be used; they show what safety costs."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one round of one way took, for a row."""

    us: float
    us_all: float
    wal: float
    heap: float
    indexes: float
    build_us: float


class Bench:
    """A server with the rows to be copied.

    Args:
        connection: To its database, in autocommit mode.
        postmaster: Its process id.
        count: About so many rows.
    """

    def __init__(self, connection: psycopg.Connection[Any], postmaster: int, count: int) -> None:
        self._connection = connection
        self._postmaster = postmaster
        self._session = connection.info.backend_pid
        self.count = self._fill(count)

    def _fill(self, count: int) -> int:
        made = batches(count)
        self._run("CREATE UNLOGGED TABLE source (LIKE usage_logs, part integer)")
        for part, start in enumerate(range(0, len(made), GROUP)):
            self._run(f"ALTER TABLE source ALTER part SET DEFAULT {part}")
            rows = [copy_rows(batch, unpack(batch)) for batch in made[start : start + GROUP]]
            self._copy("source", COLUMNS, [COPY_HEADER, *rows, COPY_TRAILER])
        self._parts = -(-len(made) // GROUP)
        self._run("ANALYZE source")
        return sum(batch.records for batch in made)

    def round(self, way: Way) -> Cost:
        """Copies all rows one way."""
        for name, value in way.settings.items():
            self._run(f"ALTER SYSTEM SET {name} = '{value}'")
        self._run("SELECT pg_reload_conf()")
        for statement in (*way.made, *way.indexes, "CHECKPOINT"):
            self._run(statement)
        order = "at, lane, sequence" if way.sorted else "lane, sequence"
        groups = [self._rows(way.rows, order, part) for part in range(self._parts)]
        wal, server, session = self._wal(), server_s(self._postmaster), session_s(self._session)
        for group in groups:
            self._copy(way.into, COLUMNS, [group])
        us = session_s(self._session) - session
        self._run("CHECKPOINT")
        us_all, wal = server_s(self._postmaster) - server, self._wal() - wal
        heap, indexes = self._number("SELECT pg_table_size('log')"), self._number("SELECT pg_indexes_size('log')")
        session = session_s(self._session)
        for statement in way.built:
            self._run(statement)
        build_us = session_s(self._session) - session
        for statement in ("DROP TABLE IF EXISTS parts, log", "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()"):
            self._run(statement)
        each = 1e6 / self.count
        return Cost(
            us=us * each,
            us_all=us_all * each,
            wal=wal / self.count,
            heap=heap / self.count,
            indexes=indexes / self.count,
            build_us=build_us * each,
        )

    @cache  # noqa: B019 - there is one bench in a process
    def _rows(self, columns: str, order: str, part: int) -> bytes:
        asked = f"COPY (SELECT {columns} FROM source WHERE part = {part} ORDER BY {order}) TO STDOUT (FORMAT binary)"
        with self._connection.cursor() as cursor, cursor.copy(asked.encode()) as copy:
            return b"".join(copy)

    def _copy(self, table: str, names: str, pieces: Sequence[bytes]) -> None:
        statement = f"COPY {table} ({names}) FROM STDIN (FORMAT binary)"
        with self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for piece in pieces:
                for start in range(0, len(piece), PIECE):
                    copy.write(memoryview(piece)[start : start + PIECE])

    def _wal(self) -> int:
        return self._number("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")

    def _number(self, question: str) -> int:
        row = self._connection.execute(question.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def _run(self, statement: str) -> None:
        self._connection.execute(statement.encode())


def measured(bench: Bench, wanted: dict[str, Way], rounds: int) -> Iterator[dict[str, object]]:
    """Each way's medians; its rounds stand between those of the others."""
    costs: dict[str, list[Cost]] = {name: [] for name in wanted}
    for _ in range(rounds):
        for name, way in wanted.items():
            costs[name].append(bench.round(way))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for name, found in costs.items():
        middle = {field: statistics.median(getattr(cost, field) for cost in found) for field in Cost.__struct_fields__}
        yield {
            "way": name,
            "session": round(1e6 / middle["us"]),
            "per_second": round(1e6 / middle["us_all"]),
            **{field: round(value, 2 if "us" in field else None) for field, value in middle.items()},
        }


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.database.copying",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=600_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=WAYS, help="this way, and others so named")
    parser.add_argument("--reads", action="store_true", help="read, don't copy")
    asked, about, begun = parser.parse_args(), machine(), time.perf_counter()
    with running() as server, psycopg.connect(server.url(), autocommit=True) as connection:
        if asked.reads:
            results = list(read(connection, asked.rows, asked.rounds))
        else:
            pid = server.pid()
            assert pid is not None
            bench = Bench(connection, pid, asked.rows)
            wanted = {name: way for name, way in WAYS.items() if not asked.only or name in asked.only}
            results = list(measured(bench, wanted, asked.rounds))
    for result in results:
        show(result)
    keep("database", {**vars(asked), "bench": "copying", "took_s": round(time.perf_counter() - begun)}, results, about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
