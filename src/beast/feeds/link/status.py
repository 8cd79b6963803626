"""What is told of one connection."""

from typing import NamedTuple

import msgspec


class Outage(NamedTuple):
    """From the last proof of one connection to the first of the next, CLOCK_MONOTONIC ns."""

    from_ns: int
    to_ns: int
    cause: str


class LinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one connection fares."""

    link: int
    connected: bool
    since_ns: int
    """CLOCK_MONOTONIC ns of its opening; 0 when it isn't connected."""
    heard_ns: int
    """CLOCK_MONOTONIC ns of the last sign of life; 0: never."""
    wanted: int
    acked: int
    """Acknowledged; where an exchange sends no acks: sent."""
    refused: tuple[str, ...]
    reconnects: int
    last_error: str
    trouble: str
    """What has been wrong for some seconds; empty: nothing."""
