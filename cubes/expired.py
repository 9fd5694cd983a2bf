"""What retention took away, as a cube must know it: days without rows to make cells of, and segments without cells.

Such days are never made anew, since nothing would be left of them; late rows of theirs still become cells of the
grains that survive. A definition that came after the rows went does not hold those days at all. Segments that have
aged no longer tell some dimensions: what is added to them doesn't either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cubes.ageout import told_cuboids, told_mask, told_merged_sql, told_sql
from cubes.model import Cube, Sketch
from cubes.segments import bucket_starts, segment_range, segment_sql, table_of
from cubes.stored import inherited
from lake.deletions import Deletion, expired_days, read_deletions
from lake.delta import open_snapshot
from lake.errors import LakeError
from lake.expiry import closed_days
from lake.tables import DELETIONS

if TYPE_CHECKING:
    from lake.delta import Snapshot
    from lake.duck import Duck

_NO_DAYS: frozenset[date] = frozenset()


@dataclass(frozen=True)
class Expired:
    """Of one cube: `days` whose trusted rows are gone, in part or whole; `unproven` days of which this definition was
    never shown to hold the rows; `segments` (grain, segment) whose cells are gone. `untold` has the dimensions that the
    cells of a (grain, segment) no longer tell. `closed` are days of which a week or month could not be made again, as
    the cells of its days are gone.
    """

    days: frozenset[date] = _NO_DAYS
    unproven: frozenset[date] = _NO_DAYS
    segments: frozenset[tuple[str, str]] = field(default_factory=frozenset)
    untold: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    closed: frozenset[date] = _NO_DAYS

    @property
    def lasting(self) -> frozenset[date]:
        """The days whose cells are never made anew: what they count stays, whatever becomes of the rows."""
        return self.days | self.closed

    def spares_sql(self, grain: str, start: str) -> str:
        """Predicate: a bucket of the grain, given by an expression for its start, has all its rows and its cells."""
        parts = []
        if self.lasting:
            parts.append(f"CAST({start} AS DATE) NOT IN ({bucket_starts(grain, self.lasting)})")
        if segments := sorted(segment for of_grain, segment in self.segments if of_grain == grain):
            listed = ", ".join(f"'{segment}'" for segment in segments)
            parts.append(f"{segment_sql(grain, start)} NOT IN ({listed})")
        return " AND ".join(parts) or "true"

    def spares(self, grains: Iterable[str]) -> str:
        """The same predicate over stored cells of all these grains."""
        if not self.lasting and not self.segments:
            return "true"
        return " AND ".join(f"(grain <> '{grain}' OR ({self.spares_sql(grain, 'bucket')}))" for grain in grains)

    def lacks_cells(self, grain: str, start: datetime | None, end: datetime | None) -> bool:
        """Whether cells of the grain in [start, end) are gone, or were never made of all rows; None is unbounded."""
        ranges = [segment_range(of_grain, segment) for of_grain, segment in self.segments if of_grain == grain]
        return bool(overlap(self.unproven, start, end)) or any(_meet(*held, start, end) for held in ranges)

    def dropped(self, grain: str, segment: str) -> frozenset[str]:
        """The dimensions that a segment's cells no longer tell."""
        return self.untold.get((grain, segment), frozenset())

    def states(self, grain: str) -> dict[frozenset[str], list[str]]:
        """{dimensions not told: the segments of the grain that have aged so}; nothing of segments that tell all."""
        found: dict[frozenset[str], list[str]] = {}
        for (of_grain, segment), names in sorted(self.untold.items()):
            if of_grain == grain:
                found.setdefault(names, []).append(segment)
        return found

    def places(self, grain: str, start: str = "bucket") -> Iterator[tuple[frozenset[str], str]]:
        """(dimensions not told, predicate for the buckets of which that holds), of every bucket of the grain."""
        segment = segment_sql(grain, start)
        states = {names: ", ".join(f"'{one}'" for one in held) for names, held in self.states(grain).items()}
        aged = ", ".join(states.values())
        yield frozenset(), f"{segment} NOT IN ({aged})" if aged else "true"
        for names, listed in states.items():
            yield names, f"{segment} IN ({listed})"

    def cuboids(self, cube: Cube, grain: str) -> tuple[int, ...]:
        """The cuboids of which the grain may have cells: the declared ones, then those that aged segments hold."""
        more = {one for names in self.states(grain) for one in told_cuboids(cube, cube.cuboids, names)}
        return (*cube.cuboids, *sorted(more - set(cube.cuboids)))

    def keeps(self, cube: Cube, sketch: Sketch, cuboid: int, grain: str) -> bool:
        """Whether a cuboid has slots of a sketch wherever the grain has cells of it."""
        if cuboid in cube.cuboids:
            return cuboid in sketch.cuboids
        made = [names for names in self.states(grain) if cuboid in told_cuboids(cube, cube.cuboids, names)]
        return all(cuboid in told_cuboids(cube, sketch.cuboids, names) for names in made)

    def base_sql(self, cube: Cube, grain: str, start: str = "bucket") -> str:
        """Expression for the cuboid in which each row of the fact is once, in the bucket that starts then."""
        if not self.states(grain):
            return str(cube.base)
        cases = "".join(f" WHEN {place} THEN {told_mask(cube, names)}" for names, place in self.places(grain, start))
        return f"CASE{cases} END"

    def new_sql(self, cube: Cube, cells: str, grain: str, segment: str) -> str:
        """SELECT of new cells of a segment, given by another, with no more dimensions than the segment tells."""
        dropped = self.dropped(grain, segment)
        return told_merged_sql(cube, f"({cells})", dropped) if dropped else cells

    def told(
        self,
        cube: Cube,
        grain: str,
        cells: str,
        dropped: frozenset[str],
        inside: tuple[datetime, datetime] | None = None,
    ) -> str:
        """Relation, in brackets, of stored cells of the grain with no word of `dropped`, not merged.

        Errors: LakeError where the cells (all of them from the first to before the second moment of `inside`) told less
        than that already.
        """
        if not dropped and not self.states(grain):
            return cells
        parts = []
        states = self.states(grain)
        for held, place in self.places(grain):
            ranges = [segment_range(grain, one) for one in states.get(held, ())]
            if held and inside and not any(_meet(*one, *inside) for one in ranges):
                continue
            if not held <= dropped:
                names = ", ".join(sorted(held - dropped))
                raise LakeError(
                    f"Cells of {cube.name} at {grain} no longer tell {names}, and coarser ones that are to be made do.",
                    todo="Run `fleetcube retain --apply`, which lets the coarser ones age out too, or leave them.",
                )
            parts.append(told_sql(cube, f"(SELECT * FROM {cells} WHERE {place})", dropped, held))
        return f"({' UNION ALL BY NAME '.join(parts)})"

    def lacks_rows(self, start: datetime | None, end: datetime | None) -> bool:
        """Whether trusted rows of [start, end) are gone, in part or whole."""
        return bool(overlap(self.days, start, end))

    def refuse(self, cube: str, days: Iterable[date], what: str) -> None:
        """LakeError if one of the days can't be made of rows any more."""
        days = frozenset(days)
        for gone, why in (
            (self.days & days, "their rows have expired, the cells are what is left"),
            (self.closed & days, "their days' cells have expired, of which weeks and months would have to be made"),
        ):
            if gone:
                raise LakeError(
                    f"Cube {cube} can't be {what} over {spans(sorted(gone))}: {why}.",
                    todo="Leave these days out; `fleetcube retain --proofs` shows what proved the cells right.",
                )


def expired(duck: Duck, lake: Path, cube: Cube, cells: Snapshot | None = None) -> Expired:
    """What retention took of the cube and its fact, up to now; `cells` is the version of its table that is read."""
    # Before the deletions: a segment ages by a commit of its table, which its record comes before.
    cells = open_snapshot(lake, table_of(cube)) if cells is None else cells
    deletions = read_deletions(duck, open_snapshot(lake, DELETIONS), fact=cube.fact)
    return expired_in(deletions, cube, cells)


def expired_in(deletions: Sequence[Deletion], cube: Cube, cells: Snapshot) -> Expired:
    """The same out of the fact's deletions; cells made of those of earlier definitions share their fate."""
    mine = {cube.digest, *inherited(cells)}
    closed = closed_days(one for one in deletions if one.definition in mine)
    unproven = (one for one in deletions if mine.isdisjoint(one.proof.get("cubes", {})))
    segments = ((one.grain, one.segment) for one in deletions if one.layer == "cube" and one.definition in mine)
    untold: dict[tuple[str, str], frozenset[str]] = {}
    for one in deletions:
        # What is on record and not committed yet is still told.
        if one.layer == "dimension" and one.definition in mine and one.number <= (cells.txn("retain") or 0):
            names = frozenset(one.proof["cubes"][one.definition]["dropped"]).intersection(cube.dimensions)
            untold[(one.grain, one.segment)] = untold.get((one.grain, one.segment), frozenset()) | names
    untold = {place: names for place, names in untold.items() if names}
    return Expired(expired_days(deletions), expired_days(unproven), frozenset(segments), untold, closed)


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
