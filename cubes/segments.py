"""Time segments of a cube's table: which buckets, days and partitions belong together, in Python and in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from cubes.model import Cube
from cubes.stored import PROPERTY, to_text
from lake import tables
from lake.times import GRAINS

if TYPE_CHECKING:
    from lake.tables import TableRef

# Engines cut integer division towards zero: this many microseconds (4,000,000 days, a multiple of every grain) move
# all times of the calendar to one side of it, so that a bucket starts before its rows before 1970 too. Weeks have
# their own, a multiple of seven days.
_SHIFT_US: Final = 4_000_000 * 86_400_000_000
_SHIFT_WEEKS_US: Final = 571_429 * 7 * 86_400_000_000
_MEANINGS: Final = {
    "count": "rows whose {} is not null",
    "sum": "sum of {}",
    "min": "least {}",
    "max": "greatest {}",
    "weighted": "sum of {} times interval_s",
    "weight": "seconds for which {} stands",
    "squares": "sum of squares of {}; where fractions stand beside, of their whole parts",
    "fractions": "sum of what lies after the point in squares of {}",
    "last": "latest {}; the greatest of those of the same time",
    "last_at": "time of the latest {}, microseconds since 1970",
    "where": "rows of measure {}",
}


def table_of(cube: Cube) -> TableRef:
    """The Delta table that holds the cube's partial cells."""
    states = [(state.name, state.type, _MEANINGS[state.function].format(state.column)) for state in cube.states]
    made = tables.cube(cube.name, cube.digest, cube.dimensions, states)
    return replace(made, properties=((PROPERTY, to_text(cube)),))


def bucket_us_sql(grain: str, micros: str) -> str:
    """Expression for the start of the bucket, in microseconds since 1970, that holds a time given likewise."""
    found = GRAINS[grain]
    if found.months:
        return f"epoch_us(date_trunc('month', make_timestamp({micros})))"
    shift = (_SHIFT_US if found.within_day else _SHIFT_WEEKS_US) - found.origin_s * 1_000_000
    length = found.seconds * 1_000_000
    return f"(({micros} + {shift}) // {length} * {length} - {shift})"


def segment_sql(grain: str, bucket: str) -> str:
    """Expression for the segment (partition value) of a bucket start given as TIMESTAMPTZ in a UTC session."""
    return f"strftime({bucket}, '{GRAINS[grain].segment}')"


def segment_range(grain: str, segment: str) -> tuple[datetime, datetime]:
    """First moment of a segment's buckets and the first one after them, UTC; a week lies where it begins.

    >>> segment_range("1h", "2026-12")[1].isoformat()
    '2027-01-01T00:00:00+00:00'
    >>> [moment.strftime("%d %b") for moment in segment_range("1w", "2026")]
    ['05 Jan', '04 Jan']
    """
    found = GRAINS[grain]
    start = datetime.strptime(segment, found.segment).replace(tzinfo=UTC)
    # Longer than the longest segment of the grain, shorter than two: lands in the next one.
    stride = {"%Y-%m-%d": 1, "%Y-%m": 31, "%Y": 366}[found.segment]
    after = datetime.strptime((start + timedelta(days=stride)).strftime(found.segment), found.segment)
    return found.ceil(start), found.ceil(after.replace(tzinfo=UTC))


def touched_segments(grains: Sequence[str], days: Iterable[date]) -> set[tuple[str, str]]:
    """The (grain, segment) pairs that hold the buckets of these days."""
    starts = [datetime.combine(day, time(), tzinfo=UTC) for day in days]
    return {(grain, GRAINS[grain].segment_of(start)) for grain in grains for start in starts}


def bucket_starts(grain: str, days: Iterable[date]) -> str:
    """List of DATE literals: the days on which the buckets that hold these days begin, for grains of whole days."""
    starts = {GRAINS[grain].floor(datetime.combine(day, time(), tzinfo=UTC)).date() for day in days}
    return ", ".join(f"DATE '{start}'" for start in sorted(starts))
