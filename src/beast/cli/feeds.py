"""beast feeds: the exchanges as rows."""

import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from cyclopts import App, Parameter
from cyclopts.types import PositiveInt
from rich.console import Console
from rich.table import Table

from beast.base.errors import BeastError, UsageError
from beast.cli import shadow as drafts
from beast.cli.database import with_database
from beast.feeds.admin.rows import AssetBatch, AssetRow
from beast.feeds.admin.store import AdminStore, SavedAssets
from beast.feeds.rows.check import CheckedFrame, Checker, count_kinds
from beast.feeds.rows.files import Exchange, Unreadable, read_rows, write_json, write_toml
from beast.feeds.store import FeedStore
from beast.feeds.types import Feed, Mapping
from beast.storage.database import Database

app = App(
    name="feeds",
    help="List, show, check, import and export the exchanges.",
    help_epilogue="""Examples:
  beast feeds list
  beast feeds health --state silent
  beast feeds export kraken > kraken.toml
  beast feeds check binance --frames frames.jsonl --rows binance.toml
  beast feeds import binance.toml
  beast feeds import binance.toml --shadow
  beast feeds shadow list
  beast feeds disable binance
  beast feeds assets kraken
  beast feeds toggle-asset kraken DOGE --no-prewarm""",
)

app.command("beast.cli.health:health", name="health")
app.command(drafts.app)

AsJson = Annotated[bool, Parameter(name="--json", negative=())]
_Result = TypeVar("_Result")


@app.command(name="list")
def list_feeds(*, as_json: AsJson = False) -> None:
    """List the exchanges.

    Args:
        as_json: Print one JSON object a line.
    """
    (feeds, unreadable), mappings = _with_store(_everything)
    rows = [_summary(feed, [mapping for mapping in mappings if mapping.exchange == feed.name]) for feed in feeds]
    for each in unreadable:
        sys.stderr.write(f"beast: {each.name}: {each.reason} (import its rows again)\n")
    if as_json:
        _print_lines(rows)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("exchange", "enabled", "priority", "assets", "prewarmed", "address"):
        table.add_column(title)
    for row in rows:
        enabled = "yes" if row["enabled"] else "no"
        table.add_row(row["name"], enabled, *(str(row[key]) for key in ("priority", "assets", "prewarmed", "ws_url")))
    Console(highlight=False).print(table)


@app.command
def show(name: str, /, *, as_json: AsJson = False) -> None:
    """Show one exchange's rows.

    Args:
        name: The exchange.
        as_json: Print JSON instead of TOML.
    """
    export(name, format="json" if as_json else "toml")


@app.command
def export(name: str, /, *, output: Path | None = None, format: Literal["toml", "json"] = "toml") -> None:  # noqa: A002
    """Write one exchange's rows as a file that import takes.

    Args:
        name: The exchange.
        output: Where to; else stdout.
        format: toml or json.
    """
    exchange = _with_store(lambda store: store.exchange(name))
    text = write_json(exchange) + "\n" if format == "json" else write_toml(exchange)
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, "utf-8")
    except OSError as error:
        raise BeastError(f"can't be written: {error}", where=str(output)) from None


@app.command(name="import")
def import_rows(
    file: Path,
    /,
    *,
    replace: bool = False,
    shadow: bool = False,
    bps: PositiveInt | None = None,
    minutes: PositiveInt | None = None,
    auto: bool = True,
    as_json: AsJson = False,
) -> None:
    """Add an exchange, or change one: all rows or none.

    A running server takes the rows over at once; with --shadow, when they have agreed with the other exchanges.

    Args:
        file: TOML, or JSON when its name ends in .json: one [feed] and its [[assets]].
        replace: Also delete the assets that the file doesn't name.
        shadow: As a draft, which runs beside the live rows first: see beast feeds shadow.
        bps: How far a draft may be off the others, in 1/10,000; else the parameter shadow_bps.
        minutes: For how many minutes in a row it must agree; else the parameter shadow_minutes.
        auto: A draft goes live by itself; else a person takes it live.
        as_json: Print the result as JSON.
    """
    if shadow:
        drafts.start(file, replace=replace, bps=bps, minutes=minutes, auto=auto, as_json=as_json)
        return
    if bps is not None or minutes is not None or not auto:
        raise UsageError("--bps, --minutes and --no-auto are a draft's", where="import", todo="give --shadow with them")
    exchange = read_rows(file)
    saved = _with_store(lambda store: store.save(exchange, replace=replace))
    summary = _summary(saved.feed, saved.assets)
    if as_json:
        _print_lines([summary])
    else:
        sys.stdout.write(f"{saved.feed.name}: {summary['assets']} assets, {summary['prewarmed']} prewarmed\n")


@app.command
def enable(name: str, /) -> None:
    """Switch an exchange on.

    Args:
        name: The exchange.
    """
    _with_store(lambda store: store.enable(name, enabled=True))
    sys.stdout.write(f"{name} is on\n")


@app.command
def disable(name: str, /) -> None:
    """Switch an exchange off; its rows stay.

    Args:
        name: The exchange.
    """
    _with_store(lambda store: store.enable(name, enabled=False))
    sys.stdout.write(f"{name} is off\n")


@app.command
def assets(name: str | None = None, /, *, as_json: AsJson = False) -> None:
    """List the assets that exchanges are mapped to.

    Args:
        name: Only this exchange.
        as_json: Print one JSON object a line.
    """

    async def read(store: AdminStore) -> list[AssetRow]:
        return [row async for page in store.list_assets(name) for row in page]

    rows = with_database(lambda database: read(AdminStore(database)))
    if as_json:
        _print_lines(rows)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("id", "exchange", "asset", "symbol", "currency", "enabled", "prewarm", "category"):
        table.add_column(title)
    for row in rows:
        flags = ("yes" if flag else "no" for flag in (row.enabled, row.prewarm))
        table.add_row(str(row.id), row.exchange, row.asset, row.symbol, row.currency, *flags, row.category)
    Console(highlight=False, markup=False).print(table)


@app.command
def save_assets(file: Path, /, *, exchange: str = "") -> None:
    """Add or change many assets: all rows or none. What a row leaves out stays as it is.

    Args:
        file: A JSON array of rows as `beast feeds assets --json` prints them.
        exchange: Of all rows that don't name theirs.
    """
    try:
        rows = msgspec.json.decode(file.read_bytes(), type=list[msgspec.Raw])
    except OSError as error:
        raise BeastError(f"can't be read: {error}", where=str(file)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BeastError(f"is no JSON array of rows: {error}", where=str(file)) from None

    async def save(database: Database) -> SavedAssets:
        return await AdminStore(database).save_assets(await AssetBatch.read(rows, exchange))

    saved = with_database(save)
    sys.stdout.write(f"{saved.added} added, {saved.changed} changed\n")


@app.command
def toggle_asset(
    name: str, asset: str, /, *, enabled: bool | None = None, prewarm: bool | None = None, as_json: AsJson = False
) -> None:
    """Switch one asset at one exchange on or off, or its prewarming; without a flag it is switched over.

    Args:
        name: The exchange.
        asset: The asset.
        enabled: Whether it is priced at all.
        prewarm: Whether it is subscribed from the start.
        as_json: Print the row as JSON.
    """
    row = with_database(
        lambda database: AdminStore(database).toggle_asset(
            exchange=name, asset=asset.upper(), enabled=enabled, prewarm=prewarm
        )
    )
    if row is None:
        raise BeastError(f"there is no {asset.upper()} at {name!r}", todo="beast feeds assets shows those there are")
    if as_json:
        _print_lines([row])
        return
    words = "on" if row.enabled else "off", "prewarmed" if row.prewarm else "not prewarmed"
    sys.stdout.write(f"{row.asset} at {row.exchange} is {' and '.join(words)}\n")


@app.command
def check(name: str, /, *, frames: Path, rows: Path | None = None, as_json: AsJson = False) -> None:
    """Run recorded frames through the rows of one exchange, without a connection.

    Each frame is judged alone. Several trades of one symbol in a frame give its newest.

    Args:
        name: The exchange.
        frames: JSON lines with the frame's text in `raw`, or its bytes in `raw_base64`.
        rows: Take the rows from this file instead of the table.
        as_json: Print one JSON object a line.
    """
    exchange = _rows_of(name, rows)
    checker = Checker(exchange.feed, exchange.assets)
    try:
        with frames.open(encoding="utf-8", errors="surrogateescape") as lines:
            checked = checker.check_lines(lines)
            if as_json:
                _print_lines(checked)
            else:
                _show_checked(list(checked))
    except OSError as error:
        raise BeastError(f"can't be read: {error}", where=str(frames)) from None


def _rows_of(name: str, file: Path | None) -> Exchange:
    if file is None:
        return _with_store(lambda store: store.exchange(name))
    exchange = read_rows(file)
    if exchange.feed.name != name:
        raise UsageError(f"holds the rows of {exchange.feed.name!r}, not of {name!r}", where=str(file))
    return exchange


def _with_store(work: Callable[[FeedStore], Awaitable[_Result]]) -> _Result:
    return with_database(lambda database: work(FeedStore(database)))


async def _everything(store: FeedStore) -> tuple[tuple[list[Feed], list[Unreadable]], list[Mapping]]:
    return await store.list_feeds(), await store.list_mappings()


def _summary(feed: Feed, mappings: Iterable[Mapping]) -> dict[str, Any]:
    known = list(mappings)
    return {
        "name": feed.name,
        "enabled": feed.enabled,
        "priority": feed.priority,
        "assets": len(known),
        "prewarmed": sum(mapping.enabled and mapping.prewarm for mapping in known),
        "ws_url": feed.ws_url,
    }


def _print_lines(values: Iterable[Any]) -> None:
    for value in values:
        sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def _show_checked(frames: list[CheckedFrame]) -> None:
    for frame in frames:
        told = ", ".join(f"{t.symbol} ({t.asset or 'not mapped'}) {t.price} {t.timestamp or ''}" for t in frame.trades)
        sys.stdout.write(f"{frame.line:>6}  {frame.kind:<9}  {told or frame.reason}".rstrip() + "\n")
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(count_kinds(frames).items()))
    sys.stdout.write(f"{len(frames)} frames: {counted or 'none'}\n")
