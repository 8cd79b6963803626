"""Rows of an exchange as files: TOML or JSON with one `feed` and its `assets`."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import tomli_w

from beast.base.errors import BeastError
from beast.feeds.rows.paths import NAMED, parse_market_path
from beast.feeds.rows.plan import ColumnError, check_condition, compile_plan, fold, path_of
from beast.feeds.rows.rest import NAMELESS, PLACEHOLDERS
from beast.feeds.rows.templates import validate_templates
from beast.feeds.types import Feed, Mapping

Row = TypeVar("Row", Feed, Mapping)

_FEED_NAME = re.compile(r"[a-z0-9_-]{1,16}")
_ASSET = re.compile(r"[A-Z0-9._-]{1,20}")
_CURRENCY = re.compile(r"[A-Z0-9]{1,10}")
_URL = re.compile(r"(wss?://[^\s/]+(/\S*)?|\{ENDPOINT\}\S*)")
_TOKEN_URL = re.compile(r"(https?://[^\s/]+(/\S*)?)?")
_REST_URL = re.compile(r"https?://[^\s/{}]+/\S*")
_SYMBOL_MAX: Final = 64
_RESERVED: Final = "consensus"
_BAND_MAX: Final = 1_000_000
_LIMITS: Final = {
    "consensus_weight": (0, 1_000),
    "priority": (0, 1_000_000),
    "connect_interval_ms": (0, 3_600_000),
    "max_connection_age_s": (0, 30 * 86_400),
    "symbols_per_connection": (0, 10_000),
    "subscribe_chunk": (0, 10_000),
    "subscribe_delay_ms": (0, 60_000),
    "subscribe_interval_ms": (0, 60_000),
    "ping_interval_ms": (0, 3_600_000),
    "patience_ms": (1_000, 3_600_000),
    "rest_per_second": (0.01, 1_000),
    "rest_timeout_ms": (50, 60_000),
}
_FILTERS: Final = (
    *("ack_filter", "error_filter", "heartbeat_filter", "notice_filter", "pong_filter"),
    *("rest_error_filter", "rest_product_filter"),
)
_PATHS: Final = (
    "token_path",
    "endpoint_path",
    "ping_interval_path",
    "ack_symbol_path",
    "channel_path",
    "error_symbol_path",
    "error_message_path",
    "reply_id_path",
)
_REST_PATHS: Final = (
    *("rest_price_path", "rest_volume_path", "rest_timestamp_path"),
    *("rest_products_path", "rest_product_symbol_path"),
)


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
    check = AssetCheck(exchange.feed)
    return feed_faults(exchange.feed) + [fault for mapping in exchange.assets for fault in check.faults(mapping)]


def feed_faults(feed: Feed) -> list[Fault]:
    """Everything that is wrong with an exchange's own row."""
    return [Fault("feed", column, reason) for column, reason in _feed_faults(feed)]


class AssetCheck:
    """Checks the assets of one exchange, one after the other."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._seen: dict[tuple[str, str], str] = {}
        self._count = 0

    def faults(self, mapping: Mapping, row: str = "") -> list[Fault]:
        """What is wrong with the next one, alone or beside those before it; faults call it `row`, or by its number."""
        row = row or _asset_row(self._count, mapping)
        self._count += 1
        faults: list[Fault] = []
        for column, value, reason in _asset_columns(self._feed, mapping):
            if column == "wire_symbol" and not mapping.wire_symbol and any(each.column == "symbol" for each in faults):
                continue  # the same text, told already
            other = self._seen.setdefault((column, value), row)
            if reason or other != row:
                faults.append(Fault(row, column, reason or f"{value!r} stands in {other} already"))
        if not _CURRENCY.fullmatch(mapping.currency):
            faults.append(Fault(row, "currency", f"{mapping.currency!r} does not match {_CURRENCY.pattern}"))
        if not 0 <= (mapping.band_bps or 0) <= _BAND_MAX:
            faults.append(Fault(row, "band_bps", f"{mapping.band_bps} is not from 0 to {_BAND_MAX}"))
        return faults


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
    feed = convert_row(document["feed"], Feed, "feed", faults)
    assets = [convert_row(entry, Mapping, _asset_row(i, entry), faults) for i, entry in enumerate(entries)]
    if feed is None or faults:
        return None, faults
    named = [msgspec.structs.replace(mapping, exchange=feed.name) for mapping in assets if mapping is not None]
    foreign = [
        Fault(_asset_row(i, entries[i]), "exchange", f"{mapping.exchange!r} is not the feed's name, {feed.name!r}")
        for i, mapping in enumerate(assets)
        if mapping is not None and mapping.exchange not in {"", feed.name}
    ]
    return (None, foreign) if foreign else (Exchange(feed, tuple(named)), [])


def convert_row(value: Any, row_type: type[Row], row: str, faults: list[Fault]) -> Row | None:
    """The row that a JSON or TOML table makes; None, and one more fault told as of `row`, when it makes none."""
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
    if feed.name == _RESERVED:
        yield "name", f"{feed.name!r} is what the exchanges agree on; choose another name"
    if not _URL.fullmatch(feed.ws_url):
        yield "ws_url", f"{feed.ws_url!r} is no ws:// or wss:// address"
    if not _TOKEN_URL.fullmatch(feed.token_url):
        yield "token_url", f"{feed.token_url!r} is no http:// or https:// address"
    for column, (low, high) in _LIMITS.items():
        if not low <= getattr(feed, column) <= high:
            yield column, f"{getattr(feed, column)} is not from {low} to {high}"
    try:
        compile_plan(feed)
    except ColumnError as error:
        yield error.column, error.reason
    yield from _filter_faults(feed)
    yield from _rest_faults(feed)
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


def _rest_faults(feed: Feed) -> Iterable[tuple[str, str]]:
    for column in ("rest_ticker_url", "rest_products_url"):
        url = getattr(feed, column)
        if url and not _REST_URL.fullmatch(url):
            yield column, f"{url!r} is no http:// or https:// address"
    if feed.rest_ticker_url and not feed.rest_price_path:
        yield "rest_price_path", "is empty, but rest_ticker_url is not"
    if unknown := set(re.findall(r"\{[^}]*\}?", feed.rest_ticker_url)) - set(PLACEHOLDERS):
        yield "rest_ticker_url", f"{', '.join(sorted(unknown))} is not known; there are {', '.join(PLACEHOLDERS)}"
    for column in _REST_PATHS:
        if column == "rest_product_symbol_path" and feed.rest_product_symbol_path == NAMED:
            continue
        try:
            parse_market_path(getattr(feed, column), NAMELESS)
        except ValueError as error:
            yield column, str(error)


def _asset_columns(feed: Feed, mapping: Mapping) -> Iterable[tuple[str, str, str]]:
    """What must be unique among an exchange's assets: column, value, and what is wrong with it alone."""
    asset = mapping.asset
    yield "asset", asset, "" if _ASSET.fullmatch(asset) else f"{asset!r} does not match {_ASSET.pattern}"
    for column, symbol in (("symbol", mapping.symbol), ("wire_symbol", fold(feed, mapping.key))):
        fits = 1 <= len(symbol.encode()) <= _SYMBOL_MAX
        yield column, symbol, "" if fits else f"must be 1 to {_SYMBOL_MAX} bytes"
