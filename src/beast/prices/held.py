"""What memory holds of a market, as the slower tiers want to know it."""

from typing import Any, Literal, cast

import msgspec

from beast._fast import Engine
from beast.prices.types import Instrument


class Held(msgspec.Struct, frozen=True):
    """A price in memory; see Engine.peek()."""

    price: str
    time_ns: int
    received_ns: int
    state: Literal["live", "quiet", "stale"]
    tier: int
    by_rest: bool
    """REST brought it, whichever tier it came from."""
    epoch: int
    """Of the connection that vouches for its being the last; 0: none does."""


def held_of(engine: Engine, instrument: Instrument, now_ns: int) -> Held | None:
    """The market's price, with its state at `now_ns` (CLOCK_MONOTONIC); None before the first."""
    held = engine.peek(instrument.id, now_ns)
    return None if held is None else Held(**cast("dict[str, Any]", held))


def is_proven(engine: Engine, instrument: Instrument, held: Held | None) -> bool:
    """Whether the connection that brought this price is alive: then it is the market's last, and nobody knows more."""
    if held is None or held.tier != 1 or held.state == "stale":
        return False
    up, epoch, _ = engine.link_state(instrument.link)
    return up and epoch == held.epoch
