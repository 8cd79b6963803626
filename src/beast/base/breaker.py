"""A circuit breaker: whoever keeps failing is left alone for a while, then asked once."""

from typing import Final, Literal

from beast.base.clock import Clock

State = Literal["closed", "open", "half-open"]

FAILURES: Final = 3
PAUSE_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0


class Breaker:
    """Closed, open, half-open: Michael Nygard, "Release It!", 2007, chapter 5.

    `failures` calls in a row that fail open it. After a pause one call is let through as a probe; its success closes
    the breaker, its failure doubles the pause. A probe whose outcome is never told is followed by another one.

    Args:
        clock: The time.
        failures: How many in a row open it.
        pause_s: The first pause in seconds.
        pause_max_s: The longest.
    """

    def __init__(
        self, clock: Clock, *, failures: int = FAILURES, pause_s: float = PAUSE_S, pause_max_s: float = PAUSE_MAX_S
    ) -> None:
        self._clock = clock
        self._failures_max = failures
        self._first_ns = int(pause_s * 1e9)
        self._pause_max_ns = int(pause_max_s * 1e9)
        self._failures = 0
        self._pause_ns = 0
        self._until_ns = 0
        self._probing = False

    @property
    def state(self) -> State:
        """What it is now."""
        if not self._pause_ns:
            return "closed"
        return "half-open" if self._probing else "open"

    def admit(self) -> bool:
        """Whether a call may be made now. Whoever is told so says how it went."""
        if not self._pause_ns:
            return True
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._until_ns:
            return False
        self._probing = True
        self._until_ns = now_ns + self._pause_ns
        return True

    def succeeded(self) -> None:
        """A call went well."""
        self._failures = self._pause_ns = 0
        self._probing = False

    def failed(self) -> None:
        """A call failed. Those that began before the breaker opened change nothing any more."""
        self._failures += 1
        if self._pause_ns and not self._probing:
            return
        if self._probing:
            self._pause_ns = min(2 * self._pause_ns, self._pause_max_ns)
        elif self._failures >= self._failures_max:
            self._pause_ns = self._first_ns
        self._probing = False
        self._until_ns = self._clock.monotonic_ns() + self._pause_ns
