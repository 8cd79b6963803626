"""The rows that make an exchange: what `exchange_feeds` and `exchange_asset_map` hold.

An exchange is these two kinds of rows and nothing else. `docs/add_an_exchange.md` explains the language.
"""

from typing import Final, Literal

import msgspec

TimeFormat = Literal["rfc3339", "unix_s", "unix_ms", "unix_us", "unix_ns"]
Fold = Literal["none", "upper", "lower"]
Compression = Literal["none", "gzip", "deflate"]

HttpMethod = Literal["POST", "GET"]

CONNECTING: Final = frozenset(
    {
        "name",
        "ws_url",
        "token_url",
        "token_method",
        "token_path",
        "endpoint_path",
        "ping_interval_path",
        "subscribe_template",
        "symbol_template",
        "channel_path",
        "patience_ms",
    }
)
"""The columns of `exchange_feeds` that a connection is made by: only their change needs a new one."""
SequenceScope = Literal["", "connection", "symbol"]


class Condition(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One condition on a frame. All conditions of a list must hold; an empty list never holds."""

    path: str
    """Where to look; the empty path is the whole frame (for text frames such as `pong`)."""
    op: Literal["eq", "prefix", "suffix", "present", "absent"] = "eq"
    """null counts as absent."""
    value: str | int | bool | None = None
    """For eq, prefix and suffix. A number is compared by its digits, so `0` doesn't equal `"0"`."""


class Shape(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of frame that carries prices: how to tell it, and where its values stand."""

    filter: tuple[Condition, ...]
    price_path: str
    price_scale: int = 0
    """Prices are counted in units of ten to the minus this."""
    symbol_path: str
    timestamp_path: str = ""
    timestamp_format: TimeFormat = "rfc3339"
    fallback_timestamp_path: str = ""
    """Asked when the trade itself has no time (an envelope's); after it, the time of receipt."""
    fallback_timestamp_format: TimeFormat = "rfc3339"


class Feed(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True):
    """One row of `exchange_feeds`: how to connect, subscribe, read and stay alive.

    Paths: dots between steps; a number is an index, -1 the last element; `*` is the only member of an object;
    `[first]` and `[last]` walk a whole array and say which end holds the newest trade, `[each]` walks the members of an
    object, and `[name]`, at the end, is the name of the member that `*` or `[each]` led to.
    Templates are described in `beast.feeds.rows.templates`.
    """

    name: str
    """Lower-case, 1 to 16 of [a-z0-9_-]; the `exchange` of every answer, and `NAME-ws` its source."""
    display_name: str = ""
    enabled: bool = True
    priority: int = 100
    """Lower is asked first when a request names no exchange."""
    consensus_weight: int = 1
    """Votes in the consensus; 0: none."""

    # Connecting
    ws_url: str
    """ws:// or wss://, or `{ENDPOINT}` from the token's answer; may hold `{SYMBOLS:SEP}` where streams stand in the
    URL, `{TOKEN}`, `{UUID}` and the time."""
    connect_interval_ms: int = 1000
    """At least this long between two connection attempts to this exchange."""
    max_connection_age_s: int = 0
    """Reconnect before the exchange does; 0: never."""
    symbols_per_connection: int = 0
    """0: all on one."""
    token_url: str = ""
    """Asked over HTTP before each connection, for a token, an address or both; empty: nothing is asked."""
    token_method: HttpMethod = "POST"  # noqa: S105 - a method, no password
    token_path: str = ""
    """Where the JSON of its answer has the token."""
    endpoint_path: str = ""
    """Where it has the address to connect to."""
    ping_interval_path: str = ""
    """Where it has the interval of our pings, in ms; `ping_interval_ms` stands in for one that is missing."""

    # Subscribing
    subscribe_template: str = ""
    """JSON: one message or an array of messages, each sent by itself. Empty when the URL subscribes."""
    unsubscribe_template: str = ""
    """The same, for symbols wanted no more; `{CHANNEL}` is the symbol's number. Empty: there is no such message."""
    symbol_template: str = "{SYMBOL}"
    """How one symbol is written in a subscription: `trade.{SYMBOL}`, `{SYMBOL}@trade`."""
    subscribe_chunk: int = 0
    """Symbols a message; 0: all in one."""
    subscribe_delay_ms: int = 0
    """Pause between connecting and the first message."""
    subscribe_interval_ms: int = 0
    """Pause between two messages."""

    # Reading trades
    compression: Compression = "none"
    """How binary frames are packed; `deflate` is zlib's form or the bare one."""
    trade_filter: tuple[Condition, ...]
    price_path: str
    price_scale: int = 0
    """Prices are counted in units of ten to the minus this: with 8, 8342157000000 is 83421.57."""
    symbol_path: str
    timestamp_path: str = ""
    timestamp_format: TimeFormat = "rfc3339"
    fallback_timestamp_path: str = ""
    """Asked when the trade itself has no time (an envelope's); after it, the time of receipt."""
    fallback_timestamp_format: TimeFormat = "rfc3339"
    other_shapes: tuple[Shape, ...] = ()
    """Further frames with prices (tickers), tried in order after the trade columns above."""
    sequence_scope: SequenceScope = ""
    """What is numbered without a gap: `connection`, every frame of one; `symbol`, every trade of one that the trade
    columns above read."""
    sequence_path: str = ""
    """Where the number stands: in every frame, or beside the trade."""
    symbol_strip_prefix: str = ""
    """Taken off the wire symbol (a topic, a channel) before it is looked up."""
    symbol_strip_suffix: str = ""
    """Taken off its end."""
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
    channel_path: str = ""
    """Where an ack tells the number (or name) that trade frames of this connection carry instead of the symbol."""
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
    def subscribes_by_url(self) -> bool:
        """Whether nothing can be subscribed on a connection that is open."""
        return "{SYMBOL" not in self.subscribe_template

    # Asking by REST, when neither memory nor tier 2 has a price
    rest_ticker_url: str = ""
    """https://, of one market, with `{SYMBOL}`, `{BASE}` (the asset) and `{QUOTE}` (the currency), the last two also in
    lower case; empty: never."""
    rest_price_path: str = ""
    rest_volume_path: str = ""
    """The volume of 24 hours, in the asset."""
    rest_timestamp_path: str = ""
    """Empty: the time of receipt."""
    rest_timestamp_format: TimeFormat = "rfc3339"
    rest_error_filter: tuple[Condition, ...] = ()
    """Tells an error that comes with HTTP 200."""
    rest_products_url: str = ""
    """The list of all markets."""
    rest_products_path: str = ""
    """Where in it they stand: an array, or an object by any names."""
    rest_product_symbol_path: str = ""
    """Inside one of them; empty: it is the symbol itself; `[name]`: the object has it under the symbol."""
    rest_product_filter: tuple[Condition, ...] = ()
    """Which of them trade; empty: all."""
    rest_per_second: float = 1.0
    """Requests a second at most."""
    rest_timeout_ms: int = 800
    """Without an answer by then, the next exchange is asked."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The trade columns as a shape, then the others."""
        first = Shape(
            filter=self.trade_filter,
            price_path=self.price_path,
            price_scale=self.price_scale,
            symbol_path=self.symbol_path,
            timestamp_path=self.timestamp_path,
            timestamp_format=self.timestamp_format,
            fallback_timestamp_path=self.fallback_timestamp_path,
            fallback_timestamp_format=self.fallback_timestamp_format,
        )
        return (first, *self.other_shapes)


class Mapping(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True, gc=False):
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
    band_bps: int | None = None
    """How far a price may jump before it is held back, in 1/10,000; 0: anywhere; None: parameter `price_band_bps`."""

    @property
    def key(self) -> str:
        """The symbol as trade frames name it."""
        return self.wire_symbol or self.symbol
