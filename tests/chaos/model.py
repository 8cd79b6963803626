"""What clients may be told, judged by what really happened. Knows the exchanges, and nothing of how Beast works."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from tests.chaos.house import TTL_NS
from tests.chaos.truth import BACKFILL_NS, CONFIRMATIONS, Made
from tests.chaos.wire import Wire
from tests.chaos.world import QUOTES, World

MS: Final = 10**6
SWEEP_NS: Final = 600 * 10**6
"""So long a consensus may rest on what is true no more."""
REST_NS: Final = 3 * 10**9
"""So long an answer of REST may have been under way."""
SKEW_NS: Final = 90 * 10**9
"""So long after a clock was wrong the order of trades may be, where nothing but their times tells it."""
NUMBERED: Final = frozenset({"coinbase", "kraken"})
"""Where the order of trades, or of frames, is known whatever a clock says."""
_ANSWER: Final = re.compile(
    rb'\{"asset":"(\w+)","price":([0-9.]+),"currency":"(\w+)","exchange":"(\w+)","source":"\w+-(\w+)","timestamp":"'
    rb'([^"]+)"(.*?),"age_ms": *(\d+),"state":"(\w+)","tier":(\d),"node":"chaos"\}'
)
_USED: Final = re.compile(rb'"sources_used":\[([^\]]*)\]')
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Asked(NamedTuple):
    """A question."""

    asset: str
    exchange: str | None
    max_age_ms: int | None
    allow_stale: bool

    @property
    def where(self) -> tuple[str, str | None]:
        """What is asked for."""
        return self.asset, self.exchange

    @property
    def more(self) -> dict[str, Any]:
        """What else is said."""
        return {"max_age_ms": self.max_age_ms, "allow_stale": self.allow_stale}


class Told(NamedTuple):
    """An answer with a price."""

    asset: str
    price: str
    exchange: str
    way: str
    time_ns: int
    age_ns: int
    state: str


class LieError(AssertionError):
    """A client was told what is not so."""


class Model:
    """Judges answers.

    Args:
        world: What is true.
        patience_ns: Of each exchange's connection.
    """

    def __init__(self, world: World, patience_ns: dict[str, int]) -> None:
        self._world = world
        self._patience_ns = patience_ns
        self._newest: dict[tuple[str, str], tuple[int, int]] = {}
        """Number and time of the newest trade told of a market."""
        self.answers = 0
        self.refusals = 0
        self.states: dict[str, int] = {}

    def judge(self, asked: Asked, body: bytes) -> None:
        """Raises LieError."""
        match = _ANSWER.fullmatch(body)
        if match is None:
            self._judge_refusal(body)
            return
        asset, price, currency, exchange, way, time, more, age, state, _ = (part.decode() for part in match.groups())
        told = Told(asset, price, exchange, way, _ns(time), int(age) * 10**6, state)
        self.answers += 1
        kind = f"{state} {way}"
        self.states[kind] = self.states.get(kind, 0) + 1
        _hold(asset == asked.asset and asked.exchange in {None, exchange}, "what was asked for")
        _hold(asked.max_age_ms is None or int(age) <= asked.max_age_ms, "not older than asked for")
        _hold(state != "stale" or asked.allow_stale, "stale only for whom it will do")
        _hold(exchange == "consensus" or currency == QUOTES[exchange], "the market's own currency")
        if exchange == "consensus":
            self._judge_consensus(told, more.encode())
        elif way == "rest":
            self._judge_rest(told)
        else:
            self._judge_trade(told)

    def _judge_refusal(self, body: bytes) -> None:
        self.refusals += 1
        _hold(body.startswith((b'{"error":"stale"', b'{"error":"unavailable"')), "a price, stale or unavailable")

    def _judge_trade(self, told: Told) -> None:
        now_ns = self._world.clock.monotonic_ns()
        made = self._find(told, now_ns)
        wire = self._world.wire(told.exchange)
        if told.state in {"live", "quiet"}:
            _hold(wire is not None and any(number == wire.number for _, number in made.seen), "its connection is up")
            assert wire is not None
            silent_ns = now_ns - wire.heard_ns
            _hold(silent_ns <= self._patience_ns[told.exchange], "its connection was heard within its patience")
        if told.state == "live":
            _hold(told.age_ns <= TTL_NS, "live is young")
            old_ns = self._world.clock.wall_ns() - told.time_ns
            _hold(old_ns - told.age_ns <= BACKFILL_NS + MS or old_ns <= TTL_NS, "a late trade is young by its own time")
        if told.state == "quiet":
            there = self._world.truth.wires[wire.number if wire else 0]
            newest = there.last_since(told.asset, now_ns - told.age_ns) or made
            # Of one moment, in the exchange's own times, any may be the last.
            last = newest.number <= made.number or newest.time_ns // MS == told.time_ns // MS
            _hold(last, "quiet is the last that came")
        self._in_order(told, made.number)

    def _find(self, told: Told, now_ns: int) -> Made:
        """The trade that this is: received when the answer says, and believable."""
        candidates = self._world.truth.find(told.exchange, told.asset, told.price, told.time_ns)
        _hold(bool(candidates), "a trade that the exchange made, to the digit")
        received = [each for each in candidates if any(_is_age(told, now_ns - seen) for seen, _ in each.seen)]
        _hold(bool(received), "a trade that was received when the answer says")
        made = received[-1]
        if made.told != made.price and told.price == made.told:
            run = self._world.truth.runs[told.exchange, told.asset]
            # Two that spiked together when it came confirm each other, then and for as long as it is told.
            came_ns = now_ns - told.age_ns
            together = sum(_is_within(when, came_ns - TTL_NS, came_ns) for when in self._world.spikes.values())
            known = run > CONFIRMATIONS or made.usual or together > 1 or self._is_first(told, made)
            _hold(known, "a jump waits until it is confirmed")
        return made

    def _is_first(self, told: Told, made: Made) -> bool:
        """Whether it was no jump for anybody: there was no price before, and no other market has one."""
        came_ns = made.seen[0][0]
        truth, quote = self._world.truth, QUOTES[told.exchange]
        others = [name for name in QUOTES if name != told.exchange and QUOTES[name] == quote]
        contradicted = any(truth.heard_between(name, told.asset, came_ns - TTL_NS, came_ns) for name in others)
        return not truth.heard_between(told.exchange, told.asset, 0, came_ns) and not contradicted

    def _judge_rest(self, told: Told) -> None:
        received_ns = self._world.clock.monotonic_ns() - told.age_ns
        last = self._world.truth.were_last(told.exchange, told.asset, received_ns - REST_NS, received_ns)
        _hold(told.price in last, "what REST could tell then")
        _hold(told.state != "quiet", "nothing proves REST")
        _hold(told.state != "live" or told.age_ns <= TTL_NS, "live is young")

    def _judge_consensus(self, told: Told, more: bytes) -> None:
        now_ns = self._world.clock.monotonic_ns()
        used = _USED.search(more)
        _hold(used is not None and told.state == "live", "a consensus is live and says who made it")
        assert used is not None
        names = used[1].decode().replace('"', "").split(",")
        _hold(len(names) >= 2, "a quorum")
        wild = [name for name in names if now_ns - self._world.spiked_ns[name] < TTL_NS + SWEEP_NS]
        for name in names:
            made = self._world.truth.find(name, told.asset, told.price, told.time_ns)
            if made and (2 * len(wild) >= len(names) or any(told.price == each.price for each in made)):
                break
            last = self._world.truth.were_last(name, told.asset, now_ns - TTL_NS - REST_NS, now_ns)
            if told.price in last:
                break
        else:
            _hold(2 * len(wild) >= len(names), "an honest source's own price")
        _hold(told.age_ns <= TTL_NS + SWEEP_NS, "a consensus is young")

    def _in_order(self, told: Told, number: int) -> None:
        before, time_ns = self._newest.get((told.exchange, told.asset), (0, 0))
        # Of one moment, in the exchange's own times, any may be the last.
        older = number < before and told.time_ns < time_ns
        _hold(not older or self._is_skewed(told.exchange), "never older than what was told before")
        self._newest[told.exchange, told.asset] = max((number, told.time_ns), (before, time_ns))

    def _is_skewed(self, exchange: str) -> bool:
        """Whether nobody can be expected to know the order: a clock is wrong that no number corrects."""
        return exchange not in NUMBERED and self._world.clock.monotonic_ns() - self._world.skewed_ns[exchange] < SKEW_NS


def judge_gaps(world: World, lost: dict[str, list[Wire]], gaps: list[tuple[str, int | None, int | None, str]]) -> None:
    """Every outage and every number that never came has been taken down."""
    for name, wires in lost.items():
        noted = sum(exchange == name and cause.startswith("connection lost") for exchange, _, _, cause in gaps)
        _hold(noted >= len(wires), f"{name}: {len(wires)} connections were lost, {noted} outages noted")
        for wire in world.wires[name]:
            for number in world.truth.wires[wire.number].missing:
                known = any(
                    exchange == name and first is not None and last is not None and first <= number <= last
                    for exchange, first, last, _ in gaps
                )
                _hold(known, f"{name}: frame {number} never came, and no gap says so")


def _is_within(moments: Sequence[int], first: int, last: int) -> bool:
    """Whether one of these, which are in order, is from `first` to `last`."""
    return bisect_left(moments, first) < bisect_right(moments, last + MS)


def _is_age(told: Told, age_ns: int) -> bool:
    return told.age_ns // 10**6 == age_ns // 10**6


def _ns(text: str) -> int:
    micros = (datetime.fromisoformat(text[:26] + "+00:00") - _EPOCH) // timedelta(microseconds=1)
    return micros * 1000 + int(text[26:-1] or "0")


def _hold(so: bool, rule: str) -> None:  # noqa: FBT001 - what has to be so
    if not so:
        raise LieError(rule)
