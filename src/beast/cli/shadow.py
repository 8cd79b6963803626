"""beast feeds shadow: drafts of rows, which run beside the live ones until they have agreed with the others."""

import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from cyclopts import App, Parameter
from cyclopts.types import PositiveInt
from rich.console import Console
from rich.table import Table

from beast.accounts.audit import Entry, command_line, write_entry
from beast.base.clock import SystemClock
from beast.cli.database import with_database
from beast.feeds.rows.files import read_rows
from beast.feeds.shadow.change import change_of
from beast.feeds.shadow.store import DraftStore, Terms
from beast.feeds.shadow.types import Draft, DraftDetail
from beast.storage.database import Database

app = App(
    name="shadow",
    help="Run new or edited rows in shadow: they go live when they have agreed with the other exchanges.",
    help_epilogue="""Examples:
  beast feeds shadow start kraken.toml --bps 30 --minutes 60
  beast feeds shadow list
  beast feeds shadow show 7
  beast feeds shadow promote 7
  beast feeds shadow reject 7 --reason "the wrong channel"
  beast feeds shadow versions kraken""",
)

AsJson = Annotated[bool, Parameter(name="--json", negative=())]
ASSETS_SHOWN = 20
_Result = TypeVar("_Result")


@app.command
def start(
    file: Path,
    /,
    *,
    replace: bool = False,
    bps: PositiveInt | None = None,
    minutes: PositiveInt | None = None,
    auto: bool = True,
    as_json: AsJson = False,
) -> None:
    """Run the rows of a file in shadow. A running server does so; `list` shows how far they have come.

    Args:
        file: As `beast feeds import` takes it: one [feed] and its [[assets]].
        replace: Assets that the file doesn't name are deleted when it goes live.
        bps: How far it may be off the others, in 1/10,000; else the parameter shadow_bps.
        minutes: For how many minutes in a row; else the parameter shadow_minutes.
        auto: It goes live by itself; else a person takes it live.
        as_json: Print the draft as JSON.
    """
    change = change_of(read_rows(file), replace=replace)
    who, terms = command_line().name, Terms(bps, minutes, auto)
    draft = _change("start", lambda store: store.start(change, terms, who=who, at=_now()), exchange=change.exchange)
    if as_json:
        _print_lines([draft])
    else:
        sys.stdout.write(f"draft {draft.id} of {draft.exchange} runs in shadow: beast feeds shadow show {draft.id}\n")


@app.command(name="list")
def list_drafts(exchange: str | None = None, /, *, as_json: AsJson = False) -> None:
    """List the drafts, the newest first.

    Args:
        exchange: Only of this exchange.
        as_json: Print one JSON object a line.
    """
    drafts = with_database(lambda database: DraftStore(database).list_drafts(exchange))
    if as_json:
        _print_lines(drafts)
        return
    table = _table("draft", "exchange", "state", "agreed", "waits for, or how it ended")
    for draft in drafts:
        agreed = f"{draft.agreed} min"
        table.add_row(str(draft.id), draft.exchange, draft.state, agreed, draft.waits_for or _end(draft))
    Console(highlight=False, markup=False).print(table)


@app.command
def show(draft: int, /, *, as_json: AsJson = False) -> None:
    """Show one draft: its last minute, every asset beside the others, the hour before.

    Args:
        draft: Its number.
        as_json: Print everything as JSON.
    """
    found = with_database(lambda database: DraftStore(database).find(draft))
    if as_json:
        _print_lines([found])
    else:
        _show(Console(highlight=False, markup=False), found)


@app.command
def promote(draft: int, /) -> None:
    """Take a draft live that has agreed for long enough; running servers follow at once.

    Args:
        draft: Its number.
    """
    who = command_line().name
    version = _change("promote", lambda store: store.promote(draft, who=who, at=_now()), draft=draft)
    sys.stdout.write(f"draft {draft} is live, as version {version} of the rows\n")


@app.command
def reject(draft: int, /, *, reason: str = "") -> None:
    """End a draft; the live rows stay as they are.

    Args:
        draft: Its number.
        reason: Kept with it.
    """
    who = command_line().name
    _change("reject", lambda store: store.reject(draft, who=who, at=_now(), reason=reason), draft=draft, reason=reason)
    sys.stdout.write(f"draft {draft} is rejected\n")


@app.command
def versions(exchange: str, /, *, limit: PositiveInt = 20, as_json: AsJson = False) -> None:
    """List the versions of an exchange's rows, the newest first, whoever made them.

    Args:
        exchange: Whose.
        limit: How many; a hundred are kept.
        as_json: Print one JSON object a line.
    """
    found = with_database(lambda database: DraftStore(database).versions(exchange, limit=limit))
    if as_json:
        _print_lines(found)
        return
    table = _table("version", "at", "who", "assets", "changed")
    for each in found:
        changed = "deleted" if each.deleted else ", ".join(each.columns or ())
        if each.changed_assets:
            changed = f"{changed}{', ' if changed else ''}{each.changed_assets} assets"
        table.add_row(str(each.number), f"{each.at:%Y-%m-%d %H:%M:%S}", each.who, str(each.assets), changed)
    Console(highlight=False, markup=False).print(table)


def _change(action: str, work: Callable[[DraftStore], Awaitable[_Result]], **details: object) -> _Result:
    """Does the work on the configured database, and writes into the audit log that it is done."""

    async def run(database: Database) -> _Result:
        result = await work(DraftStore(database))
        entry = Entry(at=_now(), actor=command_line(), action=f"exchange-shadow.{action}", after=details)
        async with database.transaction() as connection:
            await write_entry(connection, entry)
        return result

    return with_database(run)


def _show(console: Console, draft: DraftDetail) -> None:
    console.print(f"draft {draft.id} of {draft.exchange}: {draft.state}, {draft.agreed} agreeing minutes")
    console.print(f"waits for: {draft.waits_for}" if draft.waits_for else _end(draft))
    if draft.verdict is None:
        return
    tally = draft.verdict.tally
    console.print(f"{draft.verdict.at:%H:%M:%S} {draft.verdict.kind}: {draft.verdict.why}")
    console.print(
        f"{tally.frames} frames, {tally.trades} trades, {tally.wrong} that were wrong, {tally.ignored} ignored"
    )
    table = _table("asset", "off", "price", "others", "sources", "compared", "")
    for each in draft.verdict.assets[:ASSETS_SHOWN]:
        table.add_row(
            f"{each.name} {each.currency}",
            "" if each.off_bps is None else f"{each.off_bps:.1f} bps",
            each.price or "",
            "" if each.others is None else f"{each.others:.10g}",
            str(each.sources),
            str(each.compared),
            each.standing,
        )
    console.print(table)
    more = len(draft.verdict.assets) - ASSETS_SHOWN + draft.verdict.more_assets
    if more > 0:
        console.print(f"and {more} more: --json shows them")
    for minute in draft.minutes_past[-5:]:
        console.print(f"{minute.at:%H:%M:%S} {minute.kind}: {minute.why}")


def _end(draft: Draft) -> str:
    told = {
        "live": f"live since {draft.live_at:%Y-%m-%d %H:%M} as version {draft.version}" if draft.live_at else "",
        "rejected": f"rejected by {draft.ended_by}",
        "fallen_back": f"version {draft.version} fell back",
    }.get(draft.state, "nothing")
    return f"{told}: {draft.reason}" if draft.reason else told


def _now() -> datetime:
    return datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, UTC)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title)
    return table


def _print_lines(values: Iterable[Any]) -> None:
    for value in values:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
