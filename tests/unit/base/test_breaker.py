"""The circuit breaker, on a clock that moves when told to."""

import pytest

from beast.base.breaker import Breaker
from beast.base.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> Breaker:
    return Breaker(clock, failures=3, pause_s=1, pause_max_s=5)


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        assert breaker.admit()
        breaker.failed()


def test_failures_in_a_row_open_it(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    fail(breaker, 2)
    assert (breaker.state, breaker.admit()) == ("closed", True)
    breaker.failed()
    assert (breaker.state, breaker.admit()) == ("open", False)


def test_one_probe_goes_through_after_a_pause(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker, 3)
    clock.advance(0.999)
    assert not breaker.admit()
    clock.advance(0.001)
    assert [breaker.admit() for _ in range(3)] == [True, False, False]
    assert breaker.state == "half-open"
    breaker.succeeded()
    assert (breaker.state, breaker.admit(), breaker.admit()) == ("closed", True, True)


def test_a_probe_that_fails_doubles_the_pause_up_to_its_limit(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker, 3)
    for pause_s in (1, 2, 4, 5, 5):
        clock.advance(pause_s - 0.001)
        assert not breaker.admit()
        clock.advance(0.001)
        fail(breaker, 1)
    breaker.succeeded()
    fail(breaker, 3)
    clock.advance(1)
    assert breaker.admit()


def test_a_probe_that_never_tells_is_followed_by_another(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker, 3)
    clock.advance(1)
    assert breaker.admit()
    assert not breaker.admit()
    clock.advance(1)
    assert breaker.admit()


def test_calls_that_began_before_it_opened_lengthen_nothing(breaker: Breaker, clock: ManualClock) -> None:
    fail(breaker, 3)
    for _ in range(10):
        breaker.failed()
    clock.advance(1)
    assert breaker.admit()
