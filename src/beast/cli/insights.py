"""beast insights: what the database can tell about usage and about itself."""

import sys
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from beast.base.errors import UsageError
from beast.cli.common import admin_get, admin_post, print_json

ANSWER_S = 60.0

app = App(
    name="insights",
    help="Usage summed up, the daily rollup, the database's own health, and questions in SQL.",
    help_epilogue="""Examples:
  beast insights usage
  beast insights usage --since 2026-04-01T00:00:00Z --until 2026-04-02T00:00:00Z --top 5
  beast insights daily --days 30 --dimension asset
  beast insights database
  beast insights sql "SELECT asset, count(*) FROM usage_logs WHERE key_id = $1 GROUP BY 1" 42""",
)

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def usage(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    top: int = 10,
    server: str | None = None,
    admin_key: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Show the usage of a period by every dimension, the last 24 hours unless told otherwise.

    Args:
        since: Its begin, with a time zone.
        until: Its end.
        top: Values of each dimension at most.
        server: HOST, HOST:PORT or http://HOST:PORT; else the one on the same home.
        admin_key: The operator's key; else BEAST_ADMIN_KEY, else what the server on this home left there.
        as_json: Print one JSON object.
    """
    asked = {name: at.isoformat() for name, at in (("since", since), ("until", until)) if at}
    body = admin_get(f"/admin/usage/summary?{urlencode({**asked, 'top': top})}", server, admin_key)
    if as_json:
        print_json(body)
        return
    found = msgspec.json.decode(body)
    rows = [
        [
            each["dimension"],
            each["value"],
            f"{each['answers']:,}",
            f"{each['share']:.1%}",
            f"{each['hit_rate']:.1%}",
            *(_micros(each[name]) for name in ("p50_ns", "p95_ns", "p99_ns")),
        ]
        for each in found["groups"]
    ]
    sys.stdout.write(f"{found['since']} to {found['until']}, in {found['took_ms']:,.0f} ms\n")
    _show(["by", "value", "answers", "share", "from memory", "p50 µs", "p95 µs", "p99 µs"], rows)


@app.command
def daily(
    *,
    days: int = 7,
    dimension: str | None = None,
    server: str | None = None,
    admin_key: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Show usage by day, as of the last refresh.

    Args:
        days: How many, today included; 35 at most.
        dimension: all, asset, exchange, node or protocol; else every one of them.
        server: HOST, HOST:PORT or http://HOST:PORT; else the one on the same home.
        admin_key: The operator's key; else BEAST_ADMIN_KEY, else what the server on this home left there.
        as_json: Print one JSON object.
    """
    asked = {"days": days, **({"dimension": dimension} if dimension else {})}
    body = admin_get(f"/dashboard/api/admin/daily-rollup?{urlencode(asked)}", server, admin_key)
    if as_json:
        print_json(body)
        return
    found = msgspec.json.decode(body)
    sys.stdout.write(f"refreshed {found['age_s']:,.0f} s ago by {found['by']}, in {found['took_ms']:,} ms\n")
    figures = ("answers", "keys", "assets", "live", "stale")
    rows = [
        [
            each["day"],
            each["dimension"],
            each["value"],
            *(f"{each[name]:,}" for name in figures),
            f"{each['hit_rate']:.1%}",
            _micros(each["p99_ns"]),
        ]
        for each in found["days"]
    ]
    _show(["day", "by", "value", *figures, "from memory", "p99 µs"], rows)


@app.command
def database(
    *,
    top: int = 10,
    reset: Annotated[bool, Parameter(negative=())] = False,
    server: str | None = None,
    admin_key: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Show how the database fares since its statistics were last reset.

    Args:
        top: Statements of each list at most.
        reset: Begin the statistics anew instead.
        server: HOST, HOST:PORT or http://HOST:PORT; else the one on the same home.
        admin_key: The operator's key; else BEAST_ADMIN_KEY, else what the server on this home left there.
        as_json: Print one JSON object.
    """
    if reset:
        print_json(admin_post("/admin/db-insights/reset", {}, server, admin_key, timeout_s=ANSWER_S))
        return
    body = admin_get(f"/admin/db-insights?top={top}", server, admin_key)
    if as_json:
        print_json(body)
        return
    found = msgspec.json.decode(body)
    ratio = found["buffer_hit_ratio"]
    prepared = sum(found["prepared"].values())
    sys.stdout.write(
        f"{found['version'].split(',')[0]}, {found['database_bytes'] >> 20:,} MiB, "
        f"{'no' if ratio is None else f'{ratio:.2%}'} buffer hits, "
        f"{prepared} of {len(found['prepared'])} statements prepared\n"
    )
    if found["statements_fault"]:
        sys.stdout.write(f"{found['statements_fault']}\n")
    shown = [[f"{s['total_ms']:,.0f}", f"{s['calls']:,}", " ".join(s["query"].split())[:100]] for s in found["by_time"]]
    _show(["total ms", "calls", "statement"], shown)
    figures = ("sequential_scans", "index_scans", "live_rows", "dead_rows", "bytes")
    rows = [[t["name"], *(f"{t[name]:,}" for name in figures)] for t in found["tables"][:top]]
    _show(["table", "sequential", "by index", "rows", "dead", "bytes"], rows)


@app.command
def sql(
    question: str,
    *args: str,
    rows: int = 100,
    server: str | None = None,
    admin_key: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Ask the database one question, read-only.

    Args:
        question: One statement, with $1, $2, … for the values.
        args: The values: JSON, or text.
        rows: At most so many.
        server: HOST, HOST:PORT or http://HOST:PORT; else the one on the same home.
        admin_key: The operator's key; else BEAST_ADMIN_KEY, else what the server on this home left there.
        as_json: Print one JSON object.
    """
    if not question.strip():
        raise UsageError("there is no question", where="beast insights sql")
    asked = {"sql": question, "args": [_value(text) for text in args], "rows": rows}
    body = admin_post("/admin/sql", asked, server, admin_key, timeout_s=ANSWER_S)
    if as_json:
        print_json(body)
        return
    found = msgspec.json.decode(body)
    _show(found["columns"], [["" if value is None else str(value) for value in row] for row in found["rows"]])
    more = ", and there are more" if found["more"] else ""
    sys.stdout.write(f"{len(found['rows'])} rows{more}, in {found['took_ms']:,.0f} ms\n")


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _micros(ns: float | None) -> str:
    return "" if ns is None else f"{ns / 1e3:,.0f}"


def _show(titles: list[str], rows: list[list[str]]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)
