"""Grains, their buckets and segments; everything in UTC.

Grains up to a day are lengths that divide a day. Weeks and months stand side by side above the day: both are made of
days, and neither of the other. A week begins on Monday (`1w`) or, as `1w_sun` and so on, on another day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S: Final = 86_400
_DAY_US: Final = _DAY_S * 10**6
_MONDAYS_S: Final = 4 * _DAY_S  # 1970-01-05 was a Monday
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Grain:
    """A kind of time bucket. `segment` is the strftime pattern that names the partition which holds a bucket.

    `seconds` is its length (of a month: its greatest), by which grains are put in order; buckets begin at multiples of
    it, counted from `origin_s` seconds after 1970, unless `months` says that they are the calendar's. Segments grow
    with the grain, so that a query over a grain's whole retention opens tens of files, not thousands.
    """

    name: str
    seconds: int
    segment: str
    origin_s: int = 0
    months: bool = False

    @property
    def delta(self) -> timedelta:
        """The bucket's length; of a month its greatest."""
        return timedelta(seconds=self.seconds)

    @property
    def within_day(self) -> bool:
        """Whether every bucket lies within one UTC day."""
        return self.seconds <= _DAY_S

    def divides(self, seconds: int) -> bool:
        """Whether buckets of that many seconds, counted from 1970, consist of whole buckets of this grain."""
        return self.within_day and seconds % self.seconds == 0

    def makes(self, coarser: Grain) -> bool:
        """Whether every bucket of the other grain consists of whole buckets of this one."""
        return self.divides(coarser.seconds if coarser.within_day else _DAY_S) and self.seconds < coarser.seconds

    def floor_us(self, us: int) -> int:
        """Start of the bucket that holds a time; both in microseconds since 1970."""
        if self.months:
            at = EPOCH + timedelta(microseconds=us)
            return (datetime(at.year, at.month, 1, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
        origin, length = self.origin_s * 10**6, self.seconds * 10**6
        return (us - origin) // length * length + origin

    def ceil_us(self, us: int) -> int:
        """The first bucket start at or after a time; both in microseconds since 1970."""
        start = self.floor_us(us)
        if start == us:
            return us
        # Into the next bucket, however long this one is.
        return self.floor_us(start + self.seconds * 10**6) if self.months else start + self.seconds * 10**6

    def floor(self, ts: datetime) -> datetime:
        """Start of the bucket that holds `ts`."""
        return EPOCH + timedelta(microseconds=self.floor_us((ts - EPOCH) // timedelta(microseconds=1)))

    def ceil(self, ts: datetime) -> datetime:
        """The first bucket start at or after `ts`."""
        return EPOCH + timedelta(microseconds=self.ceil_us((ts - EPOCH) // timedelta(microseconds=1)))

    def segment_of(self, ts: datetime) -> str:
        """Name of the segment (a partition of the cube's table) that holds the bucket of a time."""
        return self.floor(ts.astimezone(UTC)).strftime(self.segment)


def _week(place: int, day: str) -> Grain:
    name = "1w" if place == 0 else f"1w_{day[:3]}"
    return Grain(name, 7 * _DAY_S, "%Y", origin_s=_MONDAYS_S + place * _DAY_S)


# By the day that they begin on.
WEEKS: Final[dict[str, Grain]] = {day: _week(place, day) for place, day in enumerate(_WEEKDAYS)}
GRAINS: Final[dict[str, Grain]] = {
    grain.name: grain
    for grain in (
        Grain("5s", 5, "%Y-%m-%d"),
        Grain("15s", 15, "%Y-%m-%d"),
        Grain("30s", 30, "%Y-%m-%d"),
        Grain("1m", 60, "%Y-%m-%d"),
        Grain("5m", 300, "%Y-%m-%d"),
        Grain("15m", 900, "%Y-%m"),
        Grain("30m", 1800, "%Y-%m"),
        Grain("1h", 3600, "%Y-%m"),
        Grain("1d", _DAY_S, "%Y"),
        *WEEKS.values(),
        Grain("1mo", 31 * _DAY_S, "%Y", months=True),
    )
}


def made_from(grains: Sequence[str]) -> dict[str, str]:
    """For each grain but the finest, the coarsest of the others that it can be made of; '' where there is none.

    >>> made_from(["1h", "1d", "1w", "1mo"])
    {'1d': '1h', '1w': '1d', '1mo': '1d'}
    """
    return {
        grain: next((one for one in reversed(grains[:place]) if GRAINS[one].makes(GRAINS[grain])), "")
        for place, grain in enumerate(grains)
        if place
    }


def coarsest_within_day(grains: Iterable[str]) -> str:
    """The coarsest of these grains (from fine to coarse) whose buckets lie within one UTC day each."""
    return [grain for grain in grains if GRAINS[grain].within_day][-1]


def utc_now() -> datetime:
    """The present, in UTC, in microseconds."""
    return datetime.now(UTC)


def iso(ts: datetime) -> str:
    """`2026-11-21T10:15:00.000000Z`: the one text form of a time in files and messages."""
    return ts.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
