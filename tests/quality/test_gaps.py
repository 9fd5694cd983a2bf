"""Ranges of sequence numbers: subtracting them equals doing it number by number."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from quality.gaps import subtract

RANGE = st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda it: (it[0], it[0] + it[1]))


@given(RANGE, st.lists(RANGE, max_size=6))
def test_subtract_leaves_just_the_unknown_numbers(whole: tuple[int, int], known: list[tuple[int, int]]) -> None:
    numbers = set(range(whole[0], whole[1] + 1))
    for first, last in known:
        numbers -= set(range(first, last + 1))
    left = subtract(whole, known)
    assert sorted(number for first, last in left for number in range(first, last + 1)) == sorted(numbers)
    assert all(before[1] + 1 < after[0] for before, after in pairwise(left))
