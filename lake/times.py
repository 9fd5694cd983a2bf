"""Grains, their buckets and segments; everything in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Grain:
    """A length of time bucket. `segment` is the strftime pattern that names the partition which holds a bucket.

    Segments grow with the grain (a day of 5-minute buckets, a month of hours, a year of days), so that a query over
    a grain's whole retention opens tens of files, not thousands.
    """

    name: str
    seconds: int
    segment: str

    @property
    def delta(self) -> timedelta:
        """The bucket's length."""
        return timedelta(seconds=self.seconds)

    def floor(self, ts: datetime) -> datetime:
        """Start of the bucket that holds `ts`."""
        return ts - (ts - EPOCH) % self.delta

    def ceil(self, ts: datetime) -> datetime:
        """The first bucket start at or after `ts`."""
        start = self.floor(ts)
        return start if start == ts else start + self.delta

    def segment_of(self, bucket: datetime) -> str:
        """Name of the segment (a partition of the cube's table) that holds the bucket."""
        return bucket.astimezone(UTC).strftime(self.segment)


GRAINS: Final[dict[str, Grain]] = {
    grain.name: grain for grain in (Grain("5m", 300, "%Y-%m-%d"), Grain("1h", 3600, "%Y-%m"), Grain("1d", 86400, "%Y"))
}


def utc_now() -> datetime:
    """The present, in UTC, in microseconds."""
    return datetime.now(UTC)


def iso(ts: datetime) -> str:
    """`2026-11-21T10:15:00.000000Z`: the one text form of a time in files and messages."""
    return ts.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
