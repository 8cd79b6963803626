from collections.abc import Mapping
from typing import Any

import pytest

from beast.base.clock import ManualClock
from beast.feeds.simulator import catalogue, rest
from beast.feeds.simulator.dialects import DIALECTS
from beast.feeds.simulator.exchange import SimulatedExchange
from beast.feeds.simulator.market import Market

ASSETS = ("BTC", "DOGE", "LTC", "SOL", "FTT")


def build() -> dict[str, SimulatedExchange]:
    clock = ManualClock()
    listed = catalogue.load()
    products = [each for each in listed.products() if each.asset in ASSETS]
    styles = {name: dialect.style for name, dialect in DIALECTS.items()}
    trading = [each for each in products if not each.halted]
    market = Market(listed, trading, styles, seed=1, rate=1, now_ns=clock.wall_ns())
    exchanges = {name: SimulatedExchange(name, dialect, clock) for name, dialect in DIALECTS.items()}
    for name, exchange in exchanges.items():
        exchange.instruments = {symbol: each for (owner, symbol), each in market.instruments.items() if owner == name}
        exchange.halted = [each for each in products if each.halted and each.exchange == name]
    return exchanges


EXCHANGES = build()


def get(name: str, path: str, query: Mapping[str, str] = {}) -> tuple[int, Any]:
    return rest.answer(name, EXCHANGES[name], path, query)


def walk(body: Any, path: str) -> Any:
    for step in path.split("."):
        body = next(iter(body.values())) if step == "*" else body[int(step) if isinstance(body, list) else step]
    return body


@pytest.mark.parametrize(
    ("name", "symbol", "path", "query", "price", "volume"),
    [
        ("coinbase", "BTC-USD", "/api/v3/brokerage/market/products/BTC-USD", {}, "price", "volume_24h"),
        ("coinbase", "BTC-USD", "/api/v3/brokerage/market/products/BTC-USD/ticker", {}, "trades.0.price", ""),
        ("gemini", "btcusd", "/v1/pubticker/btcusd", {}, "last", "volume.BTC"),
        ("gemini", "btcusd", "/v2/ticker/btcusd", {}, "close", ""),
        ("kraken", "BTC/USD", "/0/public/Ticker", {"pair": "XBTUSD"}, "result.*.c.0", "result.*.v.1"),
        ("kraken", "BTC/USD", "/0/public/Ticker", {"pair": "XXBTZUSD"}, "result.XXBTZUSD.c.0", "result.*.v.1"),
        ("kraken", "BTC/USD", "/0/public/Ticker", {"pair": "BTC/USD"}, "result.XXBTZUSD.c.0", "result.*.v.1"),
        ("kraken", "DOGE/USD", "/0/public/Ticker", {"pair": "DOGEUSD"}, "result.XDGUSD.c.0", "result.*.v.1"),
        ("kraken", "SOL/USD", "/0/public/Ticker", {"pair": "SOLUSD"}, "result.SOLUSD.c.0", "result.*.v.1"),
        ("gateio", "BTC_USDT", "/api/v4/spot/tickers", {"currency_pair": "BTC_USDT"}, "0.last", "0.base_volume"),
        (
            "cryptocom",
            "BTC_USD",
            "/exchange/v1/public/get-tickers",
            {"instrument_name": "BTC_USD"},
            "result.data.0.a",
            "result.data.0.v",
        ),
        ("okx", "BTC-USDT", "/api/v5/market/ticker", {"instId": "BTC-USDT"}, "data.0.last", "data.0.vol24h"),
        ("binance", "BTCUSDT", "/api/v3/ticker/24hr", {"symbol": "BTCUSDT"}, "lastPrice", "volume"),
        ("bitstamp", "btcusd", "/api/v2/ticker/btcusd/", {}, "last", "volume"),
        ("hitbtc", "BTCUSDT", "/api/3/public/ticker/BTCUSDT", {}, "last", "volume"),
    ],
)
def test_a_ticker_has_the_last_price_and_the_volume(
    *, name: str, symbol: str, path: str, query: dict[str, str], price: str, volume: str
) -> None:
    status, body = get(name, path, query)
    instrument = EXCHANGES[name].instruments[symbol]
    assert status == 200
    assert walk(body, price) == instrument.last.price
    if volume:
        assert walk(body, volume) == instrument.volume_24h
        assert float(instrument.volume_24h) > 0


@pytest.mark.parametrize(
    ("name", "path", "query", "status", "error"),
    [
        ("coinbase", "/api/v3/brokerage/market/products/NOPE-USD", {}, 404, {"error": "NOT_FOUND"}),
        ("coinbase", "/api/v3/brokerage/market/products/FTT-USD", {}, 404, {"error": "NOT_FOUND"}),
        ("gemini", "/v1/pubticker/nopeusd", {}, 400, {"result": "error"}),
        ("kraken", "/0/public/Ticker", {"pair": "XBTUSD,NOPEUSD"}, 200, {"error": ["EQuery:Unknown asset pair"]}),
        ("gateio", "/api/v4/spot/tickers", {"currency_pair": "NOPE"}, 400, {"label": "INVALID_CURRENCY_PAIR"}),
        ("cryptocom", "/exchange/v1/public/get-tickers", {"instrument_name": "BTCUSDT"}, 200, {"code": 40004}),
        ("okx", "/api/v5/market/ticker", {"instId": "NOPE"}, 200, {"code": "51001", "data": []}),
        ("okx", "/api/v5/market/ticker", {}, 200, {"code": "51001", "data": []}),
        ("binance", "/api/v3/ticker/24hr", {"symbol": "NOPE"}, 400, {"code": -1121}),
        ("binance", "/api/v3/nope", {}, 404, {}),
        ("bitstamp", "/api/v2/ticker/nopeusd/", {}, 404, {"status": "error"}),
        ("hitbtc", "/api/3/public/ticker/NOPEUSDT", {}, 400, {}),
        ("htx", "/market/detail/merged", {"symbol": "nopeusdt"}, 200, {"status": "error"}),
        ("gemini", "/v1/pubticker/btcusd/more", {}, 404, {}),
    ],
)
def test_errors_are_those_of_the_exchange(
    name: str, path: str, query: dict[str, str], status: int, error: dict[str, Any]
) -> None:
    found, body = get(name, path, query)
    assert found == status
    assert error.items() <= body.items()
    assert "result" not in body or body["result"] == "error"


@pytest.mark.parametrize(
    ("name", "path", "query", "rows", "symbol", "mark", "trades"),
    [
        ("coinbase", "/api/v3/brokerage/market/products", {}, "products", "product_id", "status", "online"),
        ("gemini", "/v1/symbols/details/all", {}, "", "symbol", "status", "open"),
        ("gateio", "/api/v4/spot/currency_pairs", {}, "", "id", "trade_status", "tradable"),
        ("cryptocom", "/exchange/v1/public/get-instruments", {}, "result.data", "symbol", "tradable", True),
        ("okx", "/api/v5/public/instruments", {"instType": "SPOT"}, "data", "instId", "state", "live"),
        ("binance", "/api/v3/exchangeInfo", {}, "symbols", "symbol", "status", "TRADING"),
        ("bitstamp", "/api/v2/trading-pairs-info/", {}, "", "url_symbol", "trading", "Enabled"),
        ("htx", "/v1/common/symbols", {}, "data", "symbol", "state", "online"),
    ],
)
def test_product_lists_mark_what_trades(
    *, name: str, path: str, query: dict[str, str], rows: str, symbol: str, mark: str, trades: object
) -> None:
    status, body = get(name, path, query)
    listed = walk(body, rows) if rows else body
    exchange = EXCHANGES[name]
    fold = str.upper if name == "gemini" else str
    assert status == 200
    assert {row[symbol] for row in listed if row[mark] == trades} == {fold(each) for each in exchange.instruments}
    assert {row[symbol] for row in listed if row[mark] != trades} == {fold(each.symbol) for each in exchange.halted}


def test_kraken_lists_pairs_by_canonical_names_and_old_ones() -> None:
    _, body = get("kraken", "/0/public/AssetPairs")
    pairs = body["result"]
    assert pairs["XXBTZUSD"]["wsname"] == "XBT/USD"
    assert pairs["XDGUSD"]["wsname"] == "XDG/USD"
    assert pairs["XLTCZUSD"]["altname"] == "LTCUSD"
    assert {name for name, pair in pairs.items() if pair["status"] != "online"} == {"FTTUSD"}


def test_gemini_lists_bare_lower_case_names() -> None:
    assert "btcusd" in get("gemini", "/v1/symbols")[1]
    assert get("gemini", "/v1/symbols/details/btcusd")[1]["symbol"] == "BTCUSD"
    assert get("gemini", "/v1/symbols/details/nope")[0] == 400


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gateio", "/api/v4/spot/tickers"),
        ("cryptocom", "/exchange/v1/public/get-tickers"),
        ("okx", "/api/v5/market/tickers"),
        ("binance", "/api/v3/ticker/24hr"),
        ("kraken", "/0/public/Ticker"),
    ],
)
def test_a_ticker_of_nothing_in_particular_is_that_of_all(name: str, path: str) -> None:
    _, body = get(name, path)
    while isinstance(body, dict) and ("result" in body or "data" in body):
        body = body.get("result") or body["data"]
    assert len(body) == len(EXCHANGES[name].instruments)
