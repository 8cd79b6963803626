"""The rows that make an exchange: what `exchange_feeds` and `exchange_asset_map` hold.

An exchange is these two kinds of rows and nothing else. `docs/add_an_exchange.md` explains the language.
"""

from typing import Literal

import msgspec

TimeFormat = Literal["rfc3339", "unix_s", "unix_ms", "unix_us", "unix_ns"]
Fold = Literal["none", "upper", "lower"]


class Condition(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One condition on a frame. All conditions of a list must hold; an empty list never holds."""

    path: str
    """Where to look; the empty path is the whole frame (for text frames such as `pong`)."""
    op: Literal["eq", "prefix", "present", "absent"] = "eq"
    """null counts as absent."""
    value: str | int | bool | None = None
    """For eq and prefix. A number is compared by its digits, so `0` doesn't equal `"0"`."""


class Shape(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of frame that carries prices: how to tell it, and where its values stand."""

    filter: tuple[Condition, ...]
    price_path: str
    symbol_path: str
    timestamp_path: str = ""
    timestamp_format: TimeFormat = "rfc3339"
    fallback_timestamp_path: str = ""
    """Asked when the trade itself has no time (an envelope's); after it, the time of receipt."""
    fallback_timestamp_format: TimeFormat = "rfc3339"


class Feed(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One row of `exchange_feeds`: how to connect, subscribe, read and stay alive.

    Paths: dots between steps; a number is an index, -1 the last element; `*` is the only key of an object;
    `[first]` and `[last]` walk a whole array and say which end holds the newest trade.
    Templates are described in `beast.feeds.templates`.
    """

    name: str
    """Lower-case, 1 to 16 of [a-z0-9_-]; the `exchange` of every answer, and `NAME-ws` its source."""
    display_name: str = ""
    enabled: bool = True
    priority: int = 100
    """Lower is asked first when a request names no exchange."""

    # Connecting
    ws_url: str
    """ws:// or wss://; may hold `{SYMBOLS:SEP}` where streams stand in the URL."""
    connect_interval_ms: int = 1000
    """At least this long between two connection attempts to this exchange."""
    max_connection_age_s: int = 0
    """Reconnect before the exchange does; 0: never."""
    symbols_per_connection: int = 0
    """0: all on one."""

    # Subscribing
    subscribe_template: str = ""
    """JSON: one message or an array of messages, each sent by itself. Empty when the URL subscribes."""
    symbol_template: str = "{SYMBOL}"
    """How one symbol is written in a subscription: `trade.{SYMBOL}`, `{SYMBOL}@trade`."""
    subscribe_chunk: int = 0
    """Symbols a message; 0: all in one."""
    subscribe_delay_ms: int = 0
    """Pause between connecting and the first message."""
    subscribe_interval_ms: int = 0
    """Pause between two messages."""

    # Reading trades
    trade_filter: tuple[Condition, ...]
    price_path: str
    symbol_path: str
    timestamp_path: str = ""
    timestamp_format: TimeFormat = "rfc3339"
    fallback_timestamp_path: str = ""
    """Asked when the trade itself has no time (an envelope's); after it, the time of receipt."""
    fallback_timestamp_format: TimeFormat = "rfc3339"
    other_shapes: tuple[Shape, ...] = ()
    """Further frames with prices (tickers), tried in order after the trade columns above."""
    symbol_strip_prefix: str = ""
    """Taken off the wire symbol (a topic, a channel) before it is looked up."""
    symbol_fold: Fold = "none"
    """Applied to the wire symbol before it is looked up."""

    # What else comes in
    ack_filter: tuple[Condition, ...] = ()
    ack_symbol_path: str = ""
    """Names the symbol (or stream, as `symbol_template` writes it) that was accepted; empty: the ack's id tells."""
    error_filter: tuple[Condition, ...] = ()
    error_symbol_path: str = ""
    error_message_path: str = ""
    error_scope: Literal["symbol", "message"] = "symbol"
    """`message`: one bad symbol refuses the whole subscribe message, so it must be found and dropped."""
    reply_id_path: str = ""
    """Where an ack or error repeats the `{ID}` of the message it answers."""
    heartbeat_filter: tuple[Condition, ...] = ()
    notice_filter: tuple[Condition, ...] = ()
    """The exchange announces that it will close: reconnect now."""

    # Staying alive
    ping_interval_ms: int = 0
    """0: no ping of ours in the exchange's own words (protocol pings are always sent)."""
    ping_template: str = ""
    """Text or JSON."""
    pong_filter: tuple[Condition, ...] = ()
    heartbeat_reply_template: str = ""
    """Sent for each heartbeat frame when not empty; `{FRAME:id}` copies from it."""
    patience_ms: int = 30_000
    """Silence after which the link counts as dead."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The trade columns as a shape, then the others."""
        first = Shape(
            filter=self.trade_filter,
            price_path=self.price_path,
            symbol_path=self.symbol_path,
            timestamp_path=self.timestamp_path,
            timestamp_format=self.timestamp_format,
            fallback_timestamp_path=self.fallback_timestamp_path,
            fallback_timestamp_format=self.fallback_timestamp_format,
        )
        return (first, *self.other_shapes)


class Mapping(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One row of `exchange_asset_map`: what an exchange calls an asset."""

    exchange: str = ""
    asset: str
    symbol: str
    """As subscribed."""
    wire_symbol: str = ""
    """As it stands in trade frames, after `symbol_fold`, where that differs."""
    currency: str
    """The quote: USD, USDT, ..."""
    enabled: bool = True
    prewarm: bool = True
    """Subscribed at start."""
    category: str = ""

    @property
    def key(self) -> str:
        """The symbol as trade frames name it."""
        return self.wire_symbol or self.symbol
