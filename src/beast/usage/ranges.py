"""Sets of sequence numbers, kept as the ranges that they fall into."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Ranges:
    """Whole numbers; cheap when they come in long runs, at whichever end."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(first, last) of each range, in their order; no two touch."""
        return iter(list(zip(self._firsts, self._lasts, strict=True)))

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __len__(self) -> int:
        """How many numbers there are."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def __str__(self) -> str:
        """As PostgreSQL writes a multirange."""
        return "{" + ",".join(f"[{first},{last + 1})" for first, last in self) + "}"

    def add(self, first: int, last: int) -> None:
        """Takes in the numbers from `first` to `last`; some may be there already."""
        start = bisect_left(self._lasts, first - 1)
        end = bisect_right(self._firsts, last + 1)
        if start < end:
            first, last = min(first, self._firsts[start]), max(last, self._lasts[end - 1])
        self._firsts[start:end] = [first]
        self._lasts[start:end] = [last]

    def remove(self, first: int, last: int) -> None:
        """Leaves out the numbers from `first` to `last`; some may not be there."""
        start = bisect_left(self._lasts, first)
        end = bisect_right(self._firsts, last)
        if start >= end:
            return
        kept = []
        if self._firsts[start] < first:
            kept.append((self._firsts[start], first - 1))
        if self._lasts[end - 1] > last:
            kept.append((last + 1, self._lasts[end - 1]))
        self._firsts[start:end] = [each[0] for each in kept]
        self._lasts[start:end] = [each[1] for each in kept]
