"""What retention took away, as a cube must know it: days without rows to make cells of, and segments without cells.

Such days are never made anew, since nothing would be left of them; late rows of theirs still become cells of the
grains that survive. A definition that came after the rows went does not hold those days at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cubes.model import Cube
from cubes.segments import bucket_starts, segment_range, segment_sql, table_of
from cubes.stored import inherited
from lake.deletions import Deletion, expired_days, read_deletions
from lake.delta import open_snapshot
from lake.errors import LakeError
from lake.tables import DELETIONS

if TYPE_CHECKING:
    from lake.duck import Duck

_NO_DAYS: frozenset[date] = frozenset()


@dataclass(frozen=True)
class Expired:
    """Of one cube: `days` whose trusted rows are gone, in part or whole; `unproven` days of which this definition was
    never shown to hold the rows; `segments` (grain, segment) whose cells are gone.
    """

    days: frozenset[date] = _NO_DAYS
    unproven: frozenset[date] = _NO_DAYS
    segments: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def spares_sql(self, grain: str, start: str) -> str:
        """Predicate: a bucket of the grain, given by an expression for its start, has all its rows and its cells."""
        parts = []
        if self.days:
            parts.append(f"CAST({start} AS DATE) NOT IN ({bucket_starts(grain, self.days)})")
        if segments := sorted(segment for of_grain, segment in self.segments if of_grain == grain):
            listed = ", ".join(f"'{segment}'" for segment in segments)
            parts.append(f"{segment_sql(grain, start)} NOT IN ({listed})")
        return " AND ".join(parts) or "true"

    def spares(self, grains: Iterable[str]) -> str:
        """The same predicate over stored cells of all these grains."""
        if not self.days and not self.segments:
            return "true"
        return " AND ".join(f"(grain <> '{grain}' OR ({self.spares_sql(grain, 'bucket')}))" for grain in grains)

    def lacks_cells(self, grain: str, start: datetime | None, end: datetime | None) -> bool:
        """Whether cells of the grain in [start, end) are gone, or were never made of all rows; None is unbounded."""
        ranges = [segment_range(of_grain, segment) for of_grain, segment in self.segments if of_grain == grain]
        return bool(overlap(self.unproven, start, end)) or any(_meet(*held, start, end) for held in ranges)

    def lacks_rows(self, start: datetime | None, end: datetime | None) -> bool:
        """Whether trusted rows of [start, end) are gone, in part or whole."""
        return bool(overlap(self.days, start, end))

    def refuse(self, cube: str, days: Iterable[date], what: str) -> None:
        """LakeError if one of the days can't be made of rows any more."""
        gone = sorted(self.days.intersection(days))
        if gone:
            raise LakeError(
                f"Cube {cube} can't be {what} over {spans(gone)}: their rows have expired, the cells are what is left.",
                todo="Leave these days out; `fleetcube retain --proofs` shows what proved the cells right.",
            )


def expired(duck: Duck, lake: Path, cube: Cube) -> Expired:
    """What retention took of the cube and its fact, up to now."""
    deletions = read_deletions(duck, open_snapshot(lake, DELETIONS), fact=cube.fact)
    return expired_in(deletions, cube, inherited(open_snapshot(lake, table_of(cube))))


def expired_in(deletions: Sequence[Deletion], cube: Cube, inherits: Iterable[str] = ()) -> Expired:
    """The same out of the fact's deletions; cells made of those of earlier definitions share their fate."""
    mine = {cube.digest, *inherits}
    unproven = (one for one in deletions if mine.isdisjoint(one.proof.get("cubes", {})))
    segments = ((one.grain, one.segment) for one in deletions if one.layer == "cube" and one.definition in mine)
    return Expired(expired_days(deletions), expired_days(unproven), frozenset(segments))


def overlap(days: Iterable[date], start: datetime | None, end: datetime | None) -> list[date]:
    """The days that [start, end) touches, in order; None is unbounded."""
    found = []
    for day in sorted(days):
        first = datetime.combine(day, time(), tzinfo=UTC)
        found += [day] if _meet(first, first + timedelta(days=1), start, end) else []
    return found


def _meet(first: datetime, after: datetime, start: datetime | None, end: datetime | None) -> bool:
    return (end is None or first < end) and (start is None or after > start)


def spans(days: Sequence[date]) -> str:
    """Days in order as text.

    >>> spans([date(2026, 1, 1), date(2026, 1, 2)])
    '2026-01-01 to 2026-01-02'
    """
    return str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"
