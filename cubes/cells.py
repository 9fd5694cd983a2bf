"""Partial cells in work tables: from rows to base cells, from base cells to every cuboid and grain.

Each combination of dimension values gets an integer key first (table `fc_keys`), so everything after groups by two
integers instead of many texts; this is what keeps a build near the cost of one plain GROUP BY. Work tables are
temporary, belong to the connection, and spill to disk when memory is short:

    fc_keys(fc_k, cuboid, <dimensions>)        one row per group of a cuboid; dimensions left out are null
    fc_links(fc_k, parent, child_k, child)     the group of a child cuboid in which a parent's group lies
    fc_cells_<grain>(fc_k, bucket, rows, <states>)      bucket in microseconds since 1970
    fc_slots_<grain>(fc_k, bucket, sketch, slot, n)
    fc_times_<grain>(bucket, fc_at, segment)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from cubes import buckets
from cubes.cuboids import Step, derivation
from cubes.measures import merge_sql, partial_sql, quoted
from cubes.model import Cube, Sketch
from cubes.segments import bucket_us_sql, segment_sql

if TYPE_CHECKING:
    from lake.duck import Duck


@dataclass(frozen=True)
class WorkCells:
    """The cells of one cube in work tables of `duck`, while the context that made them is open."""

    duck: Duck
    cube: Cube

    def segments(self) -> list[tuple[str, str]]:
        """The (grain, segment) pairs that the cells lie in, in order."""
        return [
            (grain, segment)
            for grain in self.cube.grains
            for (segment,) in self.duck.sql(f"SELECT DISTINCT segment FROM fc_times_{grain} ORDER BY segment")
        ]

    def select(self, grain: str, segment: str, build: int) -> str:
        """SELECT of the cells and slot rows of one segment, with all columns of the cube's table."""
        parts = " UNION ALL BY NAME ".join(self._parts(grain, build))
        return f"SELECT * FROM ({parts}) WHERE segment = '{segment}'"

    def counts(self) -> dict[str, dict[str, int]]:
        """Cells and slot rows by grain and cuboid (as text, for JSON)."""
        found: dict[str, dict[str, int]] = {}
        for grain in self.cube.grains:
            inside = " UNION ALL ".join(f"({part})" for part in self._parts(grain, 0, "cuboid"))
            rows = self.duck.sql(f"SELECT cuboid, count(*) FROM ({inside}) GROUP BY cuboid ORDER BY cuboid")
            found[grain] = {str(cuboid): count for cuboid, count in rows}
        return found

    def rows(self) -> int:
        """Rows of the fact behind the cells."""
        base = self._of_cuboids([self.cube.base])
        return int(
            self.duck.sql(f"SELECT coalesce(sum(rows), 0) FROM fc_cells_{self.cube.grains[0]} WHERE {base}")[0][0]
        )

    def _parts(self, grain: str, build: int, columns: str = "") -> Iterator[str]:
        """A SELECT of the grain's cells, then one for the slots of each group of sketches."""
        cube = self.cube
        dims = ", ".join(quoted(name) for name in cube.dimensions)
        states = ", ".join(quoted(state.name) for state in cube.states)
        head = f"'{grain}' AS grain, segment, cuboid, fc_at AS bucket, {dims}"
        joins = f"JOIN fc_keys USING (fc_k) JOIN fc_times_{grain} USING (bucket)"
        whole = columns or f"{head}, NULL AS sketch, NULL AS slot, NULL AS n, rows, {states}, {build} AS build"
        yield f"SELECT {whole} FROM fc_cells_{grain} {joins} WHERE cuboid IN ({_listed(cube.cuboids)})"
        nulls = ", ".join(f"NULL AS {quoted(state.name)}" for state in cube.states)
        whole = columns or f"{head}, sketch, slot, n, NULL AS rows, {nulls}, {build} AS build"
        for sketches in _alike(cube, grain):
            names = ", ".join(f"'{sketch.column}'" for sketch in sketches)
            yield f"""SELECT {whole} FROM fc_slots_{grain} {joins}
                WHERE sketch IN ({names}) AND cuboid IN ({_listed(sketches[0].cuboids)})"""

    def _of_cuboids(self, cuboids: Iterable[int]) -> str:
        return f"fc_k IN (SELECT fc_k FROM fc_keys WHERE cuboid IN ({_listed(cuboids)}))"


@contextmanager
def work_cells(duck: Duck, cube: Cube, rows: str) -> Iterator[WorkCells]:
    """Aggregate the relation `rows` (columns of the fact) to every cuboid and grain of the cube.

    `rows` is scanned once for keys, once for base cells, and once per sketched column. The tables go with the context.
    """
    buckets.install(duck)
    _drop(duck, cube)
    try:
        _make_keys(duck, cube, rows)
        _make_cells(duck, cube, rows)
        for sketches in _alike(cube, cube.grains[-1]):
            _make_slots(duck, cube, rows, sketches)
        _make_times(duck, cube)
        yield WorkCells(duck, cube)
    finally:
        _drop(duck, cube)


def coded_rows(cube: Cube, rows: str, cuboid: int) -> str:
    """The rows with `fc_k`, the key of their group in a cuboid; nulls of a dimension are one value."""
    kept = [(place, name) for place, name in enumerate(cube.dimensions) if cuboid >> place & 1]
    # Renamed, so that an unqualified column means the fact's own.
    renamed = "".join(f", {quoted(name)} AS fc_d{place}" for place, name in kept)
    same = " AND ".join(f"{quoted(name)} IS NOT DISTINCT FROM fc_d{place}" for place, name in kept) or "true"
    return f"({rows} AS fc_rows JOIN (SELECT fc_k{renamed} FROM fc_keys WHERE cuboid = {cuboid}) AS fc_coded ON {same})"


def _make_keys(duck: Duck, cube: Cube, rows: str) -> None:
    names = ", ".join(quoted(name) for name in cube.dimensions)
    duck.execute(
        f"""CREATE TEMP TABLE fc_keys AS
        SELECT CAST(row_number() OVER () AS INTEGER) AS fc_k, {cube.base} AS cuboid, *
        FROM (SELECT DISTINCT {names} FROM {rows})"""
    )
    wanted = {*cube.cuboids, *(_top(sketches) for sketches in _alike(cube, cube.grains[-1]))}
    for cuboid in sorted(wanted - {cube.base}):
        masked = ", ".join(
            quoted(name) if cuboid >> place & 1 else f"CAST(NULL AS VARCHAR) AS {quoted(name)}"
            for place, name in enumerate(cube.dimensions)
        )
        duck.execute(
            f"""INSERT INTO fc_keys SELECT (SELECT max(fc_k) FROM fc_keys) + row_number() OVER (), {cuboid}, *
            FROM (SELECT DISTINCT {masked} FROM fc_keys WHERE cuboid = {cube.base})"""
        )
    duck.execute("CREATE TEMP TABLE fc_links (fc_k INTEGER, parent BIGINT, child_k INTEGER, child BIGINT)")


def _make_cells(duck: Duck, cube: Cube, rows: str) -> None:
    """Base cells of the finest grain from rows, the other cuboids from them, and the coarser grains from all."""
    finest = cube.grains[0]
    partials = "".join(f", {partial_sql(state)} AS {quoted(state.name)}" for state in cube.states)
    duck.execute(
        f"""CREATE TEMP TABLE fc_cells_{finest} AS
        SELECT fc_k, {bucket_us_sql(finest, "epoch_us(ts)")} AS bucket, count(*) AS rows{partials}
        FROM {coded_rows(cube, rows, cube.base)} GROUP BY ALL"""
    )
    merges = "".join(f", {merge_sql(state)} AS {quoted(state.name)}" for state in cube.states)
    merges = f"CAST(sum(rows) AS BIGINT) AS rows{merges}"
    for step in _steps(duck, cube, cube.base, cube.cuboids):
        _link(duck, cube, step)
        duck.execute(
            f"""INSERT INTO fc_cells_{finest} SELECT child_k, bucket, {merges}
            FROM fc_cells_{finest} JOIN fc_links USING (fc_k) WHERE {_of_step(step)} GROUP BY child_k, bucket"""
        )
    for finer, grain in pairwise(cube.grains):
        duck.execute(
            f"""CREATE TEMP TABLE fc_cells_{grain} AS
            SELECT fc_k, {bucket_us_sql(grain, "bucket")} AS bucket, {merges}
            FROM fc_cells_{finer} AS finer GROUP BY fc_k, {bucket_us_sql(grain, "finer.bucket")}"""
        )


def _make_slots(duck: Duck, cube: Cube, rows: str, sketches: Sequence[Sketch]) -> None:
    """Slots of sketches that are kept in the same cuboids: counted once for their common parent, then added up."""
    top, grains = _top(sketches), sketches[0].grains
    names = ", ".join(f"'{sketch.column}'" for sketch in sketches)
    for grain in grains:
        duck.execute(
            f"""CREATE TEMP TABLE IF NOT EXISTS fc_slots_{grain}
            (fc_k INTEGER, bucket BIGINT, sketch VARCHAR, slot INTEGER, n BIGINT)"""
        )
    finest = grains[0]
    for sketch in sketches:
        value = quoted(sketch.column)
        values = f"""SELECT fc_k, {bucket_us_sql(finest, "epoch_us(ts)")} AS bucket, {value} AS fc_value
            FROM {coded_rows(cube, rows, top)} WHERE {value} IS NOT NULL"""
        duck.execute(
            f"""INSERT INTO fc_slots_{finest}
            SELECT fc_k, bucket, '{sketch.column}', fc_slot, count(*)
            FROM {buckets.with_slots_sql(f"({values})", "fc_value")} GROUP BY fc_k, bucket, fc_slot"""
        )
    for step in _steps(duck, cube, top, sketches[0].cuboids):
        _link(duck, cube, step)
        duck.execute(
            f"""INSERT INTO fc_slots_{finest} SELECT child_k, bucket, sketch, slot, sum(n)
            FROM fc_slots_{finest} JOIN fc_links USING (fc_k)
            WHERE {_of_step(step)} AND sketch IN ({names}) GROUP BY child_k, bucket, sketch, slot"""
        )
    for finer, grain in pairwise(grains):
        duck.execute(
            f"""INSERT INTO fc_slots_{grain}
            SELECT fc_k, {bucket_us_sql(grain, "finer.bucket")} AS coarse, sketch, slot, sum(n)
            FROM fc_slots_{finer} AS finer WHERE sketch IN ({names}) GROUP BY fc_k, coarse, sketch, slot"""
        )


def _make_times(duck: Duck, cube: Cube) -> None:
    for grain in cube.grains:
        duck.execute(
            f"""CREATE TEMP TABLE fc_times_{grain} AS
            SELECT bucket, make_timestamptz(bucket) AS fc_at, {segment_sql(grain, "fc_at")} AS segment
            FROM (SELECT DISTINCT bucket FROM fc_cells_{grain})"""
        )


def _steps(duck: Duck, cube: Cube, top: int, wanted: Sequence[int]) -> tuple[Step, ...]:
    groups = {cuboid: int(count) for cuboid, count in duck.sql("SELECT cuboid, count(*) FROM fc_keys GROUP BY cuboid")}
    return derivation(top, wanted, {cuboid: groups.get(cuboid, 0) for cuboid in {*wanted, top}})


def _link(duck: Duck, cube: Cube, step: Step) -> None:
    """Write down, once, in which group of each child the groups of the parent lie."""
    done = {child for (child,) in duck.sql(f"SELECT DISTINCT child FROM fc_links WHERE parent = {step.parent}")}
    for child in set(step.children) - done:
        same = " AND ".join(
            f"outer_keys.{quoted(name)} IS NOT DISTINCT FROM inner_keys.{quoted(name)}" for name in cube.kept(child)
        )
        duck.execute(
            f"""INSERT INTO fc_links SELECT inner_keys.fc_k, {step.parent}, outer_keys.fc_k, {child}
            FROM (SELECT * FROM fc_keys WHERE cuboid = {step.parent}) AS inner_keys
            JOIN (SELECT * FROM fc_keys WHERE cuboid = {child}) AS outer_keys ON {same or "true"}"""
        )


def _of_step(step: Step) -> str:
    return f"parent = {step.parent} AND child IN ({_listed(step.children)})"


def _alike(cube: Cube, grain: str) -> list[tuple[Sketch, ...]]:
    """The sketches of a grain, those kept at the same grains in the same cuboids together."""
    found: dict[tuple[tuple[str, ...], tuple[int, ...]], list[Sketch]] = {}
    for sketch in cube.sketches:
        if grain in sketch.grains:
            found.setdefault((sketch.grains, sketch.cuboids), []).append(sketch)
    return [tuple(group) for group in found.values()]


def _top(sketches: Sequence[Sketch]) -> int:
    """The smallest cuboid, kept or not, from which all cuboids of the sketches can be derived."""
    top = 0
    for cuboid in sketches[0].cuboids:
        top |= cuboid
    return top


def _listed(cuboids: Iterable[int]) -> str:
    return ", ".join(str(cuboid) for cuboid in cuboids)


def _drop(duck: Duck, cube: Cube) -> None:
    tables = ["fc_keys", "fc_links"]
    tables += [f"fc_{kind}_{grain}" for kind in ("cells", "slots", "times") for grain in cube.grains]
    for table in tables:
        duck.execute(f"DROP TABLE IF EXISTS {table}")
