"""How far a key may go ahead of what the cluster knows of it."""

from typing import Final

import msgspec

UNRATED: Final = 1_000
"""The lease of a key that has a cap but no rate."""
LEASE_MAX: Final = 1 << 20


class LeaseSize(msgspec.Struct, frozen=True):
    """What leases are made of."""

    percent: int = 100
    """Of a key's burst: with 100, one node alone never refuses what the key's own limit allows."""
    settle_ms: int = 50
    """Between two settlements; a lease covers what flows in during two of them."""

    def of(self, per_second: int, burst: int, *, capped: bool) -> int:
        """Admissions that one node may be ahead with; 0: nothing limits the key."""
        if per_second == 0:
            return UNRATED if capped else 0
        lease = -(-burst * self.percent // 100) + -(-per_second * 2 * self.settle_ms // 1000)
        return max(1, min(lease, LEASE_MAX))
