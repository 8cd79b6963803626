"""The same frames through msgspec: a Struct for each dialect, exact digits, ns, stored in a dict."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Store = dict[str, tuple[str, int]]


class CoinbaseTrade(msgspec.Struct):
    """One trade."""

    product_id: str
    price: str
    time: datetime


class CoinbaseEvent(msgspec.Struct):
    """Several trades, newest first."""

    trades: list[CoinbaseTrade]


class Coinbase(msgspec.Struct):
    """A frame."""

    channel: str
    events: list[CoinbaseEvent]


class KrakenTrade(msgspec.Struct):
    """One trade; its price stays text."""

    symbol: str
    price: msgspec.Raw
    timestamp: datetime


class Kraken(msgspec.Struct):
    """A frame, newest last."""

    channel: str
    data: list[KrakenTrade]


class GateioTrade(msgspec.Struct):
    """One trade."""

    currency_pair: str
    price: str
    create_time_ms: str


class Gateio(msgspec.Struct):
    """A frame."""

    channel: str
    result: GateioTrade


class OkxTrade(msgspec.Struct):
    """One trade."""

    instId: str  # noqa: N815 - as the exchange writes it
    px: str
    ts: str


class Okx(msgspec.Struct):
    """A frame, newest last."""

    arg: dict[str, str]
    data: list[OkxTrade]


class BinanceTrade(msgspec.Struct):
    """One trade."""

    s: str
    p: str
    T: int


class Binance(msgspec.Struct):
    """A frame."""

    data: BinanceTrade


def ns_of_time(time: datetime) -> int:
    """To the µs, which is all that a datetime keeps."""
    since = time - EPOCH
    return ((since.days * 86_400 + since.seconds) * 10**6 + since.microseconds) * 1000


def ns_of_ms(text: str) -> int:
    """Milliseconds with a fraction, without a float."""
    whole, _, fraction = text.partition(".")
    return int(whole) * 10**6 + int(fraction.ljust(6, "0")[:6] or 0)


def coinbase(store: Store) -> Callable[[bytes], None]:
    decode = msgspec.json.Decoder(Coinbase).decode

    def feed(frame: bytes) -> None:
        for event in decode(frame).events:
            for trade in reversed(event.trades):
                store[trade.product_id] = (trade.price, ns_of_time(trade.time))

    return feed


def kraken(store: Store) -> Callable[[bytes], None]:
    decode = msgspec.json.Decoder(Kraken).decode

    def feed(frame: bytes) -> None:
        for trade in decode(frame).data:
            store[trade.symbol] = (bytes(trade.price).decode(), ns_of_time(trade.timestamp))

    return feed


def gateio(store: Store) -> Callable[[bytes], None]:
    decode = msgspec.json.Decoder(Gateio).decode

    def feed(frame: bytes) -> None:
        trade = decode(frame).result
        store[trade.currency_pair] = (trade.price, ns_of_ms(trade.create_time_ms))

    return feed


def okx(store: Store) -> Callable[[bytes], None]:
    decode = msgspec.json.Decoder(Okx).decode

    def feed(frame: bytes) -> None:
        for trade in decode(frame).data:
            store[trade.instId] = (trade.px, int(trade.ts) * 10**6)

    return feed


def binance(store: Store) -> Callable[[bytes], None]:
    decode = msgspec.json.Decoder(Binance).decode

    def feed(frame: bytes) -> None:
        trade = decode(frame).data
        store[trade.s] = (trade.p, trade.T * 10**6)

    return feed


DIALECTS = {"coinbase": coinbase, "kraken": kraken, "gateio": gateio, "okx": okx, "binance": binance}
