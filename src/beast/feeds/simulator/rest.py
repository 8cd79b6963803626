"""The exchanges' REST side: a ticker for one market, and the list of what can be traded.

`ROUTES` says which path of which exchange is answered by which function; `{}` stands for one path segment.
"""

from collections.abc import Callable, Mapping
from typing import Final

from beast.feeds.simulator import bitfinex, bitstamp, hitbtc, htx, kucoin, listings, tickers
from beast.feeds.simulator.session import Exchange

Handler = Callable[..., tickers.Answer]

ROUTES: Final[dict[str, dict[str, Handler]]] = {
    "coinbase": {
        "/api/v3/brokerage/market/products": listings.coinbase,
        "/api/v3/brokerage/market/products/{}": tickers.coinbase,
        "/api/v3/brokerage/market/products/{}/ticker": tickers.coinbase_trades,
    },
    "gemini": {
        "/v1/pubticker/{}": tickers.gemini,
        "/v2/ticker/{}": tickers.gemini_v2,
        "/v1/symbols": listings.gemini,
        "/v1/symbols/details/all": listings.gemini_details,
        "/v1/symbols/details/{}": listings.gemini_detail,
    },
    "kraken": {
        "/0/public/Ticker": tickers.kraken,
        "/0/public/AssetPairs": listings.kraken,
    },
    "gateio": {
        "/api/v4/spot/tickers": tickers.gateio,
        "/api/v4/spot/currency_pairs": listings.gateio,
    },
    "cryptocom": {
        "/exchange/v1/public/get-tickers": tickers.cryptocom,
        "/exchange/v1/public/get-instruments": listings.cryptocom,
    },
    "okx": {
        "/api/v5/market/ticker": tickers.okx,
        "/api/v5/market/tickers": tickers.okx_all,
        "/api/v5/public/instruments": listings.okx,
    },
    "binance": {
        "/api/v3/ticker/24hr": tickers.binance,
        "/api/v3/exchangeInfo": listings.binance,
    },
    "kucoin": {
        "/api/v1/market/orderbook/level1": kucoin.level1,
        "/api/v1/market/stats": kucoin.stats,
        "/api/v2/symbols": kucoin.symbols,
    },
    "bitfinex": {
        "/v2/ticker/{}": bitfinex.ticker,
        "/v2/conf/pub:list:pair:exchange": bitfinex.pairs,
    },
    "bitstamp": {
        "/api/v2/ticker/{}/": bitstamp.ticker,
        "/api/v2/trading-pairs-info/": bitstamp.pairs,
    },
    "hitbtc": {
        "/api/3/public/ticker/{}": hitbtc.ticker,
        "/api/3/public/symbol": hitbtc.symbols,
    },
    "htx": {
        "/market/detail/merged": htx.merged,
        "/v1/common/symbols": htx.symbols,
    },
}
POST_ROUTES: Final[dict[str, dict[str, Handler]]] = {"kucoin": {"/api/v1/bullet-public": kucoin.token}}


def answer(name: str, exchange: Exchange, path: str, query: Mapping[str, str], *, post: bool = False) -> tickers.Answer:
    """What the exchange says to a GET, or to a POST; 404 where it knows no such path."""
    segments = path.split("/")
    for pattern, handler in (POST_ROUTES.get(name, {}) if post else ROUTES[name]).items():
        wanted = pattern.split("/")
        if len(wanted) == len(segments) and all(a in ("{}", b) for a, b in zip(wanted, segments, strict=True)):
            filled = [b for a, b in zip(wanted, segments, strict=True) if a == "{}"]
            return handler(exchange, query, *filled)
    return 404, {"message": f"no such path: {path}"}
