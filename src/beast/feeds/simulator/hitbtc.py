"""A dialect of names: HitBTC tells trades in an object whose members are named like the symbols."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from beast.feeds.simulator.requests import Id, add_or_remove
from beast.feeds.simulator.session import Exchange, Session
from beast.feeds.simulator.types import Product, Trade
from beast.feeds.simulator.wording import milliseconds, rfc3339

MOST_PAST: Final = 1000

Query = Mapping[str, str]
Answer = tuple[int, Any]


class Params(msgspec.Struct):
    """Of a subscription."""

    symbols: list[str] = []
    limit: int = 0


class Request(msgspec.Struct):
    """`subscribe` or `unsubscribe`."""

    method: str
    ch: str = ""
    id: Id = None
    params: Params = msgspec.field(default_factory=Params)


def answer(session: Session, request: Request | None) -> None:
    """One answer a request, which one unknown symbol refuses as a whole; then as many past trades as asked for."""
    if request is None or request.method not in ("subscribe", "unsubscribe") or request.ch != "trades":
        _refuse(session, request, 2001, "Validation error")
        return
    symbols, listed = request.params.symbols, session.exchange.instruments
    if unknown := [symbol for symbol in symbols if symbol not in listed]:
        _refuse(session, request, 2001, f"No such symbol: {unknown[0]}")
        return
    subscribe = request.method == "subscribe"
    add_or_remove(session, symbols, add=subscribe)
    session.send({"result": {"ch": "trades", "subscriptions": list(session.symbols)}, "id": request.id})
    past = {symbol: list(listed[symbol].history)[-request.params.limit :] for symbol in symbols}
    if subscribe and 0 < request.params.limit <= MOST_PAST:
        session.send(_frame("snapshot", past))


def trades(_session: Session, by_symbol: Mapping[str, list[Trade]]) -> Iterator[Any]:
    """What trades in one moment shares a frame."""
    yield _frame("update", by_symbol)


def ticker(exchange: Exchange, _query: Query, symbol: str) -> Answer:
    """/api/3/public/ticker/{}."""
    instrument = exchange.instruments.get(symbol)
    if instrument is None:
        return 400, {"error": {"code": 2001, "message": "No such symbol", "description": f"Symbol {symbol}"}}
    last = instrument.last
    stamp = rfc3339(last.time_ns, 3)
    return 200, {"last": last.price, "volume": instrument.volume_24h, "timestamp": stamp}


def symbols(exchange: Exchange, _query: Query) -> Answer:
    """/api/3/public/symbol: an object by their names."""
    listed = [*(instrument.product for instrument in exchange.instruments.values()), *exchange.halted]
    return 200, {product.symbol: _symbol(product) for product in listed}


def _refuse(session: Session, request: Request | None, code: int, words: str) -> None:
    session.send({"error": {"code": code, "message": words}, "id": request.id if request else None})


def _frame(kind: str, by_symbol: Mapping[str, list[Trade]]) -> dict[str, Any]:
    return {"ch": "trades", kind: {symbol: [_row(trade) for trade in told] for symbol, told in by_symbol.items()}}


def _row(trade: Trade) -> dict[str, Any]:
    stamp = milliseconds(trade.time_ns)
    return {"t": stamp, "i": trade.id, "p": trade.price, "q": trade.size, "s": "buy" if trade.buy else "sell"}


def _symbol(product: Product) -> dict[str, Any]:
    return {
        "type": "spot",
        "base_currency": product.asset,
        "quote_currency": product.quote,
        "status": "suspended" if product.halted else "working",
    }
