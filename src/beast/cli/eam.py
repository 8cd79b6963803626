"""beast eam: the exchange asset map as a whole."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from beast.base.clock import SystemClock
from beast.base.config_sources import load_config
from beast.base.errors import BeastError
from beast.base.log import configure_logging
from beast.cli.common import admin_get, admin_post, print_json
from beast.cluster.asset_lists import AssetLists, SyncedLists
from beast.storage.opening import open_database

POLL_S = 0.5
ANSWER_S = 60.0
"""Beyond the time for volumes: lists of products are read first."""

app = App(
    name="eam",
    help="Sync, audit and extend the exchange asset map.",
    help_epilogue="""Examples:
  beast eam sync
  beast eam audit
  beast eam audit --json
  beast eam discover --exchange kraken --limit 10""",
)

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


@app.command
def sync(*, as_json: AsJson = False, config: Path | None = None) -> None:
    """Write each exchange's assets, and the master list, into application_parameters.

    Args:
        as_json: Print one JSON object.
        config: TOML file; else BEAST_CONFIG.
    """
    settings = load_config(file=config).config
    configure_logging("warning", settings.log_format)

    async def work() -> SyncedLists:
        async with open_database(settings, application_name="beast-eam", max_size=2) as database:
            return await AssetLists(database, SystemClock()).sync()

    synced = asyncio.run(work())
    if as_json:
        print_json(msgspec.json.encode(synced))
        return
    for name, count in synced.parameters.items():
        sys.stdout.write(f"{name}: {count} assets\n")


@app.command
def audit(
    *, server: str | None = None, admin_key: str | None = None, wait: bool = True, as_json: AsJson = False
) -> None:
    """Have a running server audit what is prewarmed: listed, subscribed, fresh, answered?

    Ends with 1 when something was found.

    Args:
        server: HOST, HOST:PORT or http://HOST:PORT; else the one on the same home.
        admin_key: The operator's key; else BEAST_ADMIN_KEY, else what the server on this home left there.
        wait: Wait for the end; else print where it can be asked for.
        as_json: Print everything as one JSON object.
    """
    found = msgspec.json.decode(admin_get("/admin/eam/audit", server, admin_key))
    path = f"/admin/eam/audit?id={found['id']}"
    while wait and found["state"] == "running":
        time.sleep(POLL_S)
        found = msgspec.json.decode(admin_get(path, server, admin_key))
    if as_json:
        print_json(found)
    else:
        _show_audit(found, path)
    if found["state"] == "failed":
        raise BeastError("the audit could not be done", where=found["id"])
    if found["found"]:
        raise BeastError(f"{found['found']} findings", where=found["id"], todo="see above")


@app.command
def discover(
    *,
    exchange: str | None = None,
    limit: int = 20,
    seconds: int = 20,
    server: str | None = None,
    admin_key: str | None = None,
    as_json: AsJson = False,
) -> None:
    """Show the assets that exchanges list and no row maps, by their volume of 24 hours.

    Exchanges are asked within their limits; repeat it to go on with what there was no time for.

    Args:
        exchange: Only this one; else all that are on.
        limit: How many at most.
        seconds: How long to ask for volumes, 1 to 60.
        server: HOST, HOST:PORT or http://HOST:PORT; else the one on the same home.
        admin_key: The operator's key; else BEAST_ADMIN_KEY, else what the server on this home left there.
        as_json: Print everything as one JSON object.
    """
    wanted = {"limit": limit, "seconds": seconds, **({"exchange": exchange} if exchange else {})}
    body = admin_post("/admin/eam/discover", wanted, server, admin_key, timeout_s=seconds + ANSWER_S)
    if as_json:
        print_json(body)
        return
    found = msgspec.json.decode(body)
    table = Table(box=None, pad_edge=False)
    for title in ("asset", "exchange", "symbol", "currency", "24 h volume", "in USD", "mapped at"):
        table.add_column(title)
    for each in found["markets"]:
        figures = (each["quote_volume_24h"], each["usd_volume_24h"] or "unknown", ", ".join(each["mapped_at"]))
        table.add_row(each["asset"], each["exchange"], each["symbol"], each["currency"], *figures)
    Console(highlight=False, markup=False).print(table)
    for each in found["exchanges"]:
        told = (
            each["error"] or f"{each['listed']} markets, {each['known']} of {each['uncovered']} uncovered assets asked"
        )
        sys.stdout.write(f"{each['exchange']}: {told}\n")


def _show_audit(found: dict[str, Any], path: str) -> None:
    sys.stdout.write(f"audit {found['id']}: {found['state']}, {found['assets']} prewarmed assets; GET {path}\n")
    for layer in found["layers"]:
        error = f", {layer['error']}" if layer["error"] else ""
        counts = f"{layer['checked']} checked, {layer['found']} found"
        sys.stdout.write(f"{layer['name']:<10} {layer['state']:<8} {counts}{error}\n")
        for each in layer["findings"]:
            who = " ".join(filter(None, (each["exchange"], each["asset"], each["symbol"])))
            sys.stdout.write(f"  {who}: {each['problem']}\n")
