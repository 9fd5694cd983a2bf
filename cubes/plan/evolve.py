"""The first build of a changed definition, from the cells of the version before: only what is missing is made.

Cuboids and grains that old cells hold are taken over, others are derived from them; states and distributions that they
lack are made of the trusted rows as of the old version's watermark. It is one commit; until then the old version
answers, and a killed run leaves nothing that anybody sees. The next build goes on from the old watermark. Segments that
have aged are taken over as they are: the new ones don't tell those dimensions either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cubes.ageout import told_cuboids, told_sql
from cubes.build import BuildResult, record
from cubes.cells import work_cells
from cubes.compact import merged_sql
from cubes.cuboids import is_within
from cubes.expired import Expired, expired, spans
from cubes.lookup_state import built_lookups, transaction
from cubes.measures import quoted
from cubes.model import Cube
from cubes.plan.changes import Change, compare, rest_of, sketch_from
from cubes.plan.versions import Version
from cubes.segments import bucket_us_sql, segment_sql, table_of
from cubes.source import ALL_BELOW, Source
from cubes.stored import INHERITS, inherited
from lake import delta, tables
from lake.delta import Snapshot
from lake.errors import LakeError
from lake.faults import faultpoint
from lake.intents import work_folder
from lake.lease import lease
from lake.times import coarsest_within_day

if TYPE_CHECKING:
    from lake.delta import DataFile
    from lake.duck import Duck
    from lake.settings import Settings

_ORDER = "cuboid, sketch NULLS FIRST, bucket"
_STATS = ("cuboid", "bucket")
_STEM = "build-00000001"


def evolve(
    settings: Settings, duck: Duck, cube: Cube, old: Version, *, progress: Callable[[str, int, int], None] | None = None
) -> BuildResult | None:
    """Build the cube from an old version of it, up to that version's watermark; None where cells can't be taken over.

    Errors: LakeError when the cube has been built already, when trusted rows that a new measure needs have gone, or
    while another process builds it.
    """
    change = compare(old.cube, cube)
    if change.reason:
        return None
    with lease(settings.lake, table_of(cube).key):
        cells = delta.open_snapshot(settings.lake, table_of(cube))
        if cells.txn("build") is not None:
            raise LakeError(f"Cube {cube.name} has been built already.", where=str(cells.root), todo="Build it again.")
        # Workers of another engine have working folders of their own.
        old = replace(old, snapshot=replace(old.snapshot, root=old.snapshot.root.resolve()))
        return _Evolution(settings, duck, cube, old, change).publish(cells, progress or (lambda *_: None))


@dataclass
class _Evolution:
    """One such build under way."""

    settings: Settings
    duck: Duck
    cube: Cube
    old: Version
    change: Change

    def publish(self, cells: Snapshot, progress: Callable[[str, int, int], None]) -> BuildResult:
        """Write, commit, record."""
        started = time.monotonic()
        self._refuse_lost_segments()
        with self._rest(progress) as (rest, rows):
            files = self._by_spark(rest, progress) if self._spark else self._by_duckdb(rest, progress)
        faultpoint("evolve.cells.after")
        ref = replace(cells.ref, properties=(*cells.ref.properties, (INHERITS, " ".join(self._ancestors()))))
        numbers = {"build": 1, "watermark": self.old.watermark, "source": self._number("source")}
        # Up to which deletion the old cells had aged: the new ones have too.
        numbers |= {"retain": self._number("retain")} if self._number("retain") else {}
        numbers |= {
            transaction(one.lookup): self._number(transaction(one.lookup)) for one in self.cube.derived if one.lookup
        }
        faultpoint("evolve.commit.before")
        written = delta.commit(self.settings.lake, ref, replace(cells, ref=ref), adds=files, txns=numbers)
        faultpoint("evolve.commit.after")
        counts: dict[str, list[tuple[str, int]]] = {grain: [] for grain in self.cube.grains}
        scan = self.duck.scan(written, None, ["grain", "cuboid"])
        for grain, cuboid, count in self.duck.sql(
            f"SELECT grain, cuboid, count(*) FROM {scan} GROUP BY ALL ORDER BY ALL"
        ):
            counts[grain].append((str(cuboid), count))
        result = BuildResult(
            cube=self.cube.name,
            kind="build",
            build=1,
            watermark_from=0,
            watermark_to=self.old.watermark,
            source=numbers["source"],
            rows=rows,
            cells=sum(file.rows for file in files),
            cuboid_rows=tuple((grain, tuple(found)) for grain, found in counts.items()),
            seconds=time.monotonic() - started,
        )
        record(self.settings, self.duck, self.cube, result)
        return result

    @cached_property
    def gone(self) -> Expired:
        """What retention took of the old cells."""
        return expired(self.duck, self.settings.lake, self.old.cube, self.old.snapshot)

    @property
    def _spark(self) -> bool:
        return self.settings.engine == "spark"

    def _by_duckdb(self, rest: Snapshot | None, progress: Callable[[str, int, int], None]) -> list[DataFile]:
        """A file for each segment, one after the other."""
        files: list[DataFile] = []
        for place, grain in enumerate(self.cube.grains):
            progress(f"take over {grain}", place, len(self.cube.grains))
            for segment in self._segments(grain):
                files += self.duck.write(
                    self._merged(grain, segment, rest),
                    self.settings.lake,
                    table_of(self.cube),
                    _STEM,
                    stats=_STATS,
                    order=_ORDER,
                    partition={"grain": grain, "segment": segment},
                )
        return files

    def _by_spark(self, rest: Snapshot | None, progress: Callable[[str, int, int], None]) -> list[DataFile]:
        """The same files, made by Spark's tasks."""
        from cubes.spark.write import spark_writes

        places = [(grain, segment) for grain in self.cube.grains for segment in self._segments(grain)]
        progress(f"take over {len(places)} segments on Spark", 0, 1)
        work = [(*place, self._merged(*place, rest)) for place in places]
        return spark_writes(self.settings, self.cube, work, _STEM, stats=_STATS, order=_ORDER)

    def _number(self, name: str) -> int:
        return self.old.snapshot.txn(name) or 0

    def _ancestors(self) -> tuple[str, ...]:
        return (self.old.cube.digest, *inherited(self.old.snapshot))

    def _refuse_lost_segments(self) -> None:
        """A new grain can't be made where retention took the cells of the grain that it is made of."""
        lost = {grain for grain, _ in (*self.gone.segments, *self.gone.untold)}
        for grain, source in self.change.grains_from.items():
            if grain != source and source in lost:
                raise LakeError(
                    f"Grain {grain} of cube {self.cube.name} can't be made: cells of {source} have expired or aged.",
                    todo="Declare it in a cube of its own, or build from the rows that are left: --from-rows.",
                )

    def _old(self, grain: str, segment: str = "") -> str:
        """Relation of the old cells of a grain, or of one segment."""
        paths = self.old.snapshot.paths(
            lambda file: file.partition["grain"] == grain and segment in ("", file.partition["segment"])
        )
        return self.duck.scan(self.old.snapshot, paths)

    def _segments(self, grain: str) -> list[str]:
        source = self.change.grains_from[grain]
        if source == grain:
            found = {
                str(file.partition["segment"]) for file in self.old.snapshot.files if file.partition["grain"] == grain
            }
            return sorted(found)
        start = f"make_timestamptz({bucket_us_sql(grain, 'epoch_us(bucket)')})"
        starts = f"(SELECT DISTINCT bucket FROM {self._old(source)})"
        rows = self.duck.sql(f"SELECT DISTINCT {segment_sql(grain, start)} FROM {starts} ORDER BY 1")
        return [segment for (segment,) in rows]

    def _merged(self, grain: str, segment: str, rest: Snapshot | None) -> str:
        """SELECT of the merged cells of one segment: the old ones, and what rows gave for it."""
        dropped = self.gone.dropped(grain, segment)
        taken = self._told(self.cube.cuboids, self.old.cube.cuboids, dropped) if dropped else self.change.cuboids_from
        parts = [
            *(self._cells(grain, segment, new, held) for new, held in taken.items()),
            *self._slots(grain, segment, dropped),
        ]
        if rest is not None:
            paths = rest.paths(lambda file: (file.partition["grain"], file.partition["segment"]) == (grain, segment))
            zero = "CASE WHEN sketch IS NULL THEN CAST(0 AS BIGINT) END"
            told = f"SELECT * FROM {self.duck.scan(rest, paths)}"
            told = told_sql(rest_of(self.cube, self.change), f"({told})", dropped) if dropped else told
            parts.append(f"SELECT * REPLACE ({zero} AS rows) FROM ({told})")
        return merged_sql(self.cube, f"({' UNION ALL BY NAME '.join(parts)})")

    def _told(self, wanted: Sequence[int], held: Sequence[int], dropped: frozenset[str]) -> dict[int, int]:
        """{new cuboid of a segment that has aged: the smallest old one that it can be made of}."""
        there = sorted(told_cuboids(self.old.cube, held, dropped), key=lambda one: (one.bit_count(), one))
        masks = {new: self.old.cube.mask(self.cube.kept(new)) for new in told_cuboids(self.cube, wanted, dropped)}
        return {new: next(one for one in there if is_within(mask, one)) for new, mask in masks.items()}

    def _cells(self, grain: str, segment: str, cuboid: int, held: int) -> str:
        lacking = {state.name for state in self.change.states}
        states = "".join(
            f", CAST(NULL AS {state.type}) AS {quoted(state.name)}"
            if state.name in lacking
            else f", {quoted(state.name)}"
            for state in self.cube.states
        )
        source = self.change.grains_from[grain]
        head = self._head(grain, source, segment, cuboid)
        return f"""SELECT {head}, NULL::VARCHAR AS sketch, NULL::BIGINT AS slot, NULL::BIGINT AS n, rows{states}
            FROM {self._old(source, segment if source == grain else "")}
            WHERE cuboid = {held} AND sketch IS NULL AND {self._inside(grain, source, segment)}"""

    def _slots(self, grain: str, segment: str, dropped: frozenset[str]) -> Iterator[str]:
        nulls = "".join(f", CAST(NULL AS {state.type}) AS {quoted(state.name)}" for state in self.cube.states)
        for sketch in self.cube.sketches:
            found = sketch_from(self.old.cube, self.cube, sketch) or {}
            if dropped and any(of_grain == grain for of_grain, _ in found):
                parents = [parent for source, parent in found.values() if source == grain]
                told = self._told(sketch.cuboids, parents, dropped)
                found = {(grain, new): (grain, held) for new, held in told.items()}
            for (of_grain, cuboid), (source, held) in found.items():
                if of_grain == grain:
                    yield f"""SELECT {self._head(grain, source, segment, cuboid)}, sketch, slot, n,
                        NULL::BIGINT AS rows{nulls}
                        FROM {self._old(source, segment if source == grain else "")}
                        WHERE cuboid = {held} AND sketch = '{sketch.name}' AND {self._inside(grain, source, segment)}"""

    def _head(self, grain: str, source: str, segment: str, cuboid: int) -> str:
        kept = self.cube.kept(cuboid)
        dims = "".join(
            f", {quoted(name)}" if name in kept else f", CAST(NULL AS VARCHAR) AS {quoted(name)}"
            for name in self.cube.dimensions
        )
        start = "bucket" if grain == source else f"make_timestamptz({bucket_us_sql(grain, 'epoch_us(bucket)')})"
        # A BIGINT, whatever the number: parts of one union must agree.
        return f"""'{grain}' AS grain, '{segment}' AS segment, CAST({cuboid} AS BIGINT) AS cuboid,
            {start} AS bucket{dims}, CAST(1 AS BIGINT) AS build"""

    def _inside(self, grain: str, source: str, segment: str) -> str:
        if grain == source:
            return "true"
        start = f"make_timestamptz({bucket_us_sql(grain, 'epoch_us(bucket)')})"
        return f"{segment_sql(grain, start)} = '{segment}'"

    @contextmanager
    def _rest(self, progress: Callable[[str, int, int], None]) -> Iterator[tuple[Snapshot | None, int]]:
        """Cells with only the missing states and distributions, made of rows, and the number of rows."""
        if self.change.way == "cells":
            yield None, 0
            return
        rest = rest_of(self.cube, self.change)
        trusted = delta.open_snapshot(self.settings.lake, tables.trusted(rest.fact), self._number("source"))
        lookups = built_lookups(self.settings.lake, self.old.cube, self.old.snapshot)
        source = Source(rest, trusted, ALL_BELOW, self.old.watermark, lookups=lookups)
        files: list[DataFile] = []
        rows = 0
        with TemporaryDirectory(dir=work_folder(self.settings.lake.resolve(), "evolve")) as folder:
            chunks = [] if self._spark else source.chunks()
            if self._spark:
                progress("read rows for new measures on Spark", 0, 1)
                files, rows = self._rest_by_spark(source, Path(folder))
            for place, days in enumerate(chunks):
                progress("read rows for new measures", place, len(chunks))
                with work_cells(self.duck, rest, source.relation(self.duck, days)) as work:
                    rows += work.rows()
                    for grain, segment in work.segments():
                        files += self.duck.write(
                            work.select(grain, segment, 1),
                            Path(folder),
                            table_of(rest),
                            f"rest-{place:04d}",
                            partition={"grain": grain, "segment": segment},
                        )
            made = Snapshot(table_of(rest), table_of(rest).path(Path(folder)), 0, tuple(files), None)
            self._refuse_lost_rows(made)
            yield made, rows

    def _rest_by_spark(self, source: Source, folder: Path) -> tuple[list[DataFile], int]:
        from cubes.spark.build import spark_cells

        settings = replace(self.settings, lake=folder)
        made = spark_cells(settings, self.duck, source, 1, stats=_STATS, order=_ORDER, gone=Expired())
        return made.files, made.rows

    def _old_base(self, grain: str) -> str:
        return self.gone.base_sql(self.old.cube, self.change.grains_from[grain])

    def _refuse_lost_rows(self, made: Snapshot) -> None:
        """A new measure of days whose rows have gone would be wrong there."""
        daily = coarsest_within_day(self.cube.grains)
        paths = made.paths(lambda file: file.partition["grain"] == daily)
        there, held = (
            dict(
                self.duck.sql(
                    f"""SELECT CAST(bucket AS DATE) AS day, sum(rows) FROM {relation}
                    WHERE cuboid = {base} AND sketch IS NULL GROUP BY ALL"""
                )
            )
            for relation, base in (
                (self.duck.scan(made, paths), str(self.cube.base)),
                (self._old(self.change.grains_from[daily]), self._old_base(daily)),
            )
        )
        lost: list[date] = sorted(day for day in {*there, *held} if there.get(day, 0) != held.get(day, 0))
        if lost:
            names = ", ".join([state.name for state in self.change.states] + [one.name for one in self.change.sketches])
            raise LakeError(
                f"The rows of {spans(lost)} are not the ones that cube {self.cube.name} was built of, "
                f"so {names} can't be made for these days; version {self.old.cube.digest} goes on answering.",
                todo="Declare the new measure in a cube of its own, or give up what only cells still hold: "
                f"`fleetcube build {self.cube.name} --from-rows`.",
            )
