"""The shapes of docs/protocol.md, for the OpenAPI description. The engine writes the answers themselves.

Dataclasses, because a list may hold prices and errors side by side: msgspec wants a tag to tell two Structs apart.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass
class Price:
    """One price."""

    asset: str
    price: float
    currency: str
    exchange: str
    source: str
    timestamp: str
    age_ms: int
    state: Literal["live", "quiet", "stale"]
    tier: Literal[1, 2, 3]
    node: str


@dataclass
class LastPrice:
    """The price received last, told when nothing is fresh enough."""

    price: float
    timestamp: str
    age_ms: int


@dataclass
class PriceError:
    """Why there is no price."""

    error: str
    message: str
    retry_after_ms: int | None = None
    last: LastPrice | None = None


@dataclass
class AssetError:
    """Why one of several assets has no price."""

    asset: str
    error: str
    message: str
    last: LastPrice | None = None


@dataclass
class Prices:
    """Several prices, in the order asked."""

    prices: list[Price | AssetError]


@dataclass
class ColumnFault:
    """What is wrong with one column of a row."""

    column: str
    reason: str


@dataclass
class FaultyColumns:
    """Why a row is not stored."""

    error: str
    message: str
    faults: list[ColumnFault] | None = None


@dataclass
class NumberedFault(ColumnFault):
    """What is wrong with one column of a batch's row, told by its place from 0."""

    row: int


@dataclass
class FaultyRows:
    """Why a batch is not stored."""

    error: str
    message: str
    faults: list[NumberedFault] | None = None
