"""beast feeds health: how every connection and every symbol of a running server fares, and why."""

import json
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from beast.cli.common import admin_get, print_json

WORST = ("silent", "unproven", "refused", "never", "quiet", "ok")
"""The order in which symbols are shown."""


def health(
    *,
    exchange: str | None = None,
    asset: str | None = None,
    state: Literal["ok", "quiet", "silent", "never", "unproven", "refused"] | None = None,
    server: str | None = None,
    admin_key: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Show how every connection and symbol of a running server fares, and why.

    Args:
        exchange: Only this exchange.
        asset: Only this asset.
        state: Only symbols in this state.
        server: HOST, HOST:PORT or http://HOST:PORT; else the server that runs on the same home.
        admin_key: The operator's key; else BEAST_ADMIN_KEY, else what the server on this home left there.
        as_json: Print everything as one JSON object.
    """
    wanted = {name: value for name, value in (("exchange", exchange), ("asset", asset), ("state", state)) if value}
    body = admin_get(f"/admin/feeds/health?{urlencode(wanted)}", server, admin_key)
    if as_json:
        print_json(body)
    else:
        _show(Console(highlight=False), json.loads(body))


def _show(console: Console, report: dict[str, Any]) -> None:
    connections = _table("connection", "state", "heard", "symbols", "gaps today", "reconnects", "why")
    for each in report["connections"]:
        symbols = ", ".join(f"{count} {state}" for state, count in sorted(each["symbols"].items()))
        connections.add_row(
            f"{each['exchange']} {each['connection']}",
            each["state"],
            _ms(each["heard_age_ms"]),
            symbols,
            str(each["gaps_today"]),
            str(each["reconnects"]),
            each["why"],
        )
    console.print(connections)
    console.print()
    symbols_table = _table(
        "symbol", "asset", "state", "last trade", "every", "expected", "gaps today", "revived", "why"
    )
    for each in sorted(report["symbols"], key=lambda each: WORST.index(each["state"])):
        symbols_table.add_row(
            f"{each['exchange']} {each['symbol']}",
            each["asset"],
            each["state"],
            _ms(each["last_trade_age_ms"]),
            _ms(each["interval_ms"]),
            _ms(each["expected_silence_ms"]),
            str(each["gaps_today"]),
            str(each["revivals"]),
            each["why"],
        )
    console.print(symbols_table)
    if report["gaps_waiting"] or report["gaps_lost"]:
        console.print(f"{report['gaps_waiting']} gaps wait for the database, {report['gaps_lost']} found no room")


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title)
    return table


def _ms(value: int | None) -> str:
    return "never" if value is None else f"{value} ms" if value < 10_000 else f"{value / 1e3:.0f} s"  # noqa: PLR2004
