"""Time segments of a cube's table: which buckets, days and partitions belong together, in Python and in SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final

from cubes.model import Cube
from lake import tables
from lake.times import GRAINS

if TYPE_CHECKING:
    from lake.tables import TableRef

# Engines cut integer division towards zero: this many microseconds (4,000,000 days, a multiple of every grain) move
# all times of the calendar to one side of it, so that a bucket starts before its rows before 1970 too.
_SHIFT_US: Final = 4_000_000 * 86_400_000_000
_MEANINGS: Final = {
    "count": "rows whose {} is not null",
    "sum": "sum of {}",
    "min": "least {}",
    "max": "greatest {}",
    "weighted": "sum of {} times interval_s",
    "weight": "seconds for which {} stands",
    "where": "rows of measure {}",
}


def table_of(cube: Cube) -> TableRef:
    """The Delta table that holds the cube's partial cells."""
    states = [(state.name, state.type, _MEANINGS[state.function].format(state.column)) for state in cube.states]
    return tables.cube(cube.name, cube.digest, cube.dimensions, states)


def bucket_us_sql(grain: str, micros: str) -> str:
    """Expression for the start of the bucket, in microseconds since 1970, that holds a time given likewise."""
    length = GRAINS[grain].seconds * 1_000_000
    return f"(({micros} + {_SHIFT_US}) // {length} * {length} - {_SHIFT_US})"


def segment_sql(grain: str, bucket: str) -> str:
    """Expression for the segment (partition value) of a bucket start given as TIMESTAMPTZ in a UTC session."""
    return f"strftime({bucket}, '{GRAINS[grain].segment}')"


def segment_range(grain: str, segment: str) -> tuple[datetime, datetime]:
    """First moment of a segment and the first one after it, UTC.

    >>> segment_range("1h", "2026-12")[1].isoformat()
    '2027-01-01T00:00:00+00:00'
    """
    start = datetime.strptime(segment, GRAINS[grain].segment).replace(tzinfo=UTC)
    # Longer than the longest segment of the grain, shorter than two: lands in the next one.
    stride = {"%Y-%m-%d": 1, "%Y-%m": 31, "%Y": 366}[GRAINS[grain].segment]
    after = datetime.strptime((start + timedelta(days=stride)).strftime(GRAINS[grain].segment), GRAINS[grain].segment)
    return start, after.replace(tzinfo=UTC)


def touched_segments(grains: Sequence[str], days: Iterable[date]) -> set[tuple[str, str]]:
    """The (grain, segment) pairs that hold the buckets of these days."""
    starts = [datetime.combine(day, time(), tzinfo=UTC) for day in days]
    return {(grain, GRAINS[grain].segment_of(start)) for grain in grains for start in starts}
