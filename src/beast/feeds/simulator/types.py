"""What the simulated exchanges deal in."""

from typing import NamedTuple

import msgspec


class Product(NamedTuple):
    """One market of one exchange."""

    exchange: str
    symbol: str
    """As the exchange writes it in a subscription."""
    asset: str
    quote: str
    halted: bool = False
    """Listed, but closed for trading."""


class Trade(msgspec.Struct, gc=False):
    """One trade, its numbers written as its exchange writes them."""

    symbol: str
    id: int
    price: str
    size: str
    buy: bool
    time_ns: int
    """Wall time, ns since 1970."""


class PriceStyle(msgspec.Struct, frozen=True, kw_only=True):
    """How an exchange writes prices: the tick follows from the magnitude of a market's first price."""

    significant: int = 6
    least: int = 2
    """Decimals that even the most expensive market has."""
    most: int = 12
    zeros: int = 0
    """Zeros written after the last digit of the tick."""
    width: int = 0
    """Decimals to fill up to with zeros; 0: none."""
    strip: bool = False
    """Whether zeros at the end are left out."""
