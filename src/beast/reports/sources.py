"""How often somebody may be wrong: answers to requests that prove no key, by the network they come from."""

from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

from beast.base.clock import Clock

KEPT = 8192
"""Networks remembered; who was quiet for the longest time is forgotten first."""
IPV6_PREFIX = 64


class Sources:
    """A bucket of one second for each IPv4 address and each IPv6 /64.

    Args:
        clock: The time.
        per_second: Answers a second to each; 0: no limit.
    """

    def __init__(self, clock: Clock, per_second: int) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, int] = OrderedDict()
        self.tune(per_second, "")

    def tune(self, per_second: int, exceptions: str) -> None:
        """Changes the limit, and the networks (separated by spaces) that have none."""
        self._step_ns = 1_000_000_000 // per_second if per_second else 0
        self._exceptions = [ip_network(network, strict=False) for network in exceptions.split()]

    def allow(self, address: str) -> bool:
        """Whether one more answer would be within the limit. Counts nothing."""
        if not self._step_ns or self._excepted(address):
            return True
        now = self._clock.monotonic_ns()
        return self._buckets.get(source_of(address), 0) <= now + 1_000_000_000 - self._step_ns

    def count(self, address: str) -> None:
        """One answer was given to somebody who proved nothing."""
        source, now = source_of(address), self._clock.monotonic_ns()
        self._buckets[source] = max(self._buckets.pop(source, 0), now) + self._step_ns
        while len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)

    def _excepted(self, address: str) -> bool:
        if not self._exceptions:
            return False
        plain = ip_address(_without_zone(address))
        return any(plain in network for network in self._exceptions)


def source_of(address: str) -> str:
    """The network that an address is counted with."""
    plain = ip_address(_without_zone(address))
    if isinstance(plain, IPv6Address):
        if plain.ipv4_mapped:
            return str(plain.ipv4_mapped)
        return str(IPv6Network((int(plain) >> IPV6_PREFIX << IPV6_PREFIX, IPV6_PREFIX)))
    return str(plain)


def _without_zone(address: str) -> str:
    return address.partition("%")[0]
