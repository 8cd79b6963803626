"""How each exchange writes trades, heartbeats and what it says of itself.

A function for new trades gets them by symbol, oldest first, and yields the frames in the order they are sent.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from beast.feeds.simulator.market import SECOND_NS
from beast.feeds.simulator.session import Session
from beast.feeds.simulator.types import Trade
from beast.feeds.simulator.wording import fractional_milliseconds, milliseconds, rfc3339, rfc3339_short

Frame = dict[str, Any]
BySymbol = Mapping[str, list[Trade]]


def one_by_one(write: Callable[[Session, Trade], Frame]) -> Callable[[Session, BySymbol], Iterator[Frame]]:
    """For exchanges that send each trade in a frame of its own."""

    def frames(session: Session, trades: BySymbol) -> Iterator[Frame]:
        for of_symbol in trades.values():
            for trade in of_symbol:
                yield write(session, trade)

    return frames


def side(trade: Trade) -> str:
    """The taker's side in lower case."""
    return "buy" if trade.buy else "sell"


def coinbase_frame(session: Session, channel: str, event: Frame) -> Frame:
    """An envelope; every frame of a connection has the next number."""
    number, session.sequence = session.sequence, session.sequence + 1
    stamp = rfc3339_short(session.exchange.wall_ns())
    return {"channel": channel, "timestamp": stamp, "sequence_num": number, "events": [event]}


def coinbase_event(kind: str, trades: list[Trade]) -> Frame:
    """Trades of one product, newest first."""
    return {
        "type": kind,
        "trades": [
            {
                "product_id": trade.symbol,
                "trade_id": str(trade.id),
                "price": trade.price,
                "size": trade.size,
                "time": rfc3339_short(trade.time_ns, 6),
                "side": side(trade).upper(),
            }
            for trade in reversed(trades)
        ],
    }


def coinbase_trades(session: Session, trades: BySymbol) -> Iterator[Frame]:
    """One frame a product."""
    for of_symbol in trades.values():
        yield coinbase_frame(session, "market_trades", coinbase_event("update", of_symbol))


def coinbase_heartbeat(session: Session) -> None:
    """Counts seconds; the time in it is written as Go prints one, which is no RFC 3339."""
    if session.heartbeats:
        stamp = rfc3339(session.exchange.wall_ns(), 9).replace("T", " ").replace("Z", " +0000 UTC")
        up_ns = session.exchange.now_ns()
        event = {
            "current_time": f"{stamp} m=+{up_ns / SECOND_NS:.9f}",
            "heartbeat_counter": up_ns // SECOND_NS,
        }
        session.send(coinbase_frame(session, "heartbeats", event))


def gemini_trade(_session: Session, trade: Trade) -> Frame:
    """No member says what kind of frame it is; the time is an integer of 19 digits."""
    return {
        "E": trade.time_ns,
        "s": trade.symbol,
        "t": trade.id,
        "p": trade.price,
        "q": trade.size + "00",
        "m": not trade.buy,
    }


def kraken_frame(kind: str, trades: list[Trade]) -> Frame:
    """Trades oldest first, their numbers unquoted and digits kept."""
    return {
        "channel": "trade",
        "type": kind,
        "data": [
            {
                "symbol": trade.symbol,
                "side": side(trade),
                "price": msgspec.Raw(trade.price.encode()),
                "qty": msgspec.Raw(trade.size.encode()),
                "ord_type": "limit" if trade.id % 2 else "market",
                "trade_id": trade.id,
                "timestamp": rfc3339(trade.time_ns),
            }
            for trade in trades
        ],
    }


def kraken_trades(_session: Session, trades: BySymbol) -> Iterator[Frame]:
    """What trades in one moment shares a frame, whatever its symbol."""
    together = [trade for of_symbol in trades.values() for trade in of_symbol]
    yield kraken_frame("update", sorted(together, key=lambda trade: trade.time_ns))


def kraken_status(session: Session) -> None:
    """The first frame of a connection."""
    status = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": int(session.id, 16)}
    session.send({"channel": "status", "type": "update", "data": [status]})


def kraken_heartbeat(session: Session) -> None:
    """Sent when nothing else was for a second, once anything is subscribed."""
    if session.symbols and session.exchange.now_ns() - session.sent_ns >= SECOND_NS:
        session.send({"channel": "heartbeat"})


def gateio_trade(session: Session, trade: Trade) -> Frame:
    """The result is one object; its ms are a string with a fraction."""
    now_ns = session.exchange.wall_ns()
    return {
        "time": now_ns // SECOND_NS,
        "time_ms": milliseconds(now_ns),
        "channel": "spot.trades",
        "event": "update",
        "result": {
            "id": trade.id,
            "create_time": trade.time_ns // SECOND_NS,
            "create_time_ms": fractional_milliseconds(trade.time_ns),
            "side": side(trade),
            "currency_pair": trade.symbol,
            "amount": trade.size,
            "price": trade.price,
            "range": f"{trade.id}-{trade.id}",
        },
    }


def cryptocom_frame(symbol: str, trades: list[Trade]) -> Frame:
    """Trades of one instrument, newest first; the method is that of an acknowledgement."""
    return {
        "id": -1,
        "method": "subscribe",
        "code": 0,
        "result": {
            "instrument_name": symbol,
            "subscription": f"trade.{symbol}",
            "channel": "trade",
            "data": [
                {
                    "d": str(trade.time_ns),
                    "t": milliseconds(trade.time_ns),
                    "p": trade.price,
                    "q": trade.size,
                    "s": side(trade).upper(),
                    "i": trade.symbol,
                    "m": str(trade.id),
                }
                for trade in reversed(trades)
            ],
        },
    }


def cryptocom_trades(_session: Session, trades: BySymbol) -> Iterator[Frame]:
    """One frame an instrument."""
    for symbol, of_symbol in trades.items():
        yield cryptocom_frame(symbol, of_symbol)


def cryptocom_heartbeat(session: Session) -> None:
    """Wants an answer with the same id."""
    number = milliseconds(session.exchange.wall_ns())
    session.send({"id": number, "method": "public/heartbeat", "code": 0})
    session.unanswered[number] = session.exchange.now_ns()


def okx_trade(_session: Session, trade: Trade) -> Frame:
    """Everything is a string but the source and the sequence."""
    return {
        "arg": {"channel": "trades", "instId": trade.symbol},
        "data": [
            {
                "instId": trade.symbol,
                "tradeId": str(trade.id),
                "px": trade.price,
                "sz": trade.size,
                "side": side(trade),
                "ts": str(milliseconds(trade.time_ns)),
                "count": "1",
                "source": "0",
                "seqId": trade.id,
            }
        ],
    }


def binance_trade(session: Session, trade: Trade) -> Frame:
    """Wrapped in the stream's name on /stream, bare on /ws."""
    stamp = milliseconds(trade.time_ns)
    data = {
        "e": "trade",
        "E": stamp,
        "s": trade.symbol,
        "t": trade.id,
        "p": trade.price,
        "q": trade.size,
        "T": stamp,
        "m": not trade.buy,
        "M": True,
    }
    wrapped = session.target.startswith("/stream")
    return {"stream": f"{trade.symbol.lower()}@trade", "data": data} if wrapped else data
