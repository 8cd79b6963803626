"""What this node has answered and the tables don't say yet. One thread at a time."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from beast.accounts.months import month_of
from beast.usage.ranges import Ranges
from beast.usage.store import Edge
from beast.usage.types import HOUR_NS, Identity

if TYPE_CHECKING:
    from datetime import date

Sums = Iterable[tuple[int, int, int, int]]
"""(key id, hour since 1970, answers, time of the last in ns), as sum_usage() gives them."""
LaneOf = tuple[str, int, int]
"""(node, boot, lane)."""


class LaneBook(msgspec.Struct, eq=False):
    """One lane's numbers."""

    made: int = 0
    waiting: Ranges = msgspec.field(default_factory=Ranges)
    lost: Ranges = msgspec.field(default_factory=Ranges)
    told: bool = False
    """Whether the database has been told all of this."""


class Ledger:
    """Answers by key, until they are booked, and sequence numbers by lane, until their batch is acknowledged."""

    def __init__(self) -> None:
        self.pending = 0
        """Answers that are not booked yet."""
        self._keys: dict[date, Counter[int]] = {}
        self._lanes: dict[LaneOf, LaneBook] = {}

    def owe(self, sums: Sums) -> None:
        """These were answered."""
        for key_id, hour, answers, _ in sums:
            self._keys.setdefault(_month(hour), Counter())[key_id] += answers
            self.pending += answers

    def settle(self, sums: Sums) -> None:
        """These are booked."""
        for key_id, hour, answers, _ in sums:
            month = _month(hour)
            counts = self._keys[month]
            counts[key_id] -= answers
            self.pending -= answers
            if not counts[key_id]:
                del counts[key_id]
                if not counts:
                    del self._keys[month]

    def unbooked(self, wall_ns: int) -> Mapping[int, int]:
        """Answers by key, of the month of `wall_ns` and of later ones: a clock may be behind."""
        month = month_of(wall_ns)
        found = [counts for each, counts in self._keys.items() if each >= month]
        return found[0] if len(found) == 1 else sum(found, Counter())

    def make(self, lane: LaneOf, first: int, last: int) -> int:
        """A lane has made these numbers; returns how many before them it never had a record for."""
        book = self._book(lane)
        lost = max(0, first - book.made - 1)
        if lost:
            book.lost.add(book.made + 1, first - 1)
        book.made = max(book.made, last)
        book.waiting.add(first, last)
        return lost

    def find(self, lane: LaneOf, first: int, last: int) -> None:
        """These were in the spool; whether what came before them was lost is not known here."""
        book = self._book(lane)
        book.made = max(book.made, last)
        book.waiting.add(first, last)

    def reach(self, lane: LaneOf, last: int) -> None:
        """All up to this number were spooled once."""
        book = self._book(lane)
        book.made = max(book.made, last)

    def acknowledge(self, identity: Identity, last: int) -> None:
        """The sink has this batch."""
        self._book((identity.node, identity.boot, identity.lane)).waiting.remove(identity.first, last)

    def lanes(self) -> dict[LaneOf, LaneBook]:
        """All that are known."""
        return self._lanes

    def untold(self) -> dict[str, list[Edge]]:
        """By node, what the database has not been told; it counts as told from now on."""
        edges: dict[str, list[Edge]] = {}
        for (node, boot, lane), book in self._lanes.items():
            if not book.told:
                book.told = True
                edge = Edge(boot, lane, book.made, str(book.waiting), str(book.lost))
                edges.setdefault(node, []).append(edge)
        return edges

    def tell_again(self) -> None:
        """What was told last may not have arrived."""
        for book in self._lanes.values():
            book.told = False

    def _book(self, lane: LaneOf) -> LaneBook:
        book = self._lanes.setdefault(lane, LaneBook())
        book.told = False
        return book


@lru_cache(maxsize=64)
def _month(hour: int) -> "date":
    return month_of(hour * HOUR_NS)
