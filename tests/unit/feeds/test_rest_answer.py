"""What a row makes of an exchange's REST answers."""

import msgspec
import pytest

from beast.feeds.rows.files import Exchange, validate
from beast.feeds.rows.rest import RefusedError, Ticker, read_products, read_ticker, ticker_url
from beast.feeds.rows.twin import MalformedError
from beast.feeds.types import Condition, Feed, Mapping

FEED = Feed(
    name="x",
    ws_url="wss://x/ws",
    subscribe_template='{"args":"{SYMBOLS}"}',
    trade_filter=(Condition(path="p", op="present"),),
    price_path="p",
    symbol_path="s",
    rest_ticker_url="https://x/{SYMBOL}?pair={BASE}{QUOTE}",
    rest_price_path="result.*.c.0",
    rest_volume_path="result.*.v.{BASE}",
    rest_timestamp_path="at",
    rest_timestamp_format="unix_ms",
    rest_error_filter=(Condition(path="error.0", op="present"),),
    rest_products_path="result",
    rest_product_symbol_path="name",
    rest_product_filter=(Condition(path="status", value="online"), Condition(path="off", value=False)),
)


BTC = Mapping(asset="BTC", symbol="BTC.USD", currency="USD")


def feed(**columns: object) -> Feed:
    return msgspec.structs.replace(FEED, **columns)


def test_the_address_names_the_market_safely() -> None:
    mapping = Mapping(asset="BTC", symbol="BTC/USD&x=1", currency="USD")
    assert ticker_url(FEED.rest_ticker_url, mapping) == "https://x/BTC%2FUSD%26x%3D1?pair=BTCUSD"


def test_the_address_names_the_market_in_lower_case_too() -> None:
    assert ticker_url("https://x/{base}-{quote}/{SYMBOL}", BTC) == "https://x/btc-usd/BTC.USD"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("{SYMBOL}.last", b'{"BTC.USD":{"last":"5"},"ETH.USD":{"last":"6"}}'),
        ("{BASE}_{QUOTE}.last", b'{"ETH_USD":{"last":"6"},"BTC_USD":{"last":"5"}}'),
        ("data.p-{base}{quote}.-1", b'{"data":{"p-btcusd":["4","5"]}}'),
        ("1.{BASE}", b'[{"BTC":"4"},{"BTC":"5"}]'),
    ],
)
def test_paths_name_the_market(path: str, body: bytes) -> None:
    assert read_ticker(feed(rest_price_path=path, rest_error_filter=()), BTC, body).price == b"5"


@pytest.mark.parametrize(
    ("price", "told"),
    [
        (b'"83421.570"', b"83421.570"),
        (b"0.10000000000000000555", b"0.10000000000000000555"),
        (b"1e-08", b"0.00000001"),
        (b"12345678901234567890", b"12345678901234567890"),
    ],
)
def test_the_price_keeps_its_digits(price: bytes, told: bytes) -> None:
    body = b'{"error":[],"result":{"ANY":{"c":[%s,"1"],"v":{"USD":"9","BTC":"1.50"}}},"at":1776003781123}' % price
    assert read_ticker(FEED, BTC, body) == Ticker(told, 1_776_003_781_123_000_000, "1.50")


def test_what_it_does_not_say_is_left_out() -> None:
    assert read_ticker(FEED, BTC, b'{"result":{"ANY":{"c":["1"]}}}') == Ticker(b"1", 0, "")


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":["EQuery:Unknown asset pair"],"result":{"ANY":{"c":["1"]}}}',
        b'{"error":[],"result":{"ANY":{"c":["0.000"]}}}',
        b'{"error":[],"result":{"ANY":{"c":[null]}}}',
        b'{"error":[],"result":{"A":{"c":["1"]},"B":{"c":["2"]}}}',
        b"[]",
        b"null",
    ],
)
def test_an_answer_without_a_price_is_a_refusal(body: bytes) -> None:
    with pytest.raises(RefusedError):
        read_ticker(FEED, BTC, body)


def test_no_json_is_no_answer() -> None:
    with pytest.raises(MalformedError):
        read_ticker(FEED, BTC, b"<html>")


def test_products_that_trade() -> None:
    body = b"""{"error":[],"result":{"1":{"name":"A","status":"online","off":false},"2":{"name":"B","status":"gone",
        "off":false},"3":{"name":"C","status":"online","off":true},"4":{"status":"online","off":false}}}"""
    assert read_products(FEED, body) == ["A"]
    bare = feed(rest_products_path="", rest_product_symbol_path="", rest_product_filter=(), rest_error_filter=())
    assert read_products(bare, b'["btcusd","ethusd"]') == ["btcusd", "ethusd"]
    with pytest.raises(RefusedError):
        read_products(bare, b'"no"')
    with pytest.raises(RefusedError):
        read_products(FEED, b'{"error":["no"],"result":{}}')


@pytest.mark.parametrize(
    ("columns", "column"),
    [
        ({"rest_ticker_url": "ftp://x/y"}, "rest_ticker_url"),
        ({"rest_ticker_url": "https://x/{NAME}"}, "rest_ticker_url"),
        ({"rest_ticker_url": "https://{SYMBOL}/x"}, "rest_ticker_url"),
        ({"rest_products_url": "x"}, "rest_products_url"),
        ({"rest_price_path": ""}, "rest_price_path"),
        ({"rest_price_path": "a..b"}, "rest_price_path"),
        ({"rest_volume_path": "{NAME}"}, "rest_volume_path"),
        ({"rest_timestamp_path": "a.[first].b"}, "rest_timestamp_path"),
        ({"rest_error_filter": (Condition(path="a"),)}, "rest_error_filter"),
        ({"rest_product_filter": (Condition(path="a", op="absent", value=1),)}, "rest_product_filter"),
        ({"rest_per_second": 0.0}, "rest_per_second"),
        ({"rest_timeout_ms": 0}, "rest_timeout_ms"),
    ],
)
def test_columns_that_can_not_be_meant(columns: dict[str, object], column: str) -> None:
    assert validate(Exchange(FEED, ())) == []
    assert [fault.column for fault in validate(Exchange(feed(**columns), ()))] == [column]
