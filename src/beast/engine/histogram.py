"""Durations counted by size: how the workers' histograms look from Python, and one that Python keeps itself."""

from collections import Counter
from collections.abc import Sequence

Buckets = Sequence[tuple[int, int]]
"""(longest duration in ns that a bucket holds, how many), ascending; empty buckets may be left out."""

PARTS_BITS = 3
"""A power of two is divided into eight buckets: no duration is told more than an eighth too long."""


class Histogram:
    """Counts durations in log-linear buckets. One writer; what was counted stays."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def record(self, duration_ns: int) -> None:
        """Counts one duration; a negative one counts as zero."""
        duration_ns = max(duration_ns, 0)
        dropped = max(duration_ns.bit_length() - 1 - PARTS_BITS, 0)
        self._counts[((duration_ns >> dropped) + 1 << dropped) - 1] += 1

    def buckets(self) -> Buckets:
        """What was counted so far."""
        return sorted(self._counts.items())


def since(now: Buckets, base: Buckets) -> Buckets:
    """What `now` holds beyond `base`, an earlier reading of the same histogram."""
    before = dict(base)
    return [(bound, count - before.get(bound, 0)) for bound, count in now]


def percentile_ns(buckets: Buckets, share: float) -> int | None:
    """The upper edge of the bucket that holds the duration which `share` (0 to 1) of all do not exceed.

    None while there are none.
    """
    wanted = share * sum(count for _, count in buckets)
    seen = 0
    for bound, count in buckets:
        seen += count
        if count and seen >= wanted:
            return bound
    return None


def cumulative(buckets: Buckets, bounds_ns: Sequence[int]) -> list[int]:
    """How many durations are below each of `bounds_ns`, ascending; exact where buckets end there."""
    told, seen, rest = [], 0, iter(buckets)
    bucket = next(rest, None)
    for bound in bounds_ns:
        while bucket is not None and bucket[0] < bound:
            seen += bucket[1]
            bucket = next(rest, None)
        told.append(seen)
    return told
