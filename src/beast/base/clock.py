"""Time is passed in, so that tests own it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where a component reads the time. Both readings are whole nanoseconds."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC: for durations and deadlines; comparable with every `received_ns`."""

    def wall_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC."""


class SystemClock:
    """The machine's clocks: the functions themselves, for every frame of an exchange asks both."""

    monotonic_ns = staticmethod(time.monotonic_ns)
    wall_ns = staticmethod(time.time_ns)


class ManualClock:
    """A clock that moves only when told to.

    Args:
        wall_ns: Where the wall clock starts, in ns since 1970-01-01 UTC.
        monotonic_ns: Where the monotonic clock starts.
    """

    def __init__(self, wall_ns: int = 1_776_000_000_000_000_000, monotonic_ns: int = 1_000_000_000_000) -> None:
        self._wall_ns = wall_ns
        self._monotonic_ns = monotonic_ns

    def monotonic_ns(self) -> int:
        """See Clock."""
        return self._monotonic_ns

    def wall_ns(self) -> int:
        """See Clock."""
        return self._wall_ns

    def advance(self, seconds: float = 0, *, ms: float = 0, ns: int = 0) -> None:
        """Moves both clocks forward by the sum of the three."""
        step = round(seconds * 1e9) + round(ms * 1e6) + ns
        if step < 0:
            raise ValueError("a clock moves forward; use set_wall_ns() for a wall clock that was set back")
        self._wall_ns += step
        self._monotonic_ns += step

    def set_wall_ns(self, wall_ns: int) -> None:
        """Sets the wall clock, as an operator or NTP does; the monotonic clock doesn't notice."""
        self._wall_ns = wall_ns
