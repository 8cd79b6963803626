"""How often an exchange may be asked."""

from beast.base.clock import Clock

_SECOND_NS = 10**9


class Limiter:
    """A token bucket that holds the tokens of one second, but at least one, and can be closed for a while.

    The rate is given with each call: a row may change. Times are in ns.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent_ns = 0
        """When the bucket will be full again, if nobody takes: the generic cell rate's way to count tokens."""
        self._closed_ns = 0

    def delay_ns(self, per_second: float) -> int:
        """How long until a token can be taken; 0: now."""
        now_ns = self._clock.monotonic_ns()
        room_ns = max(_SECOND_NS, int(_SECOND_NS / per_second))
        token_ns = int(_SECOND_NS / per_second)
        return max(self._closed_ns - now_ns, self._spent_ns + token_ns - room_ns - now_ns, 0)

    def take(self, per_second: float) -> None:
        """Takes a token."""
        self._spent_ns = max(self._spent_ns, self._clock.monotonic_ns()) + int(_SECOND_NS / per_second)

    def pause(self, pause_ns: int) -> None:
        """The exchange said that it was too much: nothing for so long."""
        self._closed_ns = max(self._closed_ns, self._clock.monotonic_ns() + pause_ns)
