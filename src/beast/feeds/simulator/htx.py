"""A dialect that packs: every frame of HTX is gzip, the symbol stands inside a topic, numbers are Java's."""

import gzip
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from beast.feeds.simulator.requests import add_or_remove
from beast.feeds.simulator.session import Exchange, Session
from beast.feeds.simulator.types import Product, Trade
from beast.feeds.simulator.wording import milliseconds

TOPIC: Final = ("market.", ".trade.detail")
_SMALL: Final = Decimal("0.001")
"""Below it, Java writes an exponent."""

Query = Mapping[str, str]
Answer = tuple[int, Any]


class Request(msgspec.Struct):
    """`sub`, `unsub` or the answer to a heartbeat."""

    sub: str = ""
    unsub: str = ""
    pong: int = 0
    id: str | None = None


def pack(frame: bytes) -> bytes:
    """As it goes over the wire, in a binary frame."""
    return gzip.compress(frame, compresslevel=1, mtime=0)


def answer(session: Session, request: Request | None) -> None:
    """Answers each topic by itself."""
    if request is None or not (request.sub or request.unsub or request.pong):
        _refuse(session, request, "bad-request", "invalid command")
        return
    if request.pong:
        if request.pong in session.unanswered:
            session.unanswered.clear()
        return
    topic = request.sub or request.unsub
    symbol = topic.removeprefix(TOPIC[0]).removesuffix(TOPIC[1])
    if topic != symbol.join(TOPIC) or symbol not in session.exchange.instruments:
        _refuse(session, request, "bad-request", f"invalid topic {topic}")
        return
    add_or_remove(session, [symbol], add=bool(request.sub))
    named = {"subbed": topic} if request.sub else {"unsubbed": topic}
    session.send({"id": request.id, "status": "ok", **named, "ts": _now_ms(session)})


def trades(session: Session, by_symbol: Mapping[str, list[Trade]]) -> Iterator[Any]:
    """One frame a symbol, oldest first; only the topic names it."""
    for symbol, of_symbol in by_symbol.items():
        stamp = milliseconds(of_symbol[-1].time_ns)
        data = [_row(trade) for trade in of_symbol]
        yield {
            "ch": symbol.join(TOPIC),
            "ts": _now_ms(session),
            "tick": {"id": of_symbol[-1].id, "ts": stamp, "data": data},
        }


def beat(session: Session) -> None:
    """Wants an answer with the same number."""
    number = _now_ms(session)
    session.send({"ping": number})
    session.unanswered[number] = session.exchange.now_ns()


def merged(exchange: Exchange, query: Query) -> Answer:
    """/market/detail/merged?symbol=a: errors come with HTTP 200."""
    instrument = exchange.instruments.get(query.get("symbol", ""))
    now_ms = milliseconds(exchange.wall_ns())
    if instrument is None:
        return 200, {"status": "error", "err-code": "invalid-parameter", "err-msg": "invalid symbol", "ts": now_ms}
    last = instrument.last
    tick = {"id": last.id, "close": _number(last.price), "amount": _number(instrument.volume_24h)}
    channel = f"market.{instrument.product.symbol}.detail.merged"
    return 200, {"ch": channel, "status": "ok", "ts": now_ms, "tick": tick}


def symbols(exchange: Exchange, _query: Query) -> Answer:
    """/v1/common/symbols."""
    listed = [_product(instrument.product) for instrument in exchange.instruments.values()]
    return 200, {"status": "ok", "data": [*listed, *map(_product, exchange.halted)]}


def _refuse(session: Session, request: Request | None, code: str, words: str) -> None:
    identity = request.id if request else None
    session.send({"status": "error", "ts": _now_ms(session), "id": identity, "err-code": code, "err-msg": words})


def _row(trade: Trade) -> dict[str, Any]:
    return {
        "id": msgspec.Raw(f"{trade.id}{trade.id:012}".encode()),  # more digits than 64 bits hold
        "ts": milliseconds(trade.time_ns),
        "tradeId": trade.id,
        "amount": _number(trade.size),
        "price": _number(trade.price),
        "direction": "buy" if trade.buy else "sell",
    }


def _number(text: str) -> msgspec.Raw:
    """Its digits as Java's Double.toString has them: 8.6E-6."""
    number = Decimal(text)
    return msgspec.Raw((f"{number:E}" if 0 < number < _SMALL else text).encode())


def _product(product: Product) -> dict[str, Any]:
    return {
        "symbol": product.symbol,
        "base-currency": product.asset.lower(),
        "quote-currency": product.quote.lower(),
        "state": "suspend" if product.halted else "online",
    }


def _now_ms(session: Session) -> int:
    return milliseconds(session.exchange.wall_ns())
