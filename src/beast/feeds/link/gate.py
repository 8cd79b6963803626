"""The pace at which connections to one exchange are attempted."""

from beast.base.clock import Clock


class Gate:
    """Spaces the connection attempts of one exchange.

    Args:
        interval_ms: The least time between two attempts; it may change.
        clock: The time.
    """

    def __init__(self, interval_ms: int, clock: Clock) -> None:
        self.interval_ms = interval_ms
        self._clock = clock
        self._next_ns = 0

    def take(self) -> float:
        """Reserves the next attempt; returns how long to wait for it, in seconds."""
        wait_s = self.wait_s()
        self._next_ns = max(self._clock.monotonic_ns(), self._next_ns) + self.interval_ms * 10**6
        return wait_s

    def wait_s(self) -> float:
        """How long the next attempt would have to wait, in seconds."""
        return max(self._next_ns - self._clock.monotonic_ns(), 0) / 1e9
