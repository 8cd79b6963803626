"""What came over the connections of one exchange, and how much of it nobody could read."""

from collections import Counter
from typing import NamedTuple

from beast.feeds.link.link import Link, Table


class Tally(NamedTuple):
    """Counts since a connection's link was made."""

    frames: int = 0
    trades: int = 0
    """Of symbols that are mapped, with a price that can be read."""
    bad_prices: int = 0
    unmapped: int = 0
    """Trades of symbols that no row maps."""
    ignored: int = 0
    """Frames that no filter fits, and those of trades that held none: many rows leave out what they don't need."""
    errors: int = 0
    """Frames in which the exchange refuses something."""
    malformed: int = 0

    @property
    def wrong(self) -> int:
        """What no rows that fit would come to."""
        return self.bad_prices + self.unmapped + self.errors + self.malformed

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(*(mine + its for mine, its in zip(self, other, strict=True)))

    def since(self, before: "Tally") -> "Tally":
        """What has come since then; all of it when links were made anew, since theirs begins at nothing."""
        if any(now < then for now, then in zip(self, before, strict=True)):
            return self
        return Tally(*(now - then for now, then in zip(self, before, strict=True)))


class CountedTable:
    """The price table as one link sees it: what the link counts is kept for it alone, too.

    Args:
        table: Does what it is asked.
    """

    def __init__(self, table: Table) -> None:
        self.counted: Counter[str] = Counter()
        self._table = table

    def count(self, name: str, n: int = 1) -> None:
        """See LinkTable."""
        self.counted[name] += n
        self._table.count(name, n)

    def link_up(self, link: int, patience_ns: int, now_ns: int) -> int:
        """See LinkTable."""
        return self._table.link_up(link, patience_ns, now_ns)

    def link_proven(self, link: int, now_ns: int) -> None:
        """See LinkTable."""
        self._table.link_proven(link, now_ns)

    def link_down(self, link: int) -> None:
        """See LinkTable."""
        self._table.link_down(link)

    def link_doubt(self, link: int) -> int:
        """See LinkTable."""
        return self._table.link_doubt(link)

    def doubt(self, instrument: int) -> None:
        """See Table."""
        self._table.doubt(instrument)

    def link_state(self, link: int) -> tuple[bool, int, int]:
        """See LinkTable."""
        return self._table.link_state(link)

    def forget(self, instrument: int) -> None:
        """See Table."""
        self._table.forget(instrument)


def tally_of(link: Link, counted: Counter[str]) -> Tally:
    """What came over one link, of which its table has counted what it could not read."""
    frames, trades, bad_prices, unmapped, empty = link.sink.tally()
    return Tally(
        frames=frames,
        trades=trades,
        bad_prices=bad_prices,
        unmapped=unmapped,
        ignored=empty + counted["frames_ignored"],
        errors=counted["frames_errors"],
        malformed=counted["frames_malformed"],
    )
