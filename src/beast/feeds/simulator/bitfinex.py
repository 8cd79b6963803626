"""A dialect with state: the trades of Bitfinex carry a number, which the acknowledgement gave, for one connection."""

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from beast.feeds.simulator.session import Exchange, Session
from beast.feeds.simulator.types import Trade
from beast.feeds.simulator.wording import milliseconds

MOST_CHANNELS = 30
SNAPSHOT = 30
"""Past trades told when a channel is opened."""
LARGEST_CHANNEL = 500_000

Query = Mapping[str, str]
Answer = tuple[int, Any]


class Request(msgspec.Struct, rename={"channel_id": "chanId"}):
    """`subscribe`, `unsubscribe` or `ping`."""

    event: str
    channel: str = ""
    symbol: str = ""
    channel_id: int = 0
    cid: int | None = None


def greet(session: Session) -> None:
    """The first frame of a connection."""
    session.send({"event": "info", "version": 2, "serverId": session.id, "platform": {"status": 1}})


def answer(session: Session, request: Request | None) -> None:
    """Answers each channel by itself."""
    if request is None:
        session.send({"event": "error", "msg": "invalid message", "code": 10000})
    elif request.event == "ping":
        cid = {} if request.cid is None else {"cid": request.cid}
        session.send({"event": "pong", "ts": milliseconds(session.exchange.wall_ns()), **cid})
    elif request.event == "subscribe":
        _subscribe(session, request)
    elif request.event == "unsubscribe":
        _unsubscribe(session, request.channel_id)
    else:
        session.send({"event": "error", "msg": "unknown event", "code": 10000})


def trades(session: Session, by_symbol: Mapping[str, list[Trade]]) -> Iterator[list[Any]]:
    """Each trade twice: as it is executed, and once more when it is booked."""
    for symbol, of_symbol in by_symbol.items():
        for trade in of_symbol:
            for kind in ("te", "tu"):
                yield [session.numbers[symbol], kind, _row(trade)]


def beat(session: Session) -> None:
    """One heartbeat a channel."""
    for number in session.numbers.values():
        session.send([number, "hb"])


def ticker(exchange: Exchange, _query: Query, symbol: str) -> Answer:
    """/v2/ticker/{}: a root array; the last price is the seventh, the 24 h volume the eighth."""
    instrument = exchange.instruments.get(symbol)
    if instrument is None:
        return 500, ["error", 10020, "symbol: invalid"]
    last = _number(instrument.last.price)
    return 200, [last, 1.5, last, 2.5, 0, 0, last, _number(instrument.volume_24h), last, last]


def pairs(exchange: Exchange, _query: Query) -> Answer:
    """/v2/conf/pub:list:pair:exchange: names without the t, of what trades."""
    return 200, [[symbol.removeprefix("t") for symbol in exchange.instruments]]


def _subscribe(session: Session, request: Request) -> None:
    symbol = request.symbol
    refusal = {"event": "error", "channel": request.channel, "symbol": symbol}
    if request.channel != "trades" or symbol not in session.exchange.instruments:
        session.send({**refusal, "msg": "symbol: invalid", "code": 10300})
    elif symbol in session.symbols:
        session.send({**refusal, "msg": "subscribe: dup", "code": 10301})
    elif len(session.symbols) >= MOST_CHANNELS:
        session.send({**refusal, "msg": "subscribe: limit", "code": 10305})
    else:
        number = session.numbers[symbol] = _free_number(session)
        session.exchange.note(symbol, subscribed=True)
        session.symbols[symbol] = None
        named = {"chanId": number, "symbol": symbol, "pair": symbol.removeprefix("t")}
        session.send({"event": "subscribed", "channel": "trades", **named})
        past = list(session.exchange.instruments[symbol].history)[-SNAPSHOT:]
        session.send([number, [_row(trade) for trade in reversed(past)]])


def _unsubscribe(session: Session, number: int) -> None:
    symbol = next((symbol for symbol, each in session.numbers.items() if each == number), None)
    if symbol is None:
        session.send({"event": "error", "msg": "unsubscribe: invalid", "code": 10400, "chanId": number})
        return
    del session.numbers[symbol], session.symbols[symbol]
    session.exchange.note(symbol, subscribed=False)
    session.send({"event": "unsubscribed", "status": "OK", "chanId": number})


def _free_number(session: Session) -> int:
    while (number := secrets.randbelow(LARGEST_CHANNEL) + 1) in session.numbers.values():
        pass
    return number


def _row(trade: Trade) -> list[Any]:
    """Id, time in ms, amount (sold when negative) and price, all of them numbers."""
    amount = trade.size if trade.buy else f"-{trade.size}"
    return [trade.id, milliseconds(trade.time_ns), _number(amount), _number(trade.price)]


def _number(text: str) -> msgspec.Raw:
    """Its digits as they are."""
    return msgspec.Raw(text.encode())
