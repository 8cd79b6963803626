from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from beast.engine.histogram import Histogram, cumulative, percentile_ns, since

durations = st.lists(st.integers(0, 2**45), min_size=1, max_size=200)


def histogram(values: list[int]) -> Histogram:
    made = Histogram()
    for value in values:
        made.record(value)
    return made


@given(durations, st.floats(0.001, 1))
def test_a_percentile_is_at_most_an_eighth_too_long(values: list[int], share: float) -> None:
    told = percentile_ns(histogram(values).buckets(), share)
    ordered = sorted(values)
    true = next(value for count, value in enumerate(ordered, 1) if count >= share * len(ordered))
    assert told is not None
    assert true <= told <= true + true / 8


def test_an_empty_histogram_has_no_percentile() -> None:
    assert percentile_ns([], 0.5) is None
    assert percentile_ns([(8, 0)], 0.5) is None
    assert percentile_ns([(8, 0), (16, 1), (32, 0)], 1) == 16


@given(durations)
def test_powers_of_two_are_counted_exactly(values: list[int]) -> None:
    bounds = [1 << power for power in range(46)]
    ordered = sorted(values)
    assert cumulative(histogram(values).buckets(), bounds) == [bisect_left(ordered, bound) for bound in bounds]


@given(durations, durations)
def test_a_base_line_leaves_what_came_after_it(before: list[int], after: list[int]) -> None:
    made = histogram(before)
    base = made.buckets()
    for value in after:
        made.record(value)
    left = [(bound, count) for bound, count in since(made.buckets(), base) if count]
    assert left == list(histogram(after).buckets())


def test_a_clock_that_went_back_counts_as_no_time() -> None:
    assert histogram([-5]).buckets() == [(0, 1)]
