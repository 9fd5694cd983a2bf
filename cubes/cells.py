"""Partial cells in work tables: from rows to base cells, from base cells to every cuboid and grain.

Each combination of dimension values gets an integer key first (table `fc_keys`), so everything after groups by two
integers instead of many texts; this is what keeps a build near the cost of one plain GROUP BY. At the finest grain
every cuboid is made from its smallest finished parent; one with as many groups as its parent shares the parent's keys,
and so its cells, which are held once and written for each. A coarser grain is made of the finer one's cells, all
cuboids at once. Each cuboid's cells lie together in the work tables and so in the files, without a sort of whole rows.
Work tables are temporary, belong to the connection, and spill to disk when memory is short:

    fc_keys(fc_k, cuboid, <dimensions>)        one row per group of a cuboid; dimensions left out are null; cuboids
                                               that share cells share fc_k
    fc_links(fc_k, parent, child_k, child)     the group of a child cuboid in which a parent's group lies
    fc_cells_<grain>(fc_k, bucket, rows, <states>)      bucket in microseconds since 1970
    fc_slots_<grain>(fc_k, bucket, sketch, slot, n)     slots of distributions, hashes of distinct values
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from cubes import buckets, distinct, histograms, measures
from cubes.cuboids import derivation
from cubes.measures import merge_sql, partial_sql, quoted
from cubes.model import Cube, Sketch
from cubes.segments import bucket_us_sql, segment_range, segment_sql
from lake.times import GRAINS, made_from

if TYPE_CHECKING:
    from lake.duck import Duck

_SLOT: Final = "fc_k, bucket, sketch, slot"
# zstd's level for new cells: soon merged, at the usual level; half the time of it and a tenth more bytes.
LEVEL: Final = 1
_ENUMERATED: Final = 2_000
# Groups up to which it is worth looking for the dimensions that tell them apart.
_FEW: Final = 20_000


@dataclass(frozen=True)
class WorkCells:
    """The cells of one cube in work tables of `duck`, while the context that made them is open.

    `twins` are the cuboids that share another's cells, each with that other one.
    """

    duck: Duck
    cube: Cube
    twins: Mapping[int, int]

    def segments(self) -> list[tuple[str, str]]:
        """The (grain, segment) pairs that the cells lie in, in order."""
        return [
            (grain, segment)
            for grain in self.cube.grains
            for (segment,) in self.duck.sql(
                f"""SELECT DISTINCT {segment_sql(grain, "make_timestamptz(bucket)")} AS segment
                FROM (SELECT DISTINCT bucket FROM fc_cells_{grain}) ORDER BY segment"""
            )
        ]

    def select(self, grain: str, segment: str, build: int) -> str:
        """SELECT of the cells and slot rows of one segment, with all columns of the cube's table.

        Each cuboid's lie together, the cells before the slots; where a segment is longer than a day, in order of time.
        """
        start, end = (int(moment.timestamp()) * 1_000_000 for moment in segment_range(grain, segment))
        parts = self._parts(grain, f"bucket >= {start} AND bucket < {end}", segment=segment, build=build)
        return " UNION ALL BY NAME ".join(parts)

    def counts(self) -> dict[str, dict[str, int]]:
        """Cells and slot rows by grain and cuboid (as text, for JSON)."""
        found: dict[str, dict[str, int]] = {}
        for grain in self.cube.grains:
            inside = " UNION ALL ".join(f"({part})" for part in self._parts(grain, "true", columns="cuboid"))
            rows = self.duck.sql(f"SELECT cuboid, count(*) FROM ({inside}) GROUP BY cuboid ORDER BY cuboid")
            found[grain] = {str(cuboid): count for cuboid, count in rows}
        return found

    def rows(self) -> int:
        """Rows of the fact behind the cells."""
        base = _of_cuboid(self.cube.base)
        return int(
            self.duck.sql(f"SELECT coalesce(sum(rows), 0) FROM fc_cells_{self.cube.grains[0]} WHERE {base}")[0][0]
        )

    def _parts(self, grain: str, where: str, *, columns: str = "", segment: str = "", build: int = 0) -> Iterator[str]:
        """A SELECT of the grain's cells, then one for the slots of each group of sketches."""
        cube = self.cube
        dims = ", ".join(quoted(name) for name in cube.dimensions)
        states = "".join(f", {quoted(state.name)}" for state in cube.states)
        head = f"'{grain}' AS grain, '{segment}' AS segment, cuboid, make_timestamptz(bucket) AS bucket, {dims}"
        whole = columns or f"{head}, NULL AS sketch, NULL AS slot, NULL AS n, rows{states}, {build} AS build"
        # The narrow rows are put in order, before their dimensions' texts are.
        ordered = not columns and GRAINS[grain].segment != "%Y-%m-%d"
        yield from self._selects(whole, f"fc_cells_{grain}", cube.cuboids, where, ordered=ordered)
        nulls = "".join(f", NULL AS {quoted(state.name)}" for state in cube.states)
        whole = columns or f"{head}, sketch, slot, n, NULL AS rows{nulls}, {build} AS build"
        for sketches in _alike(cube, grain):
            inside = f"{where} AND {_of(sketches)}"
            yield from self._selects(whole, f"fc_slots_{grain}", sketches[0].cuboids, inside, ordered=ordered)

    def _selects(self, whole: str, table: str, cuboids: Iterable[int], where: str, *, ordered: bool) -> Iterator[str]:
        """A SELECT for one of all cuboids that share cells, and one more for each of the others."""
        first: dict[int, int] = {}
        for cuboid in sorted(cuboids, reverse=True):
            first.setdefault(self.twins.get(cuboid, cuboid), cuboid)
        others = sorted(set(cuboids) - set(first.values()))
        for listed in (list(first.values()), *([cuboid] for cuboid in others)):
            keys = f"(SELECT * FROM fc_keys WHERE cuboid IN ({_listed(listed)}))"
            only = f" AND fc_k IN (SELECT fc_k FROM {keys})" if listed[0] in others else ""
            place = f"(SELECT max(cuboid) FROM {keys} AS k WHERE k.fc_k = c.fc_k)"
            order = f" ORDER BY {place}, bucket" if ordered else ""
            narrow = f"(SELECT * FROM {table} AS c WHERE {where}{only}{order})"
            yield f"SELECT {whole} FROM {narrow} JOIN {keys} USING (fc_k)"


@contextmanager
def work_cells(duck: Duck, cube: Cube, rows: str) -> Iterator[WorkCells]:
    """Aggregate the relation `rows` (columns of the fact) to every cuboid and grain of the cube.

    `rows` is scanned once for keys, once for base cells, and once per sketched column. The tables go with the context.
    """
    measures.install(duck)
    _drop(duck, cube)
    try:
        _make_keys(duck, cube, rows)
        lattice = _Lattice(duck, cube)
        lattice.share()
        _make_cells(lattice, rows)
        for sketches in _alike(cube, cube.grains[-1]):
            _make_slots(lattice, rows, sketches)
        yield WorkCells(duck, cube, lattice.twins)
    finally:
        _drop(duck, cube)


def _coded_rows(duck: Duck, cube: Cube, rows: str, cuboid: int) -> str:
    """The rows with `fc_k`, the key of their group in a cuboid; nulls of a dimension are one value."""
    kept = _telling(duck, cube, cuboid)
    # Renamed, so that an unqualified column means the fact's own.
    renamed = "".join(f", {quoted(name)} AS fc_d{place}" for place, name in kept)
    # As texts, which is what cells keep of a lookup's numbers too.
    pairs = (f"CAST({quoted(name)} AS VARCHAR) IS NOT DISTINCT FROM fc_d{place}" for place, name in kept)
    same = " AND ".join(pairs) or "true"
    return f"({rows} AS fc_rows JOIN (SELECT fc_k{renamed} FROM fc_keys WHERE cuboid = {cuboid}) AS fc_coded ON {same})"


def _telling(duck: Duck, cube: Cube, cuboid: int) -> list[tuple[int, str]]:
    """Dimensions of a cuboid, by place and name, that tell its groups apart; the others follow from them.

    A device lies in one host, which lies in one site: to find a row's group by few columns is quicker than by all.
    """
    left = [(place, name) for place, name in enumerate(cube.dimensions) if cuboid >> place & 1]
    keys = f"(SELECT * FROM fc_keys WHERE cuboid = {cuboid})"
    [(groups,)] = duck.sql(f"SELECT count(*) FROM {keys}")
    found: list[tuple[int, str]] = []
    apart = 1
    while apart < groups <= _FEW and len(left) > 1:
        tuples = (", ".join(quoted(name) for _, name in (*found, one)) for one in left)
        counted = duck.sql(f"SELECT {', '.join(f'count(DISTINCT row({names}))' for names in tuples)} FROM {keys}")[0]
        apart = max(counted)
        found.append(left.pop(counted.index(apart)))
    return found if apart >= groups else [*found, *left]


def _make_keys(duck: Duck, cube: Cube, rows: str) -> None:
    names = ", ".join(quoted(name) for name in cube.dimensions)
    texts = ", ".join(f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" for name in cube.dimensions)
    duck.execute(f"CREATE TEMP TABLE fc_found AS SELECT DISTINCT {texts} FROM {rows}")
    types = _enumerated(duck, cube)
    typed = ", ".join(f"CAST({quoted(name)} AS {types[name]}) AS {quoted(name)}" for name in cube.dimensions)
    wanted = {cube.base, *cube.cuboids, *(_top(sketches) for sketches in _alike(cube, cube.grains[-1]))}
    sets = ", ".join(f"({', '.join(quoted(name) for name in cube.kept(cuboid))})" for cuboid in sorted(wanted))
    # GROUPING's bits tell the dimensions left out, the last argument's in the lowest place.
    left_out = f"GROUPING({', '.join(quoted(name) for name in reversed(cube.dimensions))})"
    duck.execute(
        f"""CREATE TEMP TABLE fc_keys AS
        SELECT CAST(row_number() OVER (ORDER BY cuboid DESC) AS INTEGER) AS fc_k, cuboid, {names}
        FROM (SELECT {cube.base} - {left_out} AS cuboid, {names} FROM (SELECT {typed} FROM fc_found)
            GROUP BY GROUPING SETS ({sets}))"""
    )
    duck.execute("CREATE TEMP TABLE fc_links (fc_k INTEGER, parent BIGINT, child_k INTEGER, child BIGINT)")


def _enumerated(duck: Duck, cube: Cube) -> dict[str, str]:
    """The type of each dimension in `fc_keys`: an enumeration of its values, which is written to Parquet at half the
    cost of texts; a text where they are so many that writing their list into every row group would cost more.
    """
    found = duck.sql("SELECT count(*) FROM fc_found")[0][0]
    counted = ", ".join(f"count(DISTINCT {quoted(name)})" for name in cube.dimensions)
    counts = (found,) * len(cube.dimensions) if found <= _ENUMERATED else duck.sql(f"SELECT {counted} FROM fc_found")[0]
    types = {}
    for place, (name, count) in enumerate(zip(cube.dimensions, counts, strict=True)):
        types[name] = f"fc_type_{place}" if count <= _ENUMERATED else "VARCHAR"
        if types[name] != "VARCHAR":
            values = f"SELECT DISTINCT {quoted(name)} FROM fc_found WHERE {quoted(name)} IS NOT NULL ORDER BY ALL"
            duck.execute(f"CREATE TEMP TYPE {types[name]} AS ENUM ({values})")
    return types


@dataclass
class _Lattice:
    """Which group of each child cuboid a parent's groups lie in, written down once, and what is derived along it."""

    duck: Duck
    cube: Cube
    groups: dict[int, int] = field(default_factory=dict)
    done: set[tuple[int, int]] = field(default_factory=set)
    twins: dict[int, int] = field(default_factory=dict)

    def share(self) -> None:
        """Give a cuboid that has as many groups as its parent the parent's keys: their groups are one to one.

        What is derived for one of them then stands for both. Comes before anything is derived.
        """
        self.groups = dict(self.duck.sql("SELECT cuboid, CAST(count(*) AS BIGINT) FROM fc_keys GROUP BY cuboid"))
        for step in derivation(self.cube.base, self.groups, self.groups) if self.groups else ():
            for child in step.children:
                if self.groups[child] == self.groups[step.parent]:
                    self.twins[child] = self.twins.get(step.parent, step.parent)
                    self.duck.execute(
                        f"""UPDATE fc_keys SET fc_k = whole.fc_k
                        FROM (SELECT * FROM fc_keys WHERE cuboid = {step.parent}) AS whole
                        WHERE fc_keys.cuboid = {child} AND {self._same(child, "fc_keys", "whole")}"""
                    )

    def derive(self, table: str, top: int, wanted: Sequence[int], columns: str, merge: str) -> None:
        """Add the rows of the `wanted` cuboids to a work table that holds those of `top`.

        `columns` are the table's columns after fc_k and bucket; `merge` is a SELECT of the child's rows with the words
        {parts} for the relation of the parent's under the child's keys.
        """
        there = {self.twins.get(top, top)}
        for step in derivation(top, wanted, {cuboid: self.groups.get(cuboid, 0) for cuboid in {*wanted, top}}):
            for child in step.children:
                shared = self.twins.get(child, child)
                if shared in there:
                    continue
                there.add(shared)
                self._link(step.parent, child)
                links = f"SELECT fc_k, child_k FROM fc_links WHERE parent = {step.parent} AND child = {child}"
                parts = f"SELECT child_k AS fc_k, bucket, {columns} FROM {table} JOIN ({links}) USING (fc_k)"
                same = self.groups.get(step.parent) == self.groups.get(child)
                self.duck.execute(f"INSERT INTO {table} {parts if same else merge.format(parts=f'({parts})')}")

    def _link(self, parent: int, child: int) -> None:
        if (parent, child) in self.done:
            return
        self.done.add((parent, child))
        self.duck.execute(
            f"""INSERT INTO fc_links SELECT inner_keys.fc_k, {parent}, outer_keys.fc_k, {child}
            FROM (SELECT * FROM fc_keys WHERE cuboid = {parent}) AS inner_keys
            JOIN (SELECT * FROM fc_keys WHERE cuboid = {child}) AS outer_keys
            ON {self._same(child, "outer_keys", "inner_keys")}"""
        )

    def _same(self, cuboid: int, left: str, right: str) -> str:
        """Predicate that two relations of keys agree in every dimension that a cuboid keeps; nulls are one value."""
        names = [quoted(name) for name in self.cube.kept(cuboid)]
        return " AND ".join(f"{left}.{name} IS NOT DISTINCT FROM {right}.{name}" for name in names) or "true"


def _make_cells(lattice: _Lattice, rows: str) -> None:
    """Base cells of the finest grain from rows, the other cuboids from them, and the coarser grains from all."""
    duck, cube, finest = lattice.duck, lattice.cube, lattice.cube.grains[0]
    names = "".join(f", {quoted(state.name)}" for state in cube.states)
    partials = "".join(f", {partial_sql(state)} AS {quoted(state.name)}" for state in cube.states)
    merges = "".join(f", {merge_sql(state)} AS {quoted(state.name)}" for state in cube.states)
    merges = f"CAST(sum(rows) AS BIGINT) AS rows{merges}"
    duck.execute(
        f"""CREATE TEMP TABLE fc_cells_{finest} AS
        SELECT fc_k, {bucket_us_sql(finest, "epoch_us(ts)")} AS bucket, count(*) AS rows{partials}
        FROM {_coded_rows(duck, cube, rows, cube.base)} GROUP BY ALL"""
    )
    merge = f"SELECT fc_k, bucket, {merges} FROM {{parts}} GROUP BY fc_k, bucket"
    lattice.derive(f"fc_cells_{finest}", cube.base, cube.cuboids, f"rows{names}", merge)
    for grain, finer in made_from(cube.grains).items():
        # In the order of the keys, which is that of the cuboids.
        duck.execute(
            f"""CREATE TEMP TABLE fc_cells_{grain} AS
            SELECT fc_k, {bucket_us_sql(grain, "finer.bucket")} AS bucket, {merges}
            FROM fc_cells_{finer} AS finer GROUP BY ALL ORDER BY fc_k"""
        )


def _make_slots(lattice: _Lattice, rows: str, sketches: Sequence[Sketch]) -> None:
    """Slots of sketches that are kept in the same cuboids: counted once for their common parent, then added up."""
    duck, cube = lattice.duck, lattice.cube
    top, grains, most = _top(sketches), sketches[0].grains, sketches[0].most
    finest = grains[0]
    # A table of their own first: what is derived must not meet the slots of other sketches.
    merge = f"SELECT {_SLOT}, CAST(sum(n) AS BIGINT) AS n FROM {{parts}} GROUP BY {_SLOT}{_smallest(most)}"
    for grain in grains:
        duck.execute(
            f"""CREATE TEMP TABLE IF NOT EXISTS fc_slots_{grain}
            (fc_k INTEGER, bucket BIGINT, sketch VARCHAR, slot BIGINT, n BIGINT)"""
        )
    duck.execute(f"CREATE TEMP TABLE fc_slots_new AS SELECT * FROM fc_slots_{finest} LIMIT 0")
    for sketch in sketches:
        duck.execute(f"INSERT INTO fc_slots_new {_counted(duck, cube, sketch, rows, top)}")
    lattice.derive("fc_slots_new", top, sketches[0].cuboids, "sketch, slot, n", merge)
    duck.execute(f"INSERT INTO fc_slots_{finest} SELECT * FROM fc_slots_new")
    duck.execute("DROP TABLE fc_slots_new")
    for grain, finer in made_from(grains).items():
        coarse = f"""SELECT fc_k, {bucket_us_sql(grain, "finer.bucket")} AS bucket, sketch, slot, n
            FROM fc_slots_{finer} AS finer WHERE {_of(sketches)}"""
        duck.execute(f"INSERT INTO fc_slots_{grain} {merge.format(parts=f'({coarse})')} ORDER BY fc_k")


def _counted(duck: Duck, cube: Cube, sketch: Sketch, rows: str, top: int) -> str:
    """SELECT of one sketch's slots of a cuboid, from rows."""
    value = quoted(sketch.column)
    if sketch.column == histograms.COUNTS:
        head = f"fc_k, {bucket_us_sql(sketch.grains[0], 'epoch_us(ts)')} AS bucket, '{sketch.name}' AS sketch,"
        observed = histograms.observed_sql(_coded_rows(duck, cube, rows, top), head)
        return f"SELECT {_SLOT}, CAST(sum(n) AS BIGINT) AS n FROM ({observed}) GROUP BY {_SLOT}"
    values = f"""SELECT fc_k, {bucket_us_sql(sketch.grains[0], "epoch_us(ts)")} AS bucket, {value} AS fc_value
        FROM {_coded_rows(duck, cube, rows, top)} WHERE {value} IS NOT NULL"""
    if sketch.kind == "distinct":
        # Counted by value first, so that each is hashed once.
        values = f"SELECT fc_k, bucket, fc_value, count(*) AS fc_n FROM ({values}) GROUP BY ALL"
        slots, n = f"SELECT *, {distinct.hash_sql('fc_value')} AS fc_slot FROM ({values})", "CAST(sum(fc_n) AS BIGINT)"
    else:
        slots, n = f"SELECT * FROM {buckets.with_slots_sql(f'({values})', 'fc_value')}", "count(*)"
    return f"""SELECT fc_k, bucket, '{sketch.name}' AS sketch, fc_slot AS slot, {n} AS n FROM ({slots})
        GROUP BY fc_k, bucket, fc_slot{_smallest(sketch.most)}"""


def _smallest(most: int) -> str:
    """QUALIFY that keeps the smallest slots of each cell, where a sketch keeps no more than `most` (0: all)."""
    window = "row_number() OVER (PARTITION BY fc_k, bucket, sketch ORDER BY slot)"
    return f" QUALIFY {window} <= {most}" if most else ""


def _of(sketches: Iterable[Sketch]) -> str:
    return f"sketch IN ({', '.join(repr(sketch.name) for sketch in sketches)})"


def _of_cuboid(cuboid: int) -> str:
    return f"fc_k IN (SELECT fc_k FROM fc_keys WHERE cuboid = {cuboid})"


def _alike(cube: Cube, grain: str) -> list[tuple[Sketch, ...]]:
    """The sketches of a grain, those of one kind kept at the same grains in the same cuboids together."""
    found: dict[tuple[object, ...], list[Sketch]] = {}
    for sketch in cube.sketches:
        if grain in sketch.grains:
            found.setdefault((sketch.grains, sketch.cuboids, sketch.kind, sketch.most), []).append(sketch)
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
    tables = ["fc_found", "fc_keys", "fc_links", "fc_slots_new"]
    tables += [f"fc_{kind}_{grain}" for kind in ("cells", "slots") for grain in cube.grains]
    for table in tables:
        duck.execute(f"DROP TABLE IF EXISTS {table}")
    for place in range(len(cube.dimensions)):
        duck.execute(f"DROP TYPE IF EXISTS fc_type_{place}")
