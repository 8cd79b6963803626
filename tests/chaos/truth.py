"""What the exchanges really did: every trade, as it was made, as it was told, and when it came to us."""

import re
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import msgspec

from beast.feeds.simulator.types import Trade

_IDS = re.compile(rb"(?<![0-9.])[0-9]{6,9}(?![0-9.])")
_NUMBER = re.compile(rb'"sequence_num":([0-9]+)')
RESOLUTIONS = (1, 1_000, 1_000_000)
"""Of the times that exchanges write, in ns."""
BACKFILL_NS: Final = 5 * 10**9
"""A trade that comes later than this is as old as its own time says."""
CONFIRMATIONS: Final = 2


@dataclass(slots=True)
class Made:
    """One trade."""

    exchange: str
    asset: str
    number: int
    price: str
    told: str
    """The price that the exchange tells over its WebSocket, which a spike makes another one."""
    at_ns: int
    """CLOCK_MONOTONIC."""
    time_ns: int
    """As the exchange tells it."""
    seen: list[tuple[int, int]] = field(default_factory=list)
    """(CLOCK_MONOTONIC, wire) of each time that a frame with it came, whatever had been done to the frame."""
    usual: bool = False
    """When it came, a spiked price was the one that the market's trades had confirmed last."""


@dataclass(slots=True)
class WireTruth:
    """What came over one wire."""

    newest: dict[str, Made] = field(default_factory=dict)
    """The highest trade of each asset that came in one piece."""
    damaged: dict[str, list[tuple[int, Made]]] = field(default_factory=lambda: defaultdict(list))
    """(CLOCK_MONOTONIC, trade) of those that didn't."""
    last: int | None = None
    """Where the exchange numbers its frames."""
    missing: set[int] = field(default_factory=set)
    """Numbers that others have overtaken and that never came."""

    def last_since(self, asset: str, since_ns: int) -> Made | None:
        """The highest trade that came; of damaged ones behind this moment: what those before held, nobody can tell."""
        came = [made for when, made in self.damaged[asset] if when > since_ns]
        if asset in self.newest:
            came.append(self.newest[asset])
        return max(came, key=lambda made: made.number, default=None)


class Truth:
    """Remembers everything."""

    def __init__(self) -> None:
        self.wires: dict[int, WireTruth] = defaultdict(WireTruth)
        self.sequenced: list[tuple[str, int, set[int]]] = []
        self.runs: dict[tuple[str, str], int] = defaultdict(int)
        """How many spiked trades of a market came one after another, the last time that any came."""
        self._like: dict[tuple[str, str], tuple[bool, int]] = defaultdict(lambda: (False, 0))
        """Whether a market's last trade was spiked, and how many came one after another that were or weren't."""
        self._spiked: dict[tuple[str, str], bool] = defaultdict(bool)
        """Whether the price that a market's trades confirmed last is a spiked one."""
        self._heard_ns: dict[tuple[str, str], list[int]] = defaultdict(list)
        """When trades of a market came, spikes left out; of those that came late, when they were made."""
        self._by_id: dict[tuple[str, int], Made] = {}
        self._told: dict[tuple[str, str, str], list[tuple[int, Made]]] = defaultdict(list)
        self._history: dict[tuple[str, str], tuple[list[int], list[str]]] = defaultdict(lambda: ([], []))

    def made(self, exchange: str, asset: str, true: Trade, told: Trade, at_ns: int) -> None:
        made = Made(exchange, asset, true.id, true.price, told.price, at_ns, told.time_ns)
        self._by_id[exchange, true.id] = made
        self._told[exchange, asset, told.price].append((told.time_ns, made))
        if told is not true:
            self._told[exchange, asset, true.price].append((true.time_ns, made))
        times, prices = self._history[exchange, asset]
        times.append(at_ns)
        prices.append(true.price)

    def heard(self, exchange: str, wire: int, frame: bytes, now_ns: int, wall_ns: int) -> None:
        there, whole = self.wires[wire], _is_json(frame)
        if whole and (number := _NUMBER.search(frame)):
            self._count(there, int(number[1]))
        for word in _IDS.findall(frame):
            made = self._by_id.get((exchange, int(word)))
            if made is None:
                continue
            made.seen.append((now_ns, wire))
            if not whole:
                there.damaged[made.asset].append((now_ns, made))
                continue
            newest = there.newest.get(made.asset)
            if newest is None or made.number > newest.number:
                there.newest[made.asset] = made
                if made.told == made.price:
                    late_ns = max(wall_ns - made.time_ns, 0)
                    insort(self._heard_ns[exchange, made.asset], now_ns - (late_ns if late_ns > BACKFILL_NS else 0))
                self._follow_spike(made)

    def _follow_spike(self, made: Made) -> None:
        market, spiked = (made.exchange, made.asset), made.told != made.price
        before, count = self._like[market]
        count = count + 1 if spiked == before else 1
        self._like[market] = spiked, count
        made.usual = self._spiked[market]
        if count > CONFIRMATIONS:
            self._spiked[market] = spiked
        if spiked:
            self.runs[market] = count

    def find(self, exchange: str, asset: str, price: str, time_ns: int) -> list[Made]:
        """The trades that this may be."""
        there = self._told.get((exchange, asset, price), ())
        return [made for at_ns, made in there if any(at_ns - at_ns % each == time_ns for each in RESOLUTIONS)]

    def heard_between(self, exchange: str, asset: str, since_ns: int, until_ns: int) -> bool:
        """Whether a market told a true price at or after the one and before the other."""
        times = self._heard_ns[exchange, asset]
        return bisect_left(times, since_ns) < bisect_left(times, until_ns)

    def were_last(self, exchange: str, asset: str, since_ns: int, until_ns: int) -> list[str]:
        """The prices that were a market's last at some moment between the two."""
        times, prices = self._history[exchange, asset]
        first = max(bisect_right(times, since_ns) - 1, 0)
        return prices[first : bisect_right(times, until_ns)]

    def _count(self, there: WireTruth, number: int) -> None:
        if there.last is not None and number > there.last + 1:
            there.missing.update(range(there.last + 1, number))
        there.missing.discard(number)
        there.last = number if there.last is None else max(there.last, number)


def _is_json(frame: bytes) -> bool:
    try:
        msgspec.json.decode(frame)
    except msgspec.DecodeError:
        return False
    return True
