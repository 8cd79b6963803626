"""Waiting between attempts."""

from random import Random


class Backoff:
    """Exponential backoff with full jitter.

    The n-th delay is drawn evenly from 0 to `first_s` x 2^n, at most `limit_s`: "Full Jitter" in Marc Brooker,
    "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

    Args:
        rng: Where the jitter comes from.
        first_s: Upper bound of the first delay in seconds.
        limit_s: Upper bound of every delay in seconds.
    """

    def __init__(self, rng: Random, *, first_s: float = 1.0, limit_s: float = 60.0) -> None:
        if not 0 < first_s <= limit_s:
            raise ValueError(f"first_s must be above 0 and at most limit_s, not {first_s} and {limit_s}")
        self._rng = rng
        self._first_s = first_s
        self._limit_s = limit_s
        self._bound_s = first_s

    def next_s(self) -> float:
        """How long to wait before the next attempt, in seconds."""
        delay_s = self._rng.uniform(0, self._bound_s)
        self._bound_s = min(self._limit_s, self._bound_s * 2)
        return delay_s

    def reset(self) -> None:
        """The attempt succeeded: the next failure starts small again."""
        self._bound_s = self._first_s
