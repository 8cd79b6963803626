"""beast status: what a running server says of itself."""

import json
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from beast.base.errors import BeastError, UsageError
from beast.cli.common import PORTS, Target, check_key, find_target, http_get, print_json

app = App(
    name="status",
    help_epilogue="""Examples:
  beast status
  beast status --json
  BEAST_ADMIN_KEY=... beast status --server http://10.0.0.5:8080
  BEAST_ADMIN_KEY=... beast status --server http://10.0.0.6:9090""",
)


@app.default
def status(
    *,
    server: str | None = None,
    admin_key: str | None = None,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Show what a running server is doing: ports, feeds, counters, health; of one without prices, its reports.

    Without --server it is the one that runs on the same home.

    Args:
        server: HOST, HOST:PORT or http://HOST:PORT.
        admin_key: The operator's key; else BEAST_ADMIN_KEY, else what the server on this home left there.
        as_json: Print everything as one JSON object.
    """
    target, code, body = _ask(server, admin_key)
    if code != HTTPStatus.OK:
        raise BeastError(f"HTTP {code}: {_reason(body)}", where=target.http_address, todo="give --admin-key")
    if as_json:
        print_json(body)
        return
    _show(Console(highlight=False), json.loads(body))


def _ask(server: str | None, admin_key: str | None) -> tuple[Target, int, bytes]:
    """Who answered, the status and the body: of the price port, or of the report port where there are no prices.

    Raises:
        UsageError: `server` is no address, or the key is no key.
        BeastError: neither answers; tells of the first.
    """
    first: BeastError | None = None
    for side in PORTS:
        try:
            target = find_target(server, None, side=side)
            given = admin_key or target.admin_key
            check_key(given, "--admin-key")
            return target, *http_get(target, "/admin/status", {"X-Admin-Key": given})
        except UsageError:
            raise
        except BeastError as error:
            first = first or error
    assert first is not None, "there are sides"
    raise first


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"


def _show(console: Console, state: dict[str, Any]) -> None:
    ports = ", ".join(f"{name} {port}" for name, port in state["ports"].items())
    uptime = timedelta(seconds=round(state["uptime_s"]))
    console.print(f"{state['node']}  version {state['version']}  pid {state['pid']}  up {uptime}")
    console.print(f"ports: {ports}")
    health = state["health"]
    prices = f", {state['assets']} assets, {state['keys']} keys" if "assets" in state else ""
    console.print(f"ready: {'yes' if health['ready'] else 'no'}{prices}")
    for part, reason in {**health["reasons"], **health["degraded"]}.items():
        console.print(f"  {part}: {reason}")
    if "exchanges" in state:
        _show_exchanges(console, state["exchanges"])
    else:
        _show_reports(console, state)


def _show_reports(console: Console, state: dict[str, Any]) -> None:
    database = state["database"]
    console.print(f"reports: {state['reports']} under way, {state['requests']:,} requests")
    console.print(f"database: {database['db_in_use_conns']} of {database['db_open_conns']} connections in use")


def _show_exchanges(console: Console, exchanges: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("exchange", "connected", "subscribed", "last frame", "reconnects", "last error"):
        table.add_column(title)
    for each in exchanges:
        age = each["last_frame_age_ms"]
        table.add_row(
            each["name"],
            "yes" if each["connected"] else "no",
            f"{each['acked']}/{each['wanted']}",
            "never" if age is None else f"{age} ms",
            str(each["reconnects"]),
            each["last_error"],
        )
    console.print(table)
