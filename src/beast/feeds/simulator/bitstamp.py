"""A dialect of events: Bitstamp names a market by its channel alone, in subscriptions, trades and answers."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from beast.feeds.simulator.market import SECOND_NS
from beast.feeds.simulator.requests import add_or_remove
from beast.feeds.simulator.session import Exchange, Session
from beast.feeds.simulator.types import Product, Trade

CHANNEL: Final = "live_trades_"

Query = Mapping[str, str]
Answer = tuple[int, Any]


class Data(msgspec.Struct):
    """Of a request."""

    channel: str = ""


class Request(msgspec.Struct):
    """`bts:subscribe`, `bts:unsubscribe` or `bts:heartbeat`."""

    event: str
    data: Data = msgspec.field(default_factory=Data)


def answer(session: Session, request: Request | None) -> None:
    """One answer a request, in their order; a refusal names nobody."""
    event = request.event if request else ""
    channel = request.data.channel if request else ""
    symbol = channel.removeprefix(CHANNEL)
    if event == "bts:heartbeat":
        session.send({"event": event, "channel": "", "data": {"status": "success"}})
    elif event not in ("bts:subscribe", "bts:unsubscribe"):
        _refuse(session, "Incorrect JSON format.")
    elif symbol == channel or symbol not in session.exchange.instruments:
        _refuse(session, "Bad subscription string.")
    else:
        add_or_remove(session, [symbol], add=event == "bts:subscribe")
        session.send({"event": f"{event.replace('scribe', 'scription')}_succeeded", "channel": channel, "data": {}})


def trade(_session: Session, trade: Trade) -> dict[str, Any]:
    """Numbers once more as text; the exact time counts µs, as text."""
    return {
        "data": {
            "id": trade.id,
            "id_str": str(trade.id),
            "timestamp": str(trade.time_ns // SECOND_NS),
            "microtimestamp": str(trade.time_ns // 1_000),
            "amount": msgspec.Raw(trade.size.encode()),
            "amount_str": trade.size,
            "price": msgspec.Raw(trade.price.encode()),
            "price_str": trade.price,
            "type": 0 if trade.buy else 1,
            "buy_order_id": trade.id * 2,
            "sell_order_id": trade.id * 2 + 1,
        },
        "channel": f"{CHANNEL}{trade.symbol}",
        "event": "trade",
    }


def ticker(exchange: Exchange, _query: Query, symbol: str) -> Answer:
    """/api/v2/ticker/{}/: 404 for an unknown pair."""
    instrument = exchange.instruments.get(symbol)
    if instrument is None:
        return 404, {"status": "error", "reason": "Invalid pair", "code": "API0006"}
    last = instrument.last
    stamp = str(last.time_ns // SECOND_NS)
    return 200, {"timestamp": stamp, "last": last.price, "volume": instrument.volume_24h, "side": "0"}


def pairs(exchange: Exchange, _query: Query) -> Answer:
    """/api/v2/trading-pairs-info/."""
    listed = [_pair(instrument.product) for instrument in exchange.instruments.values()]
    return 200, [*listed, *map(_pair, exchange.halted)]


def _refuse(session: Session, words: str) -> None:
    session.send({"event": "bts:error", "channel": "", "data": {"code": None, "message": words}})


def _pair(product: Product) -> dict[str, Any]:
    return {
        "name": f"{product.asset}/{product.quote}",
        "url_symbol": product.symbol,
        "base_decimals": 8,
        "trading": "Disabled" if product.halted else "Enabled",
    }
