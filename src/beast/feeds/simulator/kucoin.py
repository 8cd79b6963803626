"""A dialect that wants a token first: KuCoin's, which is fetched by POST together with the address to connect to."""

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from beast.feeds.simulator.market import Instrument
from beast.feeds.simulator.requests import Id, add_or_remove
from beast.feeds.simulator.session import Exchange, Session
from beast.feeds.simulator.types import Product, Trade
from beast.feeds.simulator.wording import milliseconds

MATCH = "/market/match:"
PING_INTERVAL_MS = 18_000
MOST_TOPICS = 100
"""Symbols that one message may name."""

Query = Mapping[str, str]
Answer = tuple[int, Any]


class Request(msgspec.Struct):
    """`subscribe`, `unsubscribe` or `ping`."""

    type: str
    id: Id = None
    topic: str = ""
    response: bool = False


def token(exchange: Exchange, _query: Query) -> Answer:
    """POST /api/v1/bullet-public: good for one connection."""
    made = secrets.token_urlsafe(48) + "=="
    exchange.tokens.add(made)
    server = {
        "endpoint": f"{exchange.origin}/endpoint",
        "encrypt": True,
        "protocol": "websocket",
        "pingInterval": PING_INTERVAL_MS,
        "pingTimeout": 10_000,
    }
    return 200, {"code": "200000", "data": {"token": made, "instanceServers": [server]}}


def greet(session: Session) -> None:
    """Welcomes a connection whose token is known, and sends all others away."""
    query = parse_qs(urlsplit(session.target).query)
    given, identity = query.get("token", [""])[0], query.get("connectId", [""])[0]
    if given in session.exchange.tokens:
        session.exchange.tokens.remove(given)
        session.send({"id": identity, "type": "welcome"})
    else:
        session.send({"id": identity, "type": "error", "code": 401, "data": "token is invalid"})
        session.close(1000, "token is invalid")


def answer(session: Session, request: Request | None) -> None:
    """One acknowledgement a message, and only when it was asked for; one unknown symbol refuses it as a whole."""
    if request is None or request.type not in ("subscribe", "unsubscribe", "ping"):
        session.send({"id": request.id if request else None, "type": "error", "code": 400, "data": "type is invalid"})
        return
    identity = str(request.id)
    if request.type == "ping":
        session.send({"id": identity, "type": "pong"})
        return
    symbols = request.topic.removeprefix(MATCH).split(",")
    unknown = [symbol for symbol in symbols if symbol not in session.exchange.instruments]
    if unknown or not request.topic.startswith(MATCH) or len(symbols) > MOST_TOPICS:
        session.send({"id": identity, "type": "error", "code": 404, "data": f"topic {request.topic} is not found"})
        return
    add_or_remove(session, symbols, add=request.type == "subscribe")
    if request.response:
        session.send({"id": identity, "type": "ack"})


def trade(_session: Session, trade: Trade) -> dict[str, Any]:
    """The symbol stands in the topic and in the data; the time counts ns, as text."""
    return {
        "topic": f"{MATCH}{trade.symbol}",
        "type": "message",
        "subject": "trade.l3match",
        "data": {
            "sequence": str(trade.id),
            "type": "match",
            "symbol": trade.symbol,
            "side": "buy" if trade.buy else "sell",
            "price": trade.price,
            "size": trade.size,
            "tradeId": str(trade.id),
            "takerOrderId": f"{trade.id:024x}",
            "makerOrderId": f"{trade.id + 1:024x}",
            "time": str(trade.time_ns),
        },
    }


def level1(exchange: Exchange, query: Query) -> Answer:
    """/api/v1/market/orderbook/level1?symbol=A: no data, and no error, for an unknown symbol."""
    instrument = exchange.instruments.get(query.get("symbol", ""))
    if instrument is None:
        return 200, {"code": "200000", "data": None}
    last = instrument.last
    data = {"time": milliseconds(last.time_ns), "sequence": str(last.id), "price": last.price, "size": last.size}
    return 200, {"code": "200000", "data": data}


def stats(exchange: Exchange, query: Query) -> Answer:
    """/api/v1/market/stats?symbol=A: errors come with HTTP 200."""
    instrument = exchange.instruments.get(query.get("symbol", ""))
    if instrument is None:
        return 200, {"code": "400100", "msg": "symbol not exists"}
    return 200, {"code": "200000", "data": _stats(instrument)}


def symbols(exchange: Exchange, _query: Query) -> Answer:
    """/api/v2/symbols."""
    listed = [_product(instrument.product) for instrument in exchange.instruments.values()]
    return 200, {"code": "200000", "data": [*listed, *map(_product, exchange.halted)]}


def _stats(instrument: Instrument) -> dict[str, Any]:
    last = instrument.last
    return {
        "time": milliseconds(last.time_ns),
        "symbol": instrument.product.symbol,
        "last": last.price,
        "vol": instrument.volume_24h,
    }


def _product(product: Product) -> dict[str, Any]:
    return {
        "symbol": product.symbol,
        "name": product.symbol,
        "baseCurrency": product.asset,
        "quoteCurrency": product.quote,
        "enableTrading": not product.halted,
    }
