"""What can be made to go wrong with an exchange, for a time or until it is cleared.

A kind acts at one of three places: on the trades before they are written (`spike`), on written frames (`malformed`,
`schema`), or on the link (all others). The first two are tables, so a new kind is one function and one entry.
"""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from beast.base.clock import Clock
from beast.base.errors import UsageError
from beast.feeds.simulator.market import SECOND_NS, Instrument, seeded
from beast.feeds.simulator.types import Trade

KINDS: dict[str, dict[str, float | str]] = {
    "silence": {},
    "half_open": {},
    "disconnect": {"code": 0},
    "malformed": {"every": 1},
    "schema": {"member": ""},
    "slow": {"ms": 2000},
    "duplicate": {"every": 2},
    "reorder": {"every": 3, "ms": 700},
    "skew": {"ahead_ms": 30000, "behind_ms": 0},
    "spike": {"factor": 10.0, "symbol": ""},
    "refuse": {},
    "rest": {},
    "too_many": {},
}
"""Every kind with its arguments and their defaults.

silence: nothing is sent, but protocol pings are answered. half_open: nothing at all comes back.
disconnect: every connection ends, at once for code 0, else by a close frame. malformed: one frame in `every` is cut.
schema: the members that hold prices, or `member` alone, have another name from now on.
slow: frames and REST answers come late. duplicate: one frame in `every` comes twice. reorder: one in `every` is so
late that others overtake it. skew: its clock is ahead or behind. spike: prices times `factor`, of one symbol or
of all.
refuse: new WebSocket connections get 503. rest: REST requests get 503. too_many: both get 429.
"""

PRICE_MEMBERS = (b"price", b"px", b"p", b"last")
"""What the dialects whose frames are objects call a trade's price, or a ticker's."""

AGAIN_NS = 300_000_000
"""Behind the first, a frame that comes twice comes again."""
LARGEST_NUMBER = 65535
"""No argument may be larger, nor any below zero."""


class Fault(msgspec.Struct, frozen=True):
    """One fault in force."""

    kind: str
    until_ns: int | None
    """Its end on the monotonic clock; None: until it is cleared."""
    args: dict[str, float | str]

    def number(self, name: str) -> float:
        """A numeric argument."""
        return float(self.args[name])


class FaultRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault as an operator asks for it."""

    exchange: str
    kind: str
    seconds: float | None = None
    args: dict[str, float | str] = {}


class Faults:
    """The faults of one exchange; a kind is in force once, the newest wins."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._set: dict[str, Fault] = {}

    def set(self, kind: str, seconds: float | None, args: dict[str, float | str]) -> Fault:
        """Put a fault in force.

        Raises:
            UsageError: unknown kind or argument, or a value of the wrong type.
        """
        kind = kind.replace("-", "_")
        if kind not in KINDS:
            raise UsageError(f"unknown kind {kind!r}", where="fault", todo=f"use one of {', '.join(KINDS)}")
        for name, value in args.items():
            if name not in KINDS[kind]:
                known = ", ".join(KINDS[kind]) or "none"
                raise UsageError(f"unknown argument {name!r}", where=f"fault {kind}", todo=f"it takes {known}")
            if isinstance(value, str) != isinstance(KINDS[kind][name], str):
                raise UsageError(f"{name}={value!r} has the wrong type", where=f"fault {kind}")
            if not isinstance(value, str) and not 0 <= value <= LARGEST_NUMBER:
                raise UsageError(f"{name}={value} is not between 0 and {LARGEST_NUMBER}", where=f"fault {kind}")
        if seconds is not None and not 0 <= seconds <= 10**9:
            raise UsageError(f"seconds={seconds} is not between 0 and 1e9", where=f"fault {kind}")
        until_ns = None if seconds is None else self._clock.monotonic_ns() + int(seconds * SECOND_NS)
        self._set[kind] = Fault(kind, until_ns, KINDS[kind] | args)
        return self._set[kind]

    def clear(self, kind: str | None = None) -> None:
        """End one kind, or all."""
        if kind is None:
            self._set.clear()
        else:
            self._set.pop(kind.replace("-", "_"), None)

    def get(self, kind: str) -> Fault | None:
        """The fault of that kind, if it is in force."""
        fault = self._set.get(kind)
        if fault is not None and fault.until_ns is not None and fault.until_ns <= self._clock.monotonic_ns():
            del self._set[kind]
            return None
        return fault

    def active(self) -> list[Fault]:
        """All that are in force."""
        return [fault for kind in list(self._set) if (fault := self.get(kind))]

    def late_ns(self, number: int) -> list[int]:
        """When each copy of a frame is to be sent, in ns from now; a fault of the order makes it late."""
        reorder, duplicate = self.get("reorder"), self.get("duplicate")
        astray = reorder is not None and number % max(1, int(reorder.number("every"))) == 0
        late = [int(reorder.number("ms") * 1_000_000) if reorder is not None and astray else 0]
        if duplicate is not None and number % max(1, int(duplicate.number("every"))) == 0:
            late.append(late[0] + AGAIN_NS)
        return late

    def on_trade(self, trade: Trade, instrument: Instrument) -> Trade:
        """The trade as the faults in force let it be told."""
        if self._set:
            for kind, change in TRADE_FAULTS.items():
                if fault := self.get(kind):
                    trade = change(fault, trade, instrument)
        return trade

    def on_frame(self, frame: bytes, number: int) -> bytes:
        """The frame as the faults in force let it be sent; `number` counts a connection's frames."""
        if self._set:
            for kind, change in FRAME_FAULTS.items():
                if fault := self.get(kind):
                    frame = change(fault, frame, number)
        return frame


def _spike(fault: Fault, trade: Trade, instrument: Instrument) -> Trade:
    if fault.args["symbol"] not in ("", trade.symbol):
        return trade
    return msgspec.structs.replace(trade, price=instrument.text(float(trade.price) * fault.number("factor")))


def _malformed(fault: Fault, frame: bytes, number: int) -> bytes:
    return frame[: len(frame) * 2 // 3] if number % max(1, int(fault.number("every"))) == 0 else frame


def _schema(fault: Fault, frame: bytes, _number: int) -> bytes:
    named = str(fault.args["member"]).encode()
    for member in (named,) if named else PRICE_MEMBERS:
        frame = frame.replace(b'"%b":' % member, b'"%b_v2":' % member)
    return frame


def _skew(fault: Fault, trade: Trade, _instrument: Instrument) -> Trade:
    return msgspec.structs.replace(trade, time_ns=trade.time_ns + skew_ns(fault))


def skew_ns(fault: Fault) -> int:
    """By how much a clock is ahead."""
    return int((fault.number("ahead_ms") - fault.number("behind_ms")) * 1_000_000)


TRADE_FAULTS: dict[str, Callable[[Fault, Trade, Instrument], Trade]] = {"spike": _spike, "skew": _skew}
FRAME_FAULTS: dict[str, Callable[[Fault, bytes, int], bytes]] = {
    "malformed": _malformed,
    "schema": _schema,
}


def parse(flag: str) -> FaultRequest:
    """A fault from a command line: `exchange:kind[:seconds[:name=value...]]`.

    Raises:
        UsageError: the text has another form.
    """
    exchange, _, rest = flag.partition(":")
    kind, _, rest = rest.partition(":")
    seconds, _, rest = rest.partition(":")
    try:
        pairs = [pair.split("=", 1) for pair in rest.split(":") if pair]
        args = {name: _number_or_text(value) for name, value in pairs}
        parsed = FaultRequest(exchange, kind, float(seconds) if seconds else None, args)
    except ValueError:
        parsed = FaultRequest("", "")
    if not (parsed.exchange and parsed.kind):
        raise UsageError(
            f"{flag!r} is no fault", todo="write EXCHANGE:KIND[:SECONDS[:NAME=VALUE]], as coinbase:silence:30"
        )
    return parsed


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def schedule(seed: int, exchanges: Sequence[str], mean_s: float) -> Iterator[tuple[float, FaultRequest]]:
    """An endless plan of short faults that the seed alone decides: (seconds since the start, fault)."""
    draw = seeded(seed, "faults")
    at_s = 0.0
    while True:
        at_s += draw.expovariate(1.0 / mean_s)
        yield at_s, FaultRequest(draw.choice(exchanges), draw.choice(list(KINDS)), draw.uniform(0.0, 30.0))
