"""An exchange's REST interface, as its row describes it: what to ask, and what an answer says. Pure functions."""

from typing import Final, NamedTuple
from urllib.parse import quote

from beast.feeds.rows.paths import MARKET_NAMES, NAMED, parse_market_path
from beast.feeds.rows.twin import Object, decode, holds, look_up, price_text, time_ns
from beast.feeds.types import Feed, Mapping

PLACEHOLDERS: Final = tuple(f"{{{name}}}" for name in MARKET_NAMES)
NAMELESS: Final = dict.fromkeys(MARKET_NAMES, "")


class RefusedError(Exception):
    """The exchange is well, but says nothing about this market."""


class Ticker(NamedTuple):
    """What an answer says of one market."""

    price: bytes
    time_ns: int
    """0: it doesn't say."""
    volume_24h: str
    """Empty: it doesn't say."""


def ticker_url(template: str, mapping: Mapping) -> str:
    """The address of one market's ticker, from rest_ticker_url."""
    for name, value in names_of(mapping).items():
        template = template.replace(f"{{{name}}}", quote(value, safe=""))
    return template


def names_of(mapping: Mapping) -> dict[str, str]:
    """What a REST address and the paths into its answer may name of a market."""
    named = mapping.asset, mapping.currency, mapping.symbol, mapping.asset.lower(), mapping.currency.lower()
    return dict(zip(MARKET_NAMES, named, strict=True))


def read_ticker(feed: Feed, mapping: Mapping, body: bytes) -> Ticker:
    """What the answer to a ticker request says.

    Raises:
        RefusedError: An error with HTTP 200, or no price greater than zero.
        MalformedError: It is no JSON.
    """
    root = decode(body)
    if feed.rest_error_filter and all(holds(condition, root) for condition in feed.rest_error_filter):
        raise RefusedError("it answers with an error")
    names = names_of(mapping)
    price = price_text(look_up(root, parse_market_path(feed.rest_price_path, names)))
    if price is None:
        raise RefusedError("its answer holds no price")
    at, volume = (
        look_up(root, parse_market_path(path, names)) if path else None
        for path in (feed.rest_timestamp_path, feed.rest_volume_path)
    )
    return Ticker(price, time_ns(at, feed.rest_timestamp_format), (price_text(volume) or b"").decode())


def read_products(feed: Feed, body: bytes) -> list[str]:
    """The symbols of all markets that trade, from the answer to rest_products_url.

    Takes about 0.2 s for a megabyte: not for the event loop.

    Raises:
        RefusedError: An error with HTTP 200, or no list.
        MalformedError: It is no JSON.
    """
    root = decode(body)
    if feed.rest_error_filter and all(holds(condition, root) for condition in feed.rest_error_filter):
        raise RefusedError("it answers with an error")
    listed = look_up(root, parse_market_path(feed.rest_products_path, NAMELESS))
    if not isinstance(listed, list | Object):
        raise RefusedError("its answer holds no list")
    products = [("", product) for product in listed] if isinstance(listed, list) else listed.pairs
    named = feed.rest_product_symbol_path == NAMED
    path = () if named else parse_market_path(feed.rest_product_symbol_path, NAMELESS)
    symbols = [
        name if named else look_up(product, path)
        for name, product in products
        if all(holds(condition, product) for condition in feed.rest_product_filter)
    ]
    return [str(symbol) for symbol in symbols if isinstance(symbol, str) and symbol]
