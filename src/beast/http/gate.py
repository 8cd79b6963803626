"""Who may still connect to the ASGI side: so many connections in all, and so many of one source."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from ipaddress import IPv6Address


class Gate:
    """Counts open connections.

    Args:
        connections: At most, of all sources together.
        per_source: At most of one IPv4 address or IPv6 /64; 0: no limit.
    """

    def __init__(self, connections: int, per_source: int) -> None:
        self._connections = connections
        self._per_source = per_source
        self._open: Counter[str] = Counter()
        self._total = 0

    def limit(self, per_source: int) -> None:
        """From now on; who has more already keeps them."""
        self._per_source = per_source

    @property
    def full(self) -> bool:
        """Whether there is room for nobody, whatever their source."""
        return self._total >= self._connections

    def enter(self, peer: tuple[str, int] | None) -> str | None:
        """Counts one more connection; returns what leave() wants, or None when there is no room."""
        source = source_of(peer[0]) if peer else ""
        if self.full or 0 < self._per_source <= self._open[source]:
            return None
        self._open[source] += 1
        self._total += 1
        return source

    def promote(self, source: str) -> Callable[[], None]:
        """A connection that has become a stream: bounded elsewhere, it counts for its source alone.

        Returns what takes that back, in place of leave().
        """
        self._total -= 1
        return partial(self._leave_source, source)

    def leave(self, source: str) -> None:
        """Takes back what enter() counted."""
        self._total -= 1
        self._leave_source(source)

    def _leave_source(self, source: str) -> None:
        self._open[source] -= 1
        if not self._open[source]:
            del self._open[source]


def source_of(host: str) -> str:
    """An IPv4 address itself; of an IPv6 address its /64, which is what one customer gets."""
    if ":" not in host:
        return host
    address = IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
