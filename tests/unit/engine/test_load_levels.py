"""Levels, figures and limits of a stress test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beast._fast import LOAD_BUCKETS_NS, LOAD_WINDOW_MAX
from beast.engine.load import LADDER, SOCKETS, Figures, Level, Limits, closed_level


def figures(*latencies_ns: int, **counted: object) -> Figures:
    """Answers that took so long, and what else was counted."""
    latency = [0] * len(LOAD_BUCKETS_NS)
    for ns in latencies_ns:
        latency[max(i for i, low in enumerate(LOAD_BUCKETS_NS) if low <= ns)] += 1
    known: dict[str, object] = {
        "sent": len(latencies_ns),
        "answered": len(latencies_ns),
        "elapsed_ns": 1_000_000_000,
        "worst_ns": max(latencies_ns, default=0),
        "latency": tuple(latency),
    }
    return Figures(**{**known, **counted})  # type: ignore[arg-type]


@given(st.integers(1, 100_000), st.integers(0, LOAD_WINDOW_MAX))
def test_a_level_holds_what_it_should(in_flight: int, window: int) -> None:
    level = closed_level(in_flight, window=window)
    assert level.in_flight == in_flight
    assert level.sockets <= in_flight <= level.sockets * (window or LOAD_WINDOW_MAX)


def test_the_ladder_takes_few_sockets() -> None:
    assert [closed_level(each).sockets for each in LADDER[:3]] == [30, 90, 300]
    assert all(SOCKETS - 6 <= closed_level(each).sockets <= 329 for each in LADDER[2:])
    assert closed_level(512, window=64) == Level(sockets=8, in_flight=512)
    assert closed_level(512, sockets=512).sockets == 512


@pytest.mark.parametrize(
    ("in_flight", "given"), [(300, {"sockets": 301}), (300, {"sockets": 4}), (300, {"sockets": 9, "window": 9})]
)
def test_a_level_that_can_not_be(in_flight: int, given: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="sockets"):
        closed_level(in_flight, **given)


@given(st.lists(st.integers(1, 10**10), min_size=1, max_size=50), st.floats(0.01, 1))
def test_a_percentile_is_never_below_the_true_one(latencies: list[int], share: float) -> None:
    wanted = next(ns for rank, ns in enumerate(sorted(latencies), 1) if rank >= share * len(latencies))
    got = figures(*latencies).percentile_us(share) * 1e3
    assert wanted <= got * 1.000001
    assert got <= wanted * (1 + 1 / 16) + 1


def test_figures_of_nothing_are_zero() -> None:
    assert Figures().percentile_us(0.99) == Figures().per_second == 0
    assert figures(1000, 2000).row()["per_second"] == 2


@pytest.mark.parametrize(
    ("counted", "limits", "reasons"),
    [
        ({}, {}, []),
        ({"answered": 0}, {}, ["no request was answered"]),
        ({"wrong": {"STALE": 2}}, {"max_loss": 100.0}, ["2 wrong: a stale price"]),
        ({"sent": 100, "lost": 1}, {}, ["1 lost, of 100"]),
        ({"sent": 100, "lost": 1}, {"max_loss": 1.0}, []),
        ({"sent": 98, "unsent": 2}, {"max_loss": 1.0}, ["0 lost, 2 could not be sent in time, of 100"]),
        ({"sent": 9, "refused": {"stale": 2}}, {"max_refused": 10.0}, ["refused: 2 stale, of 9"]),
        ({}, {"max_p50_us": 999.0}, ["p50 is 1000 µs, more than 999"]),
        ({}, {"max_p99_us": 1000.0, "max_p999_us": 1.0}, ["p999 is 1000 µs, more than 1"]),
        ({}, {"min_rate": 3.5}, ["3 answers a second, fewer than 3.5"]),
    ],
)
def test_limits(counted: dict[str, object], limits: dict[str, float], reasons: list[str]) -> None:
    found = figures(1_000_000, 1_000_000, 1_000_000, **counted)
    assert list(Limits(**limits).broken_by(found)) == reasons
