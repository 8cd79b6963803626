"""How often an exchange may be asked, on a clock that moves when told to."""

import pytest

from beast.base.clock import ManualClock
from beast.feeds.rest.limiter import Limiter


@pytest.mark.parametrize(("per_second", "burst"), [(0.5, 1), (1.0, 1), (4.0, 4), (20.0, 20)])
def test_a_second_holds_its_tokens_and_no_more(per_second: float, burst: int) -> None:
    clock = ManualClock()
    limiter = Limiter(clock)
    for _ in range(2):
        for _ in range(burst):
            assert limiter.delay_ns(per_second) == 0
            limiter.take(per_second)
        assert limiter.delay_ns(per_second) == pytest.approx(1e9 / per_second, abs=2)
        clock.advance(1e3)
    taken, end_ns = 0, clock.monotonic_ns() + 10 * 10**9
    while clock.monotonic_ns() < end_ns:
        if limiter.delay_ns(per_second) == 0:
            limiter.take(per_second)
            taken += 1
        clock.advance(ms=1)
    assert taken <= 10 * per_second + burst
    assert taken >= 10 * per_second - 1


def test_a_pause_closes_it_whatever_it_holds() -> None:
    clock = ManualClock()
    limiter = Limiter(clock)
    limiter.pause(7 * 10**9)
    limiter.pause(10**9)
    assert limiter.delay_ns(10) == 7 * 10**9
    clock.advance(7)
    assert limiter.delay_ns(10) == 0
