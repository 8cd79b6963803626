"""Keys as the database's function pack_api_key() packs them."""

import struct
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final, NamedTuple

# Digest, id, quota id, per_second, burst, cap, used, expires_ns, bits, bytes of networks; network byte order.
_HEAD: Final = struct.Struct(">32sqqiiqqqBH")
_NETWORK: Final = struct.Struct("BBBB")
"""Of cidr_send(): family, bits of the prefix, whether it is a cidr, bytes of the address."""


class PackedKey(NamedTuple):
    """One key and what it may do."""

    digest: bytes
    key_id: int
    quota_id: int
    """Whose limits it shares: the first key of its line."""
    per_second: int
    """0: no rate limit."""
    burst: int
    cap: int
    """-1: none."""
    used: int
    """Answers of the month that are booked, of the whole line."""
    expires_ns: int
    """0: never."""
    bits: int
    networks: tuple[str, ...]
    """The only ones it may be used from; empty: any."""

    @property
    def enabled(self) -> bool:
        """It is neither revoked nor paused."""
        return bool(self.bits & 1)

    @property
    def partner(self) -> bool:
        """Nothing limits it."""
        return bool(self.bits & 2)

    @property
    def priced(self) -> bool:
        """Its scopes open prices."""
        return bool(self.bits & 4)


def unpack(records: bytes) -> Iterator[PackedKey]:
    """The keys of one chunk."""
    at = 0
    while at < len(records):
        *head, networks = _HEAD.unpack_from(records, at)
        at += _HEAD.size + networks
        yield PackedKey._make((*head, _networks(records[at - networks : at]) if networks else ()))


def _networks(packed: bytes) -> tuple[str, ...]:
    found = []
    at = 0
    while at < len(packed):
        _, bits, _, length = _NETWORK.unpack_from(packed, at)
        at += _NETWORK.size + length
        found.append(f"{ip_address(packed[at - length : at])}/{bits}")
    return tuple(found)
