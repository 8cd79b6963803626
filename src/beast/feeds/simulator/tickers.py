"""REST tickers: the last price and the 24 h volume of one market, as each exchange words them.

Every function gets the exchange, the query and what stood for `{}` in its path, and returns status and body.
"""

from collections.abc import Mapping
from typing import Any

from beast.feeds.simulator import frames
from beast.feeds.simulator.market import Instrument
from beast.feeds.simulator.session import Exchange
from beast.feeds.simulator.types import Product
from beast.feeds.simulator.wording import milliseconds

Query = Mapping[str, str]
Answer = tuple[int, Any]

KRAKEN_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
"""What REST calls assets that version 2 of the WebSocket calls by their usual names."""
KRAKEN_LONG = frozenset(("XBT", "ETH", "LTC", "XRP", "XLM", "XMR", "ZEC", "ETC", "MLN", "REP"))
"""Assets whose canonical name has an X in front, and their fiat quote a Z."""


def around(instrument: Instrument) -> tuple[str, str]:
    """A bid and an ask next to the last price."""
    price = float(instrument.last.price)
    return instrument.text(price * 0.9999), instrument.text(price * 1.0001)


def range_24h(instrument: Instrument) -> tuple[str, str]:
    """A low and a high around the last price."""
    price = float(instrument.last.price)
    return instrument.text(price * 0.98), instrument.text(price * 1.02)


def coinbase(exchange: Exchange, _query: Query, product: str) -> Answer:
    """/api/v3/brokerage/market/products/{}."""
    instrument = exchange.instruments.get(product)
    if instrument is None:
        return coinbase_not_found()
    return 200, coinbase_product(instrument)


def coinbase_product(instrument: Instrument) -> dict[str, Any]:
    """A product that trades."""
    return {
        "product_id": instrument.product.symbol,
        "price": instrument.last.price,
        "price_percentage_change_24h": "1.02",
        "volume_24h": instrument.volume_24h,
        "base_currency_id": instrument.product.asset,
        "quote_currency_id": instrument.product.quote,
        "product_type": "SPOT",
        "is_disabled": False,
        "trading_disabled": False,
        "status": "online",
    }


def coinbase_not_found() -> Answer:
    """The error of an unknown product."""
    text = "valid product_id is required"
    return 404, {"error": "NOT_FOUND", "error_details": text, "message": text}


def coinbase_trades(exchange: Exchange, query: Query, product: str) -> Answer:
    """/api/v3/brokerage/market/products/{}/ticker: past trades, newest first."""
    instrument = exchange.instruments.get(product)
    if instrument is None:
        return coinbase_not_found()
    limit = int(query.get("limit", "")) if query.get("limit", "").isdigit() else len(instrument.history)
    trades = frames.coinbase_event("", list(instrument.history))["trades"][:limit]
    bid, ask = around(instrument)
    return 200, {"trades": trades, "best_bid": bid, "best_ask": ask}


def gemini(exchange: Exchange, _query: Query, symbol: str) -> Answer:
    """/v1/pubticker/{}: the volume is keyed by the base asset."""
    instrument = exchange.instruments.get(symbol.lower())
    if instrument is None:
        return gemini_invalid(symbol)
    product = instrument.product
    bid, ask = around(instrument)
    turnover = f"{float(instrument.volume_24h) * float(instrument.last.price):.8f}"
    volume = {
        product.asset: instrument.volume_24h,
        product.quote: turnover,
        "timestamp": milliseconds(exchange.wall_ns()),
    }
    return 200, {"bid": bid, "ask": ask, "last": instrument.last.price, "volume": volume}


def gemini_invalid(symbol: str) -> Answer:
    """The error of an unknown symbol."""
    message = f"Supplied value '{symbol}' is not a valid symbol"
    return 400, {"result": "error", "reason": "Bad Request", "message": message}


def gemini_v2(exchange: Exchange, _query: Query, symbol: str) -> Answer:
    """/v2/ticker/{}: no volume."""
    instrument = exchange.instruments.get(symbol.lower())
    if instrument is None:
        return gemini_invalid(symbol)
    (bid, ask), (low, high) = around(instrument), range_24h(instrument)
    last = instrument.last.price
    return 200, {"symbol": symbol.upper(), "open": low, "high": high, "low": low, "close": last, "bid": bid, "ask": ask}


def kraken_names(product: Product) -> tuple[str, str]:
    """The short name of a pair (XBTUSD) and its canonical one (XXBTZUSD)."""
    base = KRAKEN_NAMES.get(product.asset, product.asset)
    quote = KRAKEN_NAMES.get(product.quote, product.quote)
    long = base in KRAKEN_LONG and quote in ("USD", "EUR", "GBP", "XBT", "ETH")
    canonical = f"X{base}{'X' if quote in KRAKEN_LONG else 'Z'}{quote}" if long else base + quote
    return base + quote, canonical


def kraken(exchange: Exchange, query: Query) -> Answer:
    """/0/public/Ticker?pair=A,B: keyed by canonical names; one unknown pair fails all, with HTTP 200."""
    by_name: dict[str, Instrument] = {}
    for each in exchange.instruments.values():
        by_name |= dict.fromkeys((each.product.asset + each.product.quote, *kraken_names(each.product)), each)
    asked = query.get("pair", "").replace("/", "").upper()
    pairs = asked.split(",") if asked else [kraken_names(each.product)[1] for each in exchange.instruments.values()]
    if any(pair not in by_name for pair in pairs):
        return 200, {"error": ["EQuery:Unknown asset pair"]}
    found = [by_name[pair] for pair in pairs]
    return 200, {"error": [], "result": {kraken_names(each.product)[1]: kraken_ticker(each) for each in found}}


def kraken_ticker(instrument: Instrument) -> dict[str, Any]:
    """One pair; two values stand for today and for 24 h."""
    (bid, ask), (low, high) = around(instrument), range_24h(instrument)
    last, volume = instrument.last, instrument.volume_24h
    return {
        "a": [ask, "1", "1.000"],
        "b": [bid, "1", "1.000"],
        "c": [last.price, last.size],
        "v": [f"{float(volume) / 2:.8f}", volume],
        "p": [last.price, last.price],
        "t": [1000, 2000],
        "l": [low, low],
        "h": [high, high],
        "o": last.price,
    }


def gateio(exchange: Exchange, query: Query) -> Answer:
    """/api/v4/spot/tickers?currency_pair=A: a list, of one or of all."""
    asked = query.get("currency_pair")
    if asked is not None and asked not in exchange.instruments:
        return 400, {"label": "INVALID_CURRENCY_PAIR", "message": f"Invalid currency pair {asked}"}
    found = [exchange.instruments[asked]] if asked is not None else exchange.instruments.values()
    return 200, [gateio_ticker(instrument) for instrument in found]


def gateio_ticker(instrument: Instrument) -> dict[str, str]:
    """One pair."""
    (bid, ask), (low, high) = around(instrument), range_24h(instrument)
    price = instrument.last.price
    return {
        "currency_pair": instrument.product.symbol,
        "last": price,
        "lowest_ask": ask,
        "highest_bid": bid,
        "change_percentage": "1.02",
        "base_volume": instrument.volume_24h,
        "quote_volume": f"{float(instrument.volume_24h) * float(price):.8f}",
        "high_24h": high,
        "low_24h": low,
    }


def cryptocom(exchange: Exchange, query: Query) -> Answer:
    """/exchange/v1/public/get-tickers?instrument_name=A: errors come with HTTP 200."""
    head = {"id": -1, "method": "public/get-tickers"}
    asked = query.get("instrument_name")
    if asked is not None and asked not in exchange.instruments:
        return 200, {**head, "code": 40004, "message": "Invalid instrument_name"}
    found = [exchange.instruments[asked]] if asked is not None else exchange.instruments.values()
    return 200, {**head, "code": 0, "result": {"data": [cryptocom_ticker(instrument) for instrument in found]}}


def cryptocom_ticker(instrument: Instrument) -> dict[str, Any]:
    """One instrument."""
    (bid, ask), (low, high) = around(instrument), range_24h(instrument)
    last = instrument.last
    return {
        "i": instrument.product.symbol,
        "h": high,
        "l": low,
        "a": last.price,
        "v": instrument.volume_24h,
        "vv": f"{float(instrument.volume_24h) * float(last.price):.2f}",
        "c": "0.0102",
        "b": bid,
        "k": ask,
        "oi": "0",
        "t": milliseconds(last.time_ns),
    }


def okx(exchange: Exchange, query: Query) -> Answer:
    """/api/v5/market/ticker?instId=A: errors come with HTTP 200."""
    instrument = exchange.instruments.get(query.get("instId", ""))
    if instrument is None:
        return 200, {"code": "51001", "msg": "Instrument ID doesn't exist.", "data": []}
    return 200, {"code": "0", "msg": "", "data": [okx_ticker(instrument)]}


def okx_all(exchange: Exchange, _query: Query) -> Answer:
    """/api/v5/market/tickers?instType=SPOT."""
    return 200, {"code": "0", "msg": "", "data": [okx_ticker(each) for each in exchange.instruments.values()]}


def okx_ticker(instrument: Instrument) -> dict[str, str]:
    """One instrument; all values are strings."""
    (bid, ask), (low, high) = around(instrument), range_24h(instrument)
    last = instrument.last
    return {
        "instType": "SPOT",
        "instId": instrument.product.symbol,
        "last": last.price,
        "lastSz": last.size,
        "askPx": ask,
        "bidPx": bid,
        "open24h": low,
        "high24h": high,
        "low24h": low,
        "volCcy24h": f"{float(instrument.volume_24h) * float(last.price):.4f}",
        "vol24h": instrument.volume_24h,
        "ts": str(milliseconds(last.time_ns)),
    }


def binance(exchange: Exchange, query: Query) -> Answer:
    """/api/v3/ticker/24hr?symbol=A: one object, or a list of all."""
    asked = query.get("symbol")
    if asked is None:
        return 200, [binance_ticker(instrument) for instrument in exchange.instruments.values()]
    if asked not in exchange.instruments:
        return 400, {"code": -1121, "msg": "Invalid symbol."}
    return 200, binance_ticker(exchange.instruments[asked])


def binance_ticker(instrument: Instrument) -> dict[str, Any]:
    """One symbol."""
    (bid, ask), (low, high) = around(instrument), range_24h(instrument)
    last = instrument.last
    return {
        "symbol": instrument.product.symbol,
        "lastPrice": last.price,
        "lastQty": last.size,
        "bidPrice": bid,
        "askPrice": ask,
        "openPrice": low,
        "highPrice": high,
        "lowPrice": low,
        "volume": instrument.volume_24h,
        "quoteVolume": f"{float(instrument.volume_24h) * float(last.price):.8f}",
        "closeTime": milliseconds(last.time_ns),
        "lastId": last.id,
    }
