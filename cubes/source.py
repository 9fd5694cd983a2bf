"""What a build reads: a fact's trusted rows at one version, between two batches, day by day.

Batches only grow, so the rows that a cube doesn't hold yet are those above its watermark, and files whose batches all
lie below it are never opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cubes import histograms, measures
from cubes.derived import with_derived_sql
from cubes.expired import expired
from cubes.lookup_state import built_lookups, newest_lookups
from cubes.model import Cube
from cubes.segments import segment_range, table_of
from lake import delta, tables
from lake.errors import LakeError
from lake.times import coarsest_within_day

if TYPE_CHECKING:
    from lake.delta import DataFile, Snapshot
    from lake.duck import Duck

ALL_BELOW: Final = -1  # a watermark below every batch
# Rows of one chunk, about: bounds a build's memory and spill, whatever the history.
_CHUNK_ROWS: Final = 8_000_000
_LEAST_ROWS: Final = 1_000_000  # what is less is not worth a second thread


@dataclass(frozen=True)
class Source:
    """Trusted rows of `snapshot` with `above` < batch <= `upto`, and of the days `whole` all with batch <= `upto`.

    `lookups` are the versions that derived dimensions are made with; None: the newest.
    """

    cube: Cube
    snapshot: Snapshot
    above: int
    upto: int
    whole: frozenset[date] = frozenset()
    lookups: Mapping[str, Snapshot] | None = None

    def days(self) -> dict[date, int]:
        """The days that may hold such rows, ascending, each with a number that its rows don't exceed."""
        found: dict[date, int] = {}
        for file in filter(self._may_hold, self.snapshot.files):
            found[_day(file)] = found.get(_day(file), 0) + file.rows
        return dict(sorted(found.items()))

    def chunks(self, workers: int = 1) -> list[list[date]]:
        """The days in runs of a bounded number of rows, but of at least one day each; the longest runs first.

        The runs are about alike and a multiple of `workers` (unless they would be small), so that none of several is
        left with the last one while the others are done.
        """
        days = self.days()
        count = max(1, min(workers, sum(days.values()) // _LEAST_ROWS))
        while True:
            runs = _cut(days, count)
            if all(len(run) == 1 or sum(run.values()) <= _CHUNK_ROWS for run in runs):
                return [list(run) for run in sorted(runs, key=lambda run: -sum(run.values()))]
            count += workers

    def relation(self, duck: Duck, days: Iterable[date]) -> str:
        """SQL relation of the rows of these days: columns of the trusted table, derived dimensions, `fc_codes`."""
        wanted = set(days)
        paths = self.snapshot.paths(lambda file: _day(file) in wanted and self._may_hold(file))
        new = f"batch > {self.above}"
        filters = [
            f"batch <= {self.upto}",
            f"({new} OR {among('day', self.whole)})" if self.whole else new,
            among("day", wanted),
            f"({self.cube.where})" if self.cube.where else "true",
        ]
        rows = f"(SELECT * FROM {duck.scan(self.snapshot, paths)} WHERE {' AND '.join(filters)})"
        coded = histograms.has_histograms(self.cube)
        if not self.cube.derived and not coded:
            return rows
        lake = self.snapshot.root.parents[self.snapshot.ref.key.count("/")]
        held = newest_lookups(lake, self.cube) if self.lookups is None else self.lookups
        scans = {name: duck.scan(one) for name, one in held.items()}
        if not coded:
            return with_derived_sql(rows, self.cube.derived, scans)
        measures.install(duck)
        scans[histograms.LOOKUP] = histograms.coded_sql(scans[histograms.LOOKUP])
        return with_derived_sql(rows, (*self.cube.derived, histograms.CODES), scans)

    def _may_hold(self, file: DataFile) -> bool:
        return _day(file) in self.whole or file.may_hold("batch", at_least=self.above + 1, at_most=self.upto)


def stood_on(lake: Path, cube: Cube, cells: Snapshot) -> Source:
    """Every row that the cube's table `cells` stands on: trusted and lookups as of its versions, up to its watermark.

    Errors: LakeError when the cube was never built, or one of those versions is gone.
    """
    version, watermark = cells.txn("source"), cells.txn("watermark")
    if version is None or watermark is None:
        todo = f"Run `fleetcube build {cube.name}`."
        raise LakeError(f"Cube {cube.name} has not been built.", where=str(cells.root), todo=todo)
    trusted = delta.open_snapshot(lake, tables.trusted(cube.fact), version)
    return Source(cube, trusted, ALL_BELOW, watermark, lookups=built_lookups(lake, cube, cells))


def held_days(duck: Duck, lake: Path, cube: Cube, since: date, until: date) -> list[date]:
    """The days from `since` to before `until` that lie between the first and the last of the cube's rows and cells, or
    have expired: of any other there is nothing to make, nor to refuse. So a range costs what the lake holds of it.
    """
    cells, rows = delta.open_snapshot(lake, table_of(cube)), delta.open_snapshot(lake, tables.trusted(cube.fact))
    gone = expired(duck, lake, cube, cells)
    parts = {(str(one.partition["grain"]), str(one.partition["segment"])) for one in cells.files}
    spans = [segment_range(grain, segment) for grain, segment in parts]
    held = {
        *map(_day, rows.files),
        *(start.date() for start, _ in spans),
        *((after - timedelta(days=1)).date() for _, after in spans),
    }
    held |= gone.days | gone.closed
    if not held:
        return []
    first, last = max(since, min(held)), min(until - timedelta(days=1), max(held))
    return [first + timedelta(days=at) for at in range((last - first).days + 1)]


def stale_days(duck: Duck, lake: Path, source: Source, cells: Snapshot) -> frozenset[date]:
    """Days of which the cube's table `cells` holds rows that `source` no longer has: withdrawn since the last build.

    Rows leave trusted only with the files that held them, and only in a batch that says so (or one that could not say
    anything yet, because the gate was killed). Rewriting files without losing a row makes no day stale.
    """
    if cells.txn("source") is None or not _may_be_withdrawn(duck, lake, source):
        return frozenset()
    # What has expired went for good, and its cells are to stay.
    gone = expired(duck, lake, source.cube, cells)
    days = _vanished(lake, source, cells) - gone.lasting
    if not days:
        return frozenset()
    before = Source(source.cube, source.snapshot, ALL_BELOW, source.above)
    there = dict(duck.sql(f"SELECT day, count(*) FROM {before.relation(duck, days)} GROUP BY day"))
    # Of the grains that tell days apart, the coarsest is kept longest.
    daily = coarsest_within_day(source.cube.grains)
    paths = cells.paths(lambda file: file.partition["grain"] == daily)
    held = dict(
        duck.sql(
            f"""SELECT CAST(bucket AS DATE) AS day, sum(rows) FROM {duck.scan(cells, paths)} WHERE sketch IS NULL
            AND cuboid = {gone.base_sql(source.cube, daily)} AND {among("day", days)} GROUP BY ALL"""
        )
    )
    return frozenset(day for day in days if there.get(day, 0) != held.get(day, 0))


def _cut(days: Mapping[date, int], count: int) -> list[dict[date, int]]:
    """The days in order in at most `count` runs of about as many rows."""
    whole = max(1, sum(days.values()))
    found: dict[int, dict[date, int]] = {}
    before = 0
    for day, rows in days.items():
        # A day goes where the middle of its rows falls.
        found.setdefault((2 * before + rows) * count // (2 * whole), {})[day] = rows
        before += rows
    return list(found.values())


def among(expression: str, days: Iterable[date]) -> str:
    """Predicate: a DATE expression is one of these days."""
    listed = ", ".join(f"DATE '{day}'" for day in sorted(days))
    return f"{expression} IN ({listed})" if listed else "false"


def _may_be_withdrawn(duck: Duck, lake: Path, source: Source) -> bool:
    batches = duck.scan(delta.open_snapshot(lake, tables.BATCHES))
    told, withdrawn = duck.sql(
        f"""SELECT count(*), coalesce(sum(withdrawn), 0) FROM {batches}
        WHERE fact = '{source.cube.fact}' AND batch > {source.above} AND batch <= {source.upto}"""
    )[0]
    return bool(withdrawn) or told < source.upto - source.above


def _vanished(lake: Path, source: Source, cells: Snapshot) -> set[date]:
    """Days with files that were there at the cube's source version and are gone now."""
    try:
        old = delta.open_snapshot(lake, source.snapshot.ref, cells.txn("source"))
    except LakeError:
        # The log no longer reaches back so far: any day may have lost a file, and comparing its rows will tell.
        return {_day(file) for file in source.snapshot.files}
    now = {file.path for file in source.snapshot.files}
    return {_day(file) for file in old.files if file.path not in now}


def _day(file: DataFile) -> date:
    return date.fromisoformat(str(file.partition["day"]))
