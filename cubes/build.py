"""Builds and refreshes: the new trusted rows of a cube's fact become partial cells, in one Delta commit.

A cube's table is a log of partial cells. A *build* appends the cells of the rows above the cube's watermark, which is
the greatest batch it holds; days from which rows were withdrawn since are made anew in the same commit. A *refresh*
makes days anew from the very rows that the cube stands on: trusted as of its `source` version, up to its watermark.
The commit's transaction numbers `build`, `watermark` and `source` are the only authority on what was done; a killed
build leaves files that no version names, and the next one overwrites them.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import date
from queue import SimpleQueue
from typing import TYPE_CHECKING

from cubes.cells import LEVEL, WorkCells, work_cells
from cubes.compact import merged_sql
from cubes.expired import expired
from cubes.lookup_state import changed_days, newest_lookups, transaction
from cubes.model import Cube
from cubes.segments import bucket_starts, bucket_us_sql, segment_range, segment_sql, table_of, touched_segments
from cubes.source import ALL_BELOW, Source, among, stale_days, stood_on
from lake import delta, ledger, tables
from lake.errors import LakeError, OutOfMemory
from lake.faults import faultpoint
from lake.intents import work_folder
from lake.lease import lease
from lake.places import is_remote
from lake.times import GRAINS, iso, made_from, utc_now

if TYPE_CHECKING:
    from pathlib import Path

    from lake.delta import DataFile, Snapshot
    from lake.duck import Duck
    from lake.settings import Settings

Progress = Callable[[str, int, int], None]
# Files, rows and counts of one chunk.
_Made = tuple["list[DataFile]", int, dict[str, dict[str, int]]]

_ORDER = "cuboid, sketch NULLS FIRST, bucket"
_STATS = ("cuboid", "bucket")
# Chunks of days under way at a time: each takes memory, and has a share of the threads.
_SIDE_BY_SIDE = 2


@dataclass(frozen=True)
class BuildResult:
    """What one build or refresh did. `kind` is build, refresh or none (nothing was new, nothing was committed).

    `watermark_from` is 0 for a first build; `cells` counts cells and slot rows, `cuboid_rows` the same by grain and
    cuboid; `refreshed` are the days made anew.
    """

    cube: str
    kind: str
    build: int
    watermark_from: int
    watermark_to: int
    source: int
    rows: int = 0
    cells: int = 0
    cuboid_rows: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    refreshed: tuple[date, ...] = ()
    seconds: float = 0.0


def build(settings: Settings, duck: Duck, cube: Cube, *, progress: Progress | None = None) -> BuildResult:
    """Bring the cube up to the newest trusted batch; `progress(step, done, of)` is told of chunks of days.

    Errors: LakeError when another process builds this cube or changed its table meanwhile; nothing is visible then.
    """
    with lease(settings.lake, table_of(cube).key):
        cells = delta.open_snapshot(settings.lake, table_of(cube))
        trusted = delta.open_snapshot(settings.lake, tables.trusted(cube.fact))
        watermark = cells.txn("watermark") or 0
        newest = trusted.txn("gate") or 0
        # A first build takes batch 0 too, should there be one.
        above = ALL_BELOW if cells.txn("watermark") is None else watermark
        lookups = newest_lookups(settings.lake, cube)
        moved = above != ALL_BELOW and _moved(cells, lookups)
        if (newest <= above and not moved) or trusted.version < (cells.txn("source") or 0):
            return BuildResult(
                cube.name, "none", cells.txn("build") or 0, watermark, watermark, cells.txn("source") or 0
            )
        source = Source(cube, trusted, above, max(newest, above), lookups=lookups)
        stale = stale_days(duck, settings.lake, source, cells)
        if moved:
            # What has expired keeps what its lookups said.
            renamed = changed_days(duck, settings.lake, cube, cells, lookups)
            stale |= renamed - expired(duck, settings.lake, cube).lasting
        return _Run(settings, duck, cells, replace(source, whole=stale), progress).publish("build")


def is_due(lake: Path, cube: Cube) -> bool:
    """Whether a build would change the cube: rows or withdrawals newer than its watermark, or a newer lookup."""
    trusted = delta.open_snapshot(lake, tables.trusted(cube.fact))
    if not trusted.exists:
        return False
    cells = delta.open_snapshot(lake, table_of(cube))
    watermark = cells.txn("watermark")
    if watermark is None or (trusted.txn("gate") or 0) > watermark:
        return True
    try:
        return _moved(cells, newest_lookups(lake, cube))
    except LakeError:
        # A lookup was never loaded: the build is what says so.
        return True


def refresh(
    settings: Settings, duck: Duck, cube: Cube, days: Iterable[date], *, progress: Progress | None = None
) -> BuildResult:
    """Make the cells of these UTC days anew from the trusted rows that the cube stands on; other days stay as they are.

    Errors: LakeError when the cube was never built, or when trusted no longer has its source version,
    or when rows of these days have expired.
    """
    with lease(settings.lake, table_of(cube).key):
        cells = delta.open_snapshot(settings.lake, table_of(cube))
        held = stood_on(settings.lake, cube, cells)
        source = replace(held, above=held.upto, whole=frozenset(days))
        expired(duck, settings.lake, cube).refuse(cube.name, source.whole, "refreshed")
        if not source.whole:
            upto, version = source.upto, source.snapshot.version
            return BuildResult(cube.name, "none", cells.txn("build") or 0, upto, upto, version)
        return _Run(settings, duck, cells, source, progress).publish("refresh")


class _Run:
    """One build under way: files are written first, then all of them are committed at once."""

    def __init__(
        self, settings: Settings, duck: Duck, cells: Snapshot, source: Source, progress: Progress | None
    ) -> None:
        self.settings, self.duck, self.cube = settings, duck, source.cube
        self.cells, self.source, self.progress = cells, source, progress
        self.started = time.monotonic()
        self.number = (cells.txn("build") or 0) + 1
        self.rows = 0
        self.gone = expired(duck, settings.lake, source.cube, cells)
        self.counts: dict[str, dict[str, int]] = {}

    def publish(self, kind: str) -> BuildResult:
        """Write, commit, record."""
        adds = self._new_cells()
        removes = self._outdated()
        adds += self._kept(removes)
        faultpoint("builder.cells.after")
        numbers = {"build": self.number, "watermark": self.source.upto, "source": self.source.snapshot.version}
        versions = self.source.lookups or {}
        numbers |= {transaction(name): snapshot.version for name, snapshot in versions.items()}
        txns = {name: number for name, number in numbers.items() if number > self._stored(name)}
        faultpoint("builder.commit.before")
        delta.commit(self.settings.lake, self.cells.ref, self.cells, adds=adds, removes=removes, txns=txns)
        faultpoint("builder.commit.after")
        result = BuildResult(
            cube=self.cube.name,
            kind=kind,
            build=self.number,
            watermark_from=self.cells.txn("watermark") or 0,
            watermark_to=self.source.upto,
            source=self.source.snapshot.version,
            rows=self.rows,
            cells=sum(count for counts in self.counts.values() for count in counts.values()),
            cuboid_rows=tuple((grain, tuple(counts.items())) for grain, counts in self.counts.items()),
            refreshed=tuple(sorted(self.source.whole)),
            seconds=time.monotonic() - self.started,
        )
        record(self.settings, self.duck, self.cube, result)
        return result

    def _stored(self, name: str) -> int:
        stored = self.cells.txn(name)
        return -1 if stored is None else stored

    def _new_cells(self) -> list[DataFile]:
        """The files of the new cells: chunk by chunk of days, so that memory doesn't grow with history."""
        if self.settings.engine == "spark":
            return self._by_spark()
        cores = self.settings.threads or os.cpu_count() or 1
        chunks = self.source.chunks(min(_SIDE_BY_SIDE, cores))
        workers = max(1, min(_SIDE_BY_SIDE, cores, len(chunks)))
        self._tell("aggregate", 0, len(chunks))
        made, too_much = self._side_by_side(chunks, workers, cores)
        for place in too_much:
            self._tell("aggregate with all of the memory", len(made), len(chunks))
            made.append(self._chunk(self.duck, place, chunks[place]))
        for _, rows, counts in made:
            self._count(rows, counts)
        self._tell("commit", len(chunks), len(chunks))
        return [file for files, _, _ in made for file in files]

    def _side_by_side(self, chunks: list[list[date]], workers: int, cores: int) -> tuple[list[_Made], list[int]]:
        """What was made of the chunks, and the places of those that a share of the memory was too small for."""
        made: list[_Made] = []
        too_much: list[int] = []
        free: SimpleQueue[Duck] = SimpleQueue()

        def work(place: int, days: list[date]) -> _Made:
            duck = free.get()
            try:
                return self._chunk(duck, place, days)
            finally:
                free.put(duck)

        with ExitStack() as stack:
            ducks = [stack.enter_context(self._engine(workers, cores)) for _ in range(workers)]
            for duck in ducks:
                free.put(duck)
            with ThreadPoolExecutor(workers) as pool:
                runs = {pool.submit(work, place, days): place for place, days in enumerate(chunks)}
                try:
                    for done, run in enumerate(as_completed(runs), start=1):
                        try:
                            made.append(run.result())  # the first failure ends the build, not the last chunk
                        except OutOfMemory:
                            if workers == 1:
                                raise
                            too_much.append(runs[run])
                        self._tell("aggregate", done, len(chunks))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    for duck in ducks:
                        duck.interrupt()
                    raise
        return made, too_much

    def _engine(self, workers: int, cores: int) -> AbstractContextManager[Duck]:
        """What works on a chunk: one alone has this build's engine, several have engines with a share each.

        Engines with a thread each keep two cores busier than one engine with both: no thread waits for another.
        """
        if workers == 1:
            return nullcontext(self.duck)
        from lake.engines import own_engine

        spill = None if is_remote(self.settings.lake) else work_folder(self.settings.lake, "spill")
        share = self.settings.memory_mib // workers
        return own_engine(self.settings, threads=max(1, cores // workers), memory_mib=share, spill_in=spill)

    def _chunk(self, duck: Duck, place: int, days: list[date]) -> _Made:
        """Files, rows and counts of one chunk."""
        with work_cells(duck, self.cube, self.source.relation(duck, days)) as work:
            faultpoint("builder.scan.after")
            return self._write(work, f"build-{self.number:08d}-{place:04d}"), work.rows(), work.counts()

    def _by_spark(self) -> list[DataFile]:
        """The same files, made by Spark's tasks."""
        from cubes.spark.build import spark_cells

        self._tell("aggregate on Spark", 0, 1)
        made = spark_cells(
            self.settings, self.duck, self.source, self.number, stats=_STATS, order=_ORDER, gone=self.gone
        )
        faultpoint("builder.spark.after")
        self.rows, self.counts = made.rows, made.counts
        self._tell("commit", 1, 1)
        return made.files

    def _write(self, work: WorkCells, stem: str) -> list[DataFile]:
        """One file for each segment that the work tables touch, in the order in which they give it."""
        files: list[DataFile] = []
        # Late rows of a range that has expired go to the grains that survive.
        for grain, segment in [part for part in work.segments() if part not in self.gone.segments]:
            files += work.duck.write(
                self.gone.new_sql(self.cube, work.select(grain, segment, self.number), grain, segment),
                self.settings.lake,
                self.cells.ref,
                stem,
                stats=_STATS,
                order=_ORDER if self.gone.dropped(grain, segment) else "",
                partition={"grain": grain, "segment": segment},
                enumerated=self.cube.dimensions,
                level=LEVEL,
            )
        return files

    def _outdated(self) -> list[DataFile]:
        """The files that may hold cells of the days to be made anew."""
        touched = touched_segments(self.cube.grains, self.source.whole)
        return [file for file in self.cells.files if _segment(file) in touched]

    def _kept(self, removes: list[DataFile]) -> list[DataFile]:
        """Files with the other days' cells of the outdated files, by segment, unchanged to the build number."""
        files: list[DataFile] = []
        for grain, segment in sorted({_segment(file) for file in removes}):
            paths = [str(self.cells.root / file.path) for file in removes if _segment(file) == (grain, segment)]
            files += self.duck.write(
                self._others(grain, segment, paths),
                self.settings.lake,
                self.cells.ref,
                f"build-{self.number:08d}-kept",
                stats=_STATS,
                order=_ORDER,
                partition={"grain": grain, "segment": segment},
            )
        return files

    def _others(self, grain: str, segment: str, paths: list[str]) -> str:
        """SELECT of what a segment's outdated files hold of the other days.

        A week or month that also holds other days is made of those days' cells again.
        """
        scan = self.duck.scan(self.cells, paths)
        if GRAINS[grain].within_day:
            return f"SELECT * FROM {scan} WHERE NOT {among('CAST(bucket AS DATE)', self.source.whole)}"
        touched = bucket_starts(grain, self.source.whole)
        finer = made_from(self.cube.grains)[grain]
        start = f"make_timestamptz({bucket_us_sql(grain, 'epoch_us(bucket)')})"
        finer_cells = self.duck.scan(self.cells, self.cells.paths(lambda file: file.partition["grain"] == finer))
        # Days that no longer tell a dimension can't be made into a week that does.
        finer_cells = f"(SELECT * FROM {finer_cells} WHERE {segment_sql(grain, start)} = '{segment}')"
        told = self.gone.told(
            self.cube, finer, finer_cells, self.gone.dropped(grain, segment), segment_range(grain, segment)
        )
        days = f"""(SELECT * REPLACE ('{grain}' AS grain, '{segment}' AS segment, {start} AS bucket)
            FROM {told}
            WHERE CAST({start} AS DATE) IN ({touched})
            AND NOT {among("CAST(bucket AS DATE)", self.source.whole)})"""
        whole = f"SELECT * FROM {scan} WHERE CAST(bucket AS DATE) NOT IN ({touched})"
        return f"{whole} UNION ALL BY NAME {merged_sql(self.cube, days)}"

    def _count(self, rows: int, made: Mapping[str, Mapping[str, int]]) -> None:
        self.rows += rows
        for grain, counts in made.items():
            held = self.counts.setdefault(grain, {})
            for cuboid, count in counts.items():
                held[cuboid] = held.get(cuboid, 0) + count

    def _tell(self, step: str, done: int, of: int) -> None:
        if self.progress is not None:
            self.progress(step, done, of)


def _moved(cells: Snapshot, lookups: Mapping[str, Snapshot]) -> bool:
    """Whether a lookup has a newer version than the cells were made with."""
    return any(cells.txn(transaction(name)) != snapshot.version for name, snapshot in lookups.items())


def _segment(file: DataFile) -> tuple[str, str]:
    return str(file.partition["grain"]), str(file.partition["segment"])


def record(settings: Settings, duck: Duck, cube: Cube, result: BuildResult) -> None:
    """A row of `builds` and one of the ledger: for people, after the fact; a kill before them loses only these."""
    counts = json.dumps({grain: dict(cuboids) for grain, cuboids in result.cuboid_rows}, separators=(",", ":"))
    digest = hashlib.sha256(
        f"{cube.digest} {result.watermark_from} {result.watermark_to} {counts}".encode()
    ).hexdigest()
    row = f"""SELECT '{cube.name}' AS cube, '{cube.digest}' AS definition, {result.build} AS build,
        '{result.kind}' AS kind, {result.watermark_from} AS watermark_from, {result.watermark_to} AS watermark_to,
        {result.source} AS source_version, {result.rows} AS rows_read, {result.cells} AS cells,
        '{counts}' AS cuboid_rows, '{digest[:16]}' AS digest, {result.seconds:.6f} AS seconds,
        TIMESTAMPTZ '{iso(utc_now())}' AS built_at"""
    stem = f"{cube.name}-{cube.digest}-{result.build:08d}"
    files = duck.write(row, settings.lake, tables.BUILDS, stem)
    delta.commit(settings.lake, tables.BUILDS, delta.open_snapshot(settings.lake, tables.BUILDS), adds=files, txns={})
    detail = {"build": result.build, "kind": result.kind, "watermark": result.watermark_to, "cells": result.cells}
    ledger.record(settings, duck, result.kind, cube.name, rows=result.rows, seconds=result.seconds, detail=detail)
