"""REST product lists: every market of an exchange, with the mark that tells which of them trade.

The functions have the shape of those in `tickers`.
"""

from collections.abc import Iterator
from typing import Any

from beast.feeds.simulator import tickers
from beast.feeds.simulator.session import Exchange
from beast.feeds.simulator.tickers import Answer, Query
from beast.feeds.simulator.types import Product


def products(exchange: Exchange) -> Iterator[Product]:
    """All that is listed; halted ones last."""
    yield from (instrument.product for instrument in exchange.instruments.values())
    yield from exchange.halted


def coinbase(exchange: Exchange, _query: Query) -> Answer:
    """/api/v3/brokerage/market/products."""
    listed = [tickers.coinbase_product(instrument) for instrument in exchange.instruments.values()]
    listed += [
        {
            "product_id": product.symbol,
            "price": "",
            "volume_24h": "",
            "base_currency_id": product.asset,
            "quote_currency_id": product.quote,
            "product_type": "SPOT",
            "is_disabled": True,
            "trading_disabled": True,
            "status": "delisted",
        }
        for product in exchange.halted
    ]
    return 200, {"products": listed, "num_products": len(listed)}


def gemini(exchange: Exchange, _query: Query) -> Answer:
    """/v1/symbols: bare names, whether they trade or not."""
    return 200, [product.symbol for product in products(exchange)]


def gemini_details(exchange: Exchange, _query: Query) -> Answer:
    """/v1/symbols/details/all."""
    return 200, [_gemini_detail(product) for product in products(exchange)]


def gemini_detail(exchange: Exchange, _query: Query, symbol: str) -> Answer:
    """/v1/symbols/details/{}."""
    found = [product for product in products(exchange) if product.symbol == symbol.lower()]
    return (200, _gemini_detail(found[0])) if found else tickers.gemini_invalid(symbol)


def _gemini_detail(product: Product) -> dict[str, Any]:
    return {
        "symbol": product.symbol.upper(),
        "base_currency": product.asset,
        "quote_currency": product.quote,
        "status": "closed" if product.halted else "open",
        "product_type": "spot",
    }


def kraken(exchange: Exchange, _query: Query) -> Answer:
    """/0/public/AssetPairs: keyed by canonical names; `wsname` is what version 1 of the WebSocket wanted."""
    result = {}
    for product in products(exchange):
        short, canonical = tickers.kraken_names(product)
        base = tickers.KRAKEN_NAMES.get(product.asset, product.asset)
        result[canonical] = {
            "altname": short,
            "wsname": f"{base}/{product.quote}",
            "base": base,
            "quote": product.quote,
            "status": "cancel_only" if product.halted else "online",
        }
    return 200, {"error": [], "result": result}


def gateio(exchange: Exchange, _query: Query) -> Answer:
    """/api/v4/spot/currency_pairs."""
    return 200, [
        {
            "id": product.symbol,
            "base": product.asset,
            "quote": product.quote,
            "trade_status": "untradable" if product.halted else "tradable",
        }
        for product in products(exchange)
    ]


def cryptocom(exchange: Exchange, _query: Query) -> Answer:
    """/exchange/v1/public/get-instruments."""
    data = [
        {
            "symbol": product.symbol,
            "inst_type": "CCY_PAIR",
            "display_name": f"{product.asset}/{product.quote}",
            "base_ccy": product.asset,
            "quote_ccy": product.quote,
            "tradable": not product.halted,
        }
        for product in products(exchange)
    ]
    return 200, {"id": -1, "method": "public/get-instruments", "code": 0, "result": {"data": data}}


def okx(exchange: Exchange, query: Query) -> Answer:
    """/api/v5/public/instruments?instType=SPOT."""
    if query.get("instType") != "SPOT":
        return 200, {"code": "51000", "msg": "Parameter instType error", "data": []}
    data = [
        {
            "instType": "SPOT",
            "instId": product.symbol,
            "baseCcy": product.asset,
            "quoteCcy": product.quote,
            "state": "suspend" if product.halted else "live",
        }
        for product in products(exchange)
    ]
    return 200, {"code": "0", "msg": "", "data": data}


def binance(exchange: Exchange, _query: Query) -> Answer:
    """/api/v3/exchangeInfo."""
    symbols = [
        {
            "symbol": product.symbol,
            "status": "BREAK" if product.halted else "TRADING",
            "baseAsset": product.asset,
            "quoteAsset": product.quote,
            "isSpotTradingAllowed": not product.halted,
        }
        for product in products(exchange)
    ]
    return 200, {"timezone": "UTC", "serverTime": exchange.wall_ns() // 1_000_000, "symbols": symbols}
