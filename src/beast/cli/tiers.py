"""beast tiers: what keys may use."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from beast.accounts.audit import command_line
from beast.accounts.tiers import Tiers
from beast.accounts.types import Tier, TierChanges
from beast.base.clock import SystemClock
from beast.cli.account_tables import AsJson, account_database, number_or_none, print_row, print_table

app = App(
    name="tiers",
    help="List, show and change the tiers of API keys.",
    help_epilogue="""Examples:
  beast tiers list
  beast tiers show pro --json
  beast tiers set pro --monthly-queries 60_000 --per-second 20 --burst 40
  beast tiers set trial --monthly-queries 100 --per-second 1 --burst 1 --monthly-reports 0""",
)

TITLES = ("tier", "queries a month", "per second", "burst", "reports a month", "reports add-on", "partner")

TierName = Annotated[str, Parameter(name="TIER", allow_leading_hyphen=False)]


@app.command(name="list")
def list_tiers(*, as_json: AsJson = False, config: Path | None = None) -> None:
    """List the tiers, the smallest first; a dash is no limit.

    Args:
        as_json: Print one JSON object a line.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> list[Tier]:
        async with _tiers(config) as tiers:
            return await tiers.list_all()

    _tell(asyncio.run(work()), as_json=as_json)


@app.command
def show(name: TierName, /, *, as_json: AsJson = False, config: Path | None = None) -> None:
    """Show one tier.

    Args:
        name: The tier.
        as_json: Print one JSON object.
        config: TOML file; else BEAST_CONFIG.
    """

    async def work() -> Tier:
        async with _tiers(config) as tiers:
            return await tiers.find(name)

    _tell([asyncio.run(work())], as_json=as_json)


@app.command(name="set")
def set_tier(
    name: TierName,
    /,
    *,
    monthly_queries: str | None = None,
    per_second: str | None = None,
    burst: str | None = None,
    monthly_reports: str | None = None,
    unlimited_reports_addon: bool | None = None,
    partner: bool | None = None,
    as_json: AsJson = False,
    config: Path | None = None,
) -> None:
    """Change a tier, or add one; its keys have the new limits within a second.

    What is left out stays, or is no limit in a new tier.

    Args:
        name: The tier.
        monthly_queries: Prices a month, or none: no cap.
        per_second: Requests a second, or none: no limit; with burst.
        burst: As many at once, or none; with per_second.
        monthly_reports: Reports a month, or none: no limit.
        unlimited_reports_addon: Whether the add-on that lifts monthly_reports may be bought.
        partner: No limit, no cap, no billing; still counted.
        as_json: Print the tier as one JSON object.
        config: TOML file; else BEAST_CONFIG.
    """
    wanted = TierChanges(
        monthly_queries=number_or_none("--monthly-queries", monthly_queries),
        per_second=number_or_none("--per-second", per_second),
        burst=number_or_none("--burst", burst),
        monthly_reports=number_or_none("--monthly-reports", monthly_reports),
        unlimited_reports_addon=msgspec.UNSET if unlimited_reports_addon is None else unlimited_reports_addon,
        partner=msgspec.UNSET if partner is None else partner,
    )

    async def work() -> Tier:
        async with _tiers(config) as tiers:
            return await tiers.set(name, wanted, by=command_line())

    _tell([asyncio.run(work())], as_json=as_json)


def _tell(tiers: list[Tier], *, as_json: bool) -> None:
    if not as_json:
        print_table(TITLES, [msgspec.structs.astuple(tier) for tier in tiers])
        return
    for tier in tiers:
        print_row(tier)


@asynccontextmanager
async def _tiers(file: Path | None) -> AsyncIterator[Tiers]:
    async with account_database(file) as database:
        yield Tiers(database, SystemClock())
