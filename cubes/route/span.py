"""Ranges of event time in whole microseconds, so that their ends compare and meet exactly."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from lake.times import EPOCH


@dataclass(frozen=True)
class Window:
    """A range of event time [start, end) in microseconds since 1970 UTC; None is unbounded."""

    start: int | None = None
    end: int | None = None

    @property
    def empty(self) -> bool:
        """Whether no time is inside."""
        return self.start is not None and self.end is not None and self.start >= self.end

    def meet(self, other: Window) -> Window:
        """The common part of two ranges."""
        starts = [at for at in (self.start, other.start) if at is not None]
        ends = [at for at in (self.end, other.end) if at is not None]
        return Window(max(starts, default=None), min(ends, default=None))

    def moments(self) -> tuple[datetime | None, datetime | None]:
        """Both ends as UTC times."""
        start, end = (None if at is None else moment(at) for at in (self.start, self.end))
        return start, end

    def shown(self) -> list[str | None]:
        """Both ends as ISO texts, for receipts."""
        return [None if at is None else moment(at).isoformat().replace("+00:00", "Z") for at in (self.start, self.end)]


def micros(at: datetime) -> int:
    """A UTC time as microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


def moment(us: int) -> datetime:
    """Microseconds since 1970 as a UTC time."""
    return EPOCH + timedelta(microseconds=us)
