"""What can be asked for, as plain values."""

import msgspec


class Market(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One asset at one exchange, as it was configured."""

    exchange: str
    asset: str
    """Upper-case, 1 to 20 of [A-Z0-9._-]."""
    currency: str
    """The quote, upper-case: USD, USDT, ..."""
    priority: int = 100
    """Lower is asked first when a request names no exchange."""
    connection: int = 0
    """Which of the exchange's connections brings it."""
    category: str = ""
    weight: int = 1
    """Votes in the consensus; 0: none."""
    band_bps: int | None = None
    """How far a trade may jump before it is held back, in 1/10,000; 0: anywhere; None: as the parameter says."""


class Instrument(msgspec.Struct, frozen=True, gc=False):
    """A market and its places in the price table."""

    id: int
    """Stays with (exchange, asset) as long as the process runs."""
    link: int
    """Number of the connection whose life its freshness depends on."""
    market: Market


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """What an exchange's REST interface says of a market."""

    exchange: str
    asset: str
    price: bytes
    """Decimal text."""
    time_ns: int
    """By the exchange, or else when it was received; ns since 1970."""
    received_ns: int
    """CLOCK_MONOTONIC."""
    volume_24h: str = ""
    """Decimal text, in the asset; empty when the exchange doesn't say."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `GET /exchanges`."""

    name: str
    display_name: str
    priority: int
    assets: int
    """How many assets it prices."""


class AssetMarket(msgspec.Struct, frozen=True):
    """Where an asset is priced."""

    exchange: str
    currency: str


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `GET /assets`."""

    asset: str
    category: str
    markets: tuple[AssetMarket, ...]
    """In the order in which they are asked."""
    consensus: str = ""
    """The currency in which `exchange=consensus` answers; empty: it doesn't."""
