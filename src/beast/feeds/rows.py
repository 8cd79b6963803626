"""Rows of an exchange as files: TOML or JSON with one `feed` and its `assets`."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import tomli_w

from beast.base.errors import BeastError
from beast.feeds.plan import ColumnError, check_condition, compile_plan, fold, path_of
from beast.feeds.templates import validate_templates
from beast.feeds.types import Feed, Mapping

Row = TypeVar("Row", Feed, Mapping)

_FEED_NAME = re.compile(r"[a-z0-9_-]{1,16}")
_ASSET = re.compile(r"[A-Z0-9._-]{1,20}")
_CURRENCY = re.compile(r"[A-Z0-9]{1,10}")
_URL = re.compile(r"wss?://[^\s/]+(/\S*)?")
_SYMBOL_MAX: Final = 64
_LIMITS: Final = {
    "priority": (0, 1_000_000),
    "connect_interval_ms": (0, 3_600_000),
    "max_connection_age_s": (0, 30 * 86_400),
    "symbols_per_connection": (0, 10_000),
    "subscribe_chunk": (0, 10_000),
    "subscribe_delay_ms": (0, 60_000),
    "subscribe_interval_ms": (0, 60_000),
    "ping_interval_ms": (0, 3_600_000),
    "patience_ms": (1_000, 3_600_000),
}
_FILTERS: Final = ("ack_filter", "error_filter", "heartbeat_filter", "notice_filter", "pong_filter")
_PATHS: Final = ("ack_symbol_path", "error_symbol_path", "error_message_path", "reply_id_path")


class Exchange(NamedTuple):
    """All rows of one exchange."""

    feed: Feed
    assets: tuple[Mapping, ...]


class Unreadable(NamedTuple):
    """A row of `exchange_feeds` that was changed, past all checks, into what no Feed can be made of."""

    name: str
    enabled: bool
    reason: str


class Fault(NamedTuple):
    """One thing that is wrong with rows."""

    row: str
    """`feed`, or `assets` with the row's place and name: `assets.3 (ETH)`."""
    column: str
    reason: str

    def __str__(self) -> str:
        return f"{self.row}, {self.column}: {self.reason}" if self.column else f"{self.row}: {self.reason}"


class RowsError(BeastError):
    """Rows that can't be meant, with every fault found."""

    def __init__(self, faults: Iterable[Fault], *, where: str) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults), where=where)


def read_rows(path: Path) -> Exchange:
    """The rows in a file, valid. Raises RowsError, or BeastError when the file can't be read."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BeastError(f"can't be read: {error}", where=str(path)) from None
    return parse_rows(text, where=str(path), json=path.suffix.lower() == ".json")


def parse_rows(text: str, *, where: str, json: bool) -> Exchange:
    """The rows in a TOML or JSON text, valid. Raises RowsError."""
    try:
        document: Any = msgspec.json.decode(text) if json else tomllib.loads(text)
    except (msgspec.DecodeError, tomllib.TOMLDecodeError) as error:
        raise BeastError(f"is not {'JSON' if json else 'TOML'}: {error}", where=where) from None
    exchange, faults = _convert(document)
    if exchange is not None:
        faults = validate(exchange)
    if exchange is None or faults:
        raise RowsError(faults, where=where)
    return exchange


def write_toml(exchange: Exchange) -> str:
    """The rows as TOML, defaults left out."""
    return tomli_w.dumps(_document(exchange))


def write_json(exchange: Exchange) -> str:
    """The rows as JSON, defaults left out."""
    return msgspec.json.format(msgspec.json.encode(_document(exchange)), indent=2).decode()


def validate(exchange: Exchange) -> list[Fault]:
    """Everything that is wrong with the rows; empty when nothing is."""
    feed = exchange.feed
    faults = [Fault("feed", column, reason) for column, reason in _feed_faults(feed)]
    return faults + list(_asset_faults(feed, exchange.assets))


def _document(exchange: Exchange) -> dict[str, Any]:
    assets = [msgspec.structs.replace(mapping, exchange="") for mapping in exchange.assets]
    document: dict[str, Any] = msgspec.to_builtins({"feed": exchange.feed, "assets": assets})
    return document


def _convert(document: Any) -> tuple[Exchange | None, list[Fault]]:
    if not isinstance(document, dict) or not isinstance(document.get("feed"), dict):
        return None, [Fault("file", "", "there is no [feed] table")]
    unknown = sorted(set(document) - {"feed", "assets"})
    faults = [Fault("file", name, "is not known; there are feed and assets") for name in unknown]
    entries = document.get("assets", [])
    if not isinstance(entries, list):
        return None, [*faults, Fault("assets", "", "must be a list of tables: [[assets]]")]
    feed = _convert_row(document["feed"], Feed, "feed", faults)
    assets = [_convert_row(entry, Mapping, _asset_row(i, entry), faults) for i, entry in enumerate(entries)]
    if feed is None or faults:
        return None, faults
    named = [msgspec.structs.replace(mapping, exchange=feed.name) for mapping in assets if mapping is not None]
    foreign = [
        Fault(_asset_row(i, entries[i]), "exchange", f"{mapping.exchange!r} is not the feed's name, {feed.name!r}")
        for i, mapping in enumerate(assets)
        if mapping is not None and mapping.exchange not in {"", feed.name}
    ]
    return (None, foreign) if foreign else (Exchange(feed, tuple(named)), [])


def _convert_row(value: Any, row_type: type[Row], row: str, faults: list[Fault]) -> Row | None:
    try:
        return msgspec.convert(value, row_type)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$.")
        faults.append(Fault(row, place.rstrip("`"), reason))
        return None


def _asset_row(number: int, entry: Any) -> str:
    name = entry.get("asset") if isinstance(entry, dict) else entry.asset
    return f"assets.{number} ({name})" if name else f"assets.{number}"


def _feed_faults(feed: Feed) -> Iterable[tuple[str, str]]:
    if not _FEED_NAME.fullmatch(feed.name):
        yield "name", f"{feed.name!r} is not 1 to 16 of a-z, 0-9, _ and -"
    if not _URL.fullmatch(feed.ws_url):
        yield "ws_url", f"{feed.ws_url!r} is no ws:// or wss:// address"
    for column, (low, high) in _LIMITS.items():
        if not low <= getattr(feed, column) <= high:
            yield column, f"{getattr(feed, column)} is not from {low} to {high}"
    try:
        compile_plan(feed)
    except ColumnError as error:
        yield error.column, error.reason
    yield from _filter_faults(feed)
    for message in validate_templates(feed):
        column, _, reason = message.partition(": ")
        yield column, reason


def _filter_faults(feed: Feed) -> Iterable[tuple[str, str]]:
    for column in _FILTERS:
        for condition in getattr(feed, column):
            try:
                check_condition(condition, column)
            except ColumnError as error:
                yield error.column, error.reason
    for column in _PATHS:
        try:
            path_of(getattr(feed, column), column)
        except ColumnError as error:
            yield error.column, error.reason


def _asset_faults(feed: Feed, assets: tuple[Mapping, ...]) -> Iterable[Fault]:
    seen: dict[tuple[str, str], str] = {}
    for number, mapping in enumerate(assets):
        row = _asset_row(number, mapping)
        told = set()
        for column, value, fault in _asset_columns(feed, mapping):
            if column == "wire_symbol" and "symbol" in told and not mapping.wire_symbol:
                continue  # the same text, told already
            other = seen.setdefault((column, value), row)
            if fault or other != row:
                told.add(column)
                yield Fault(row, column, fault or f"{value!r} stands in {other} already")
        if not _CURRENCY.fullmatch(mapping.currency):
            yield Fault(row, "currency", f"{mapping.currency!r} does not match {_CURRENCY.pattern}")


def _asset_columns(feed: Feed, mapping: Mapping) -> Iterable[tuple[str, str, str]]:
    """What must be unique among an exchange's assets: column, value, and what is wrong with it alone."""
    asset = mapping.asset
    yield "asset", asset, "" if _ASSET.fullmatch(asset) else f"{asset!r} does not match {_ASSET.pattern}"
    for column, symbol in (("symbol", mapping.symbol), ("wire_symbol", fold(feed, mapping.key))):
        fits = 1 <= len(symbol.encode()) <= _SYMBOL_MAX
        yield column, symbol, "" if fits else f"must be 1 to {_SYMBOL_MAX} bytes"
