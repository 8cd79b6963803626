"""Ranges are a set of numbers, whatever is added and removed in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from beast.usage.ranges import Ranges

SPAN = st.tuples(st.integers(1, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(st.tuples(st.booleans(), SPAN), max_size=40))
def test_ranges_are_a_set(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    ranges, model = Ranges(), set[int]()
    for adds, (first, last) in steps:
        numbers = set(range(first, last + 1))
        if adds:
            ranges.add(first, last)
            model |= numbers
        else:
            ranges.remove(first, last)
            model -= numbers
        assert {number for begin, end in ranges for number in range(begin, end + 1)} == model
        assert len(ranges) == len(model)
        assert bool(ranges) == bool(model)
        pairs = list(ranges)
        assert all(pairs[at][1] + 1 < pairs[at + 1][0] for at in range(len(pairs) - 1))


def test_they_are_written_as_postgresql_does() -> None:
    ranges = Ranges()
    assert str(ranges) == "{}"
    ranges.add(1, 4)
    ranges.add(7, 7)
    assert str(ranges) == "{[1,5),[7,8)}"
