"""Tilings of ranges: disjoint, whole, and the cheapest, over every grain there is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cubes.route.span import Window
from cubes.route.tile import cover
from lake.times import GRAINS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WEEKDAYS = ("1w", "1w_tue", "1w_wed", "1w_thu", "1w_fri", "1w_sat", "1w_sun")
LENGTHS = {"5s": 5, "15s": 15, "30s": 30, "1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "1d": 86400}
MICROS = st.integers(min_value=-(3 * 10**15), max_value=3 * 10**15)


def is_start(grain: str, us: int) -> bool:
    """Whether a bucket of the grain begins there, by the calendar's own words."""
    at = EPOCH + timedelta(microseconds=us)
    if grain in LENGTHS:
        return us % (LENGTHS[grain] * 10**6) == 0
    if (at.hour, at.minute, at.second, at.microsecond) != (0, 0, 0, 0):
        return False
    return at.day == 1 if grain == "1mo" else at.weekday() == WEEKDAYS.index(grain)


@given(ends=st.tuples(MICROS, MICROS), grains=st.sets(st.sampled_from(sorted(GRAINS)), min_size=1))
def test_cover_is_exact_and_disjoint(ends: tuple[int, int], grains: set[str]) -> None:
    window = Window(*sorted(ends))
    ordered = [grain for grain in reversed(GRAINS) if grain in grains]
    runs, edges = cover(window, ordered)
    pieces = sorted([*(run for _, run in runs), *edges], key=lambda piece: piece.start or 0)
    joints = [piece.start for piece in pieces] + [window.end]
    assert not window.empty or not pieces
    if pieces:
        assert joints[0] == window.start
        assert [piece.end for piece in pieces] == joints[1:]
        assert all(not piece.empty for piece in pieces)
    for grain, run in runs:
        assert run.start is not None
        assert run.end is not None
        assert is_start(grain, run.start)
        assert is_start(grain, run.end)
    # What is left over holds no bucket of any of the grains.
    for edge in edges:
        assert not any(cover(edge, [grain])[0] for grain in ordered)


@given(us=MICROS, grain=st.sampled_from(sorted(GRAINS)))
def test_floor_and_ceil_are_the_nearest_starts(us: int, grain: str) -> None:
    found = GRAINS[grain]
    low, high = found.floor_us(us), found.ceil_us(us)
    assert low <= us <= high
    assert is_start(grain, low)
    assert is_start(grain, high)
    assert high == us if is_start(grain, us) else found.ceil_us(low + 1) == high
    assert found.floor_us(high - 1) == (low if low != us else found.floor_us(us - 1))


@pytest.mark.parametrize("grain", sorted(GRAINS))
def test_open_ranges_keep_their_open_ends(grain: str) -> None:
    start = GRAINS[grain].ceil_us(1)
    assert cover(Window(1, None), [grain]) == ([(grain, Window(start, None))], [Window(1, start)])
    assert cover(Window(None, 0), [grain])[0] == [(grain, Window(None, GRAINS[grain].floor_us(0)))]
    assert cover(Window(), [grain]) == ([(grain, Window())], [])
