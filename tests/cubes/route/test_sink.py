"""Conditions put inside sub-queries change no answer; the pairs of `tests/sql/route/sink.sql` say what is read then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from randomderived import random_derived
from sqlcorpus import same

from cubes.route.sink import _ceil_of
from cubes.route.span import micros
from cubes.session import Session

NARROWED = 0.2


def test_many_conditions(asked: Session) -> None:
    """The first seeds, of which a good share must read less, or else the test shows nothing."""
    narrowed = [_both_doors(asked, seed) for seed in range(60)]
    assert sum(narrowed) >= NARROWED * len(narrowed)


@pytest.mark.slow
@settings(max_examples=600)
@given(seed=st.integers(min_value=0, max_value=10**9))
def test_any_condition(asked: Session, seed: int) -> None:
    _both_doors(asked, seed)


def _both_doors(session: Session, seed: int) -> bool:
    """Equal answers; gives whether the range that was read has an end."""
    sql = random_derived(seed)
    routed, exact = session.query(sql), session.query(sql, raw=True)
    same(routed, exact, f"seed {seed}: {sql}")
    return any(end for block in routed.receipt["blocks"] for end in block["range"])


@pytest.mark.parametrize("unit", ["SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"])
def test_the_first_bucket_from_a_moment_on(unit: str) -> None:
    """By walking from microsecond to day over bounds, against truncation in plain words."""
    for at in (
        datetime(2026, 12, 31, 23, 59, 59, 999999, UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
        datetime(1969, 2, 3, 4),
    ):
        for step in (timedelta(0), timedelta(microseconds=1), timedelta(days=1), timedelta(days=45)):
            moment = at.replace(tzinfo=UTC) + step
            found = _first(unit, moment)
            assert _ceil_of(unit)(micros(moment)) == micros(found), (unit, moment)


def _first(unit: str, at: datetime) -> datetime:
    """The first beginning of a unit at a moment or after it, by trying."""
    fine = {"SECOND": timedelta(seconds=1), "MINUTE": timedelta(minutes=1), "HOUR": timedelta(hours=1)}
    step = fine.get(unit, timedelta(days=1))
    base = at.replace(microsecond=0)
    base = base if unit == "SECOND" else base.replace(second=0)
    base = base if unit in ("SECOND", "MINUTE") else base.replace(minute=0)
    base = base if unit in fine else base.replace(hour=0)
    while base < at or not _begins(unit, base):
        base += step
    return base


def _begins(unit: str, at: datetime) -> bool:
    if unit == "WEEK":
        return at.weekday() == 0
    months = {"MONTH": range(1, 13), "QUARTER": (1, 4, 7, 10), "YEAR": (1,)}
    return unit not in months or (at.day == 1 and at.month in months[unit])
