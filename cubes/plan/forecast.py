"""What a cube will hold before it is built: cells, rows of distributions, bytes and seconds by cuboid and grain.

Cells and distribution rows are counted on hashes of keys (`cubes.plan.distinct`), chunk by chunk of days as a build
reads them. Bytes and seconds are rates measured here and now: some days' rows (thinned by key where they are very many)
are aggregated and written as a build would, beside the lake's tables, and thrown away. Seconds are an estimate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from cubes.cells import LEVEL, WorkCells, work_cells
from cubes.histograms import BESIDE, COUNTS
from cubes.measures import quoted
from cubes.plan.distinct import Wanted, count
from cubes.segments import table_of
from cubes.source import ALL_BELOW, Source
from lake import delta, tables
from lake.duck import duck_type, text_literal
from lake.errors import DefinitionError, LakeError
from lake.intents import work_folder

if TYPE_CHECKING:
    from cubes.model import Cube
    from lake.duck import Duck
    from lake.settings import Settings

_SAMPLE_ROWS: Final = 1_000_000  # so many rows at most are aggregated and written to measure rates
_LEAST_ROWS: Final = 50_000  # so many at least where there are so many
_FEW: Final = 20  # written rows below which their bytes say little
_SEGMENTS: Final = 3  # of each grain that are written
_PAGE: Final = 50  # bytes of a column's page header and of its smallest page, about
# (grain, cuboid) to a number
_Counts = dict[tuple[str, int], int]


@dataclass(frozen=True)
class CuboidForecast:
    """One cuboid at one grain: its cells, the rows of its distributions, the bytes of both, and seconds to make it."""

    grain: str
    cuboid: int
    cells: int
    slots: int
    size_bytes: int
    seconds: float

    @property
    def rows(self) -> int:
        """Rows of the cube's table."""
        return self.cells + self.slots


@dataclass(frozen=True)
class Forecast:
    """A cube over the trusted rows of now. `scan_s` is the time for what all cuboids share: reading the rows."""

    cube: Cube
    rows: int
    raw_bytes: int
    scan_s: float
    parts: tuple[CuboidForecast, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole cube."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def seconds(self) -> float:
        """Estimated time of a first build."""
        return self.scan_s + sum(part.seconds for part in self.parts)

    @property
    def bytes_per_raw_byte(self) -> float:
        """Bytes of the cube to a byte of the trusted files that it is built of."""
        return self.size_bytes / max(1, self.raw_bytes)


@dataclass(frozen=True)
class _Rates:
    """Measured on a sample: seconds for a row read and a table row made, bytes of a table row by grain and cuboid."""

    row_s: float
    made_s: float
    bytes_of: dict[tuple[str, int, bool], float]
    mean_bytes: float

    def size(self, cube: Cube, grain: str, cuboid: int, slots: bool) -> float:
        """Bytes of a row: measured at this grain, or where too few were written at the nearest finer one."""
        place = cube.grains.index(grain)
        for finer in reversed(cube.grains[: place + 1]):
            if (finer, cuboid, slots) in self.bytes_of:
                return self.bytes_of[finer, cuboid, slots]
        return self.mean_bytes


def forecast(
    settings: Settings, duck: Duck, cube: Cube, *, progress: Callable[[str, int, int], None] | None = None
) -> Forecast:
    """The cube's forecast over all trusted rows of its fact; `progress(step, done, of)` is told of chunks of days.

    Errors: LakeError when the fact has no trusted rows to count.
    """
    trusted = delta.open_snapshot(settings.lake, tables.trusted(cube.fact))
    source = Source(cube, trusted, ALL_BELOW, trusted.txn("gate") or 0)
    chunks = source.chunks()
    if not trusted.rows or not chunks:
        todo = "Land and gate some rows first: a forecast counts their keys."
        raise LakeError(f"Fact {cube.fact} has no trusted rows.", where=str(trusted.root), todo=todo)
    cells: _Counts = {}
    slots: _Counts = {}
    for place, days in enumerate(chunks):
        if progress is not None:
            progress("count", place, len(chunks))
        relation = source.relation(duck, days)
        _add(cells, count(duck, relation, Wanted(cube.dimensions, cube.cuboids, cube.grains)))
        for wanted in _long_rows(cube):
            _add(slots, count(duck, relation, wanted))
    rates = _measured(settings, duck, cube, source)
    parts = [
        CuboidForecast(grain, cuboid, *_sized(cube, rates, grain, cuboid, cells=cells, slots=slots))
        for grain in cube.grains
        for cuboid in cube.cuboids
    ]
    raw_bytes = sum(file.size_bytes for file in trusted.files)
    return Forecast(cube, trusted.rows, raw_bytes, trusted.rows * rates.row_s, tuple(parts))


def refuse_over_budget(found: Forecast) -> None:
    """DefinitionError with the forecast and what to do when the cube would take more bytes than its budget allows."""
    budget = found.cube.budget_bytes
    if budget is None or found.bytes_per_raw_byte <= budget:
        return
    dear = sorted(_by_cuboid(found).items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    named = "; ".join(f"[{', '.join(found.cube.kept(cuboid)) or 'total'}] {size:,} bytes" for cuboid, size in dear)
    raise DefinitionError(
        f"Cube {found.cube.name} would take {found.size_bytes:,} bytes, {found.bytes_per_raw_byte:.2f} to a byte of "
        f"trusted rows; its budget is {budget}. The dearest cuboids: {named}.",
        todo=f"Drop cuboids or grains (`fleetcube cube forecast {found.cube.name}` lists all, `fleetcube cube advise` "
        "says which pay), raise budget.bytes_per_raw_byte, or build with --over-budget.",
    )


def _by_cuboid(found: Forecast) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for part in found.parts:
        sizes[part.cuboid] = sizes.get(part.cuboid, 0) + part.size_bytes
    return sizes


def _long_rows(cube: Cube) -> list[Wanted]:
    """What the cube stores as rows beside its cells: the slots of a distribution, the smallest hashes of a set."""
    found = []
    for sketch in cube.sketches:
        value = item = quoted(sketch.column)
        column = sketch.column
        if column == COUNTS:
            observed = f"fc_observed({', '.join(map(quoted, (COUNTS, *BESIDE)))})"
            item, column = f"unnest(list_transform({observed}, lambda fc_o : fc_o['code']))", ""
        elif sketch.kind == "quantiles":
            # The slot but for ties at a bound, which takes no table and changes no count that matters.
            item = f"CAST(ceil(64 * log2(nullif(abs(CAST({value} AS DOUBLE)), 0))) AS INTEGER), {value} < 0"
        found.append(Wanted(cube.dimensions, sketch.cuboids, sketch.grains, item, column, sketch.most))
    return found


def _sized(
    cube: Cube, rates: _Rates, grain: str, cuboid: int, *, cells: _Counts, slots: _Counts
) -> tuple[int, int, int, float]:
    many, long = cells[grain, cuboid], slots.get((grain, cuboid), 0)
    size = many * rates.size(cube, grain, cuboid, False) + long * rates.size(cube, grain, cuboid, True)
    return many, long, round(size), (many + long) * rates.made_s


def _add(total: _Counts, more: _Counts) -> None:
    for key, number in more.items():
        total[key] = total.get(key, 0) + number


def _measured(settings: Settings, duck: Duck, cube: Cube, source: Source) -> _Rates:
    """Aggregate and write some days as a build would, and take the time and the bytes."""
    days, share = _sample(source)
    relation = source.relation(duck, days)
    if share > 1:
        # By key, so that cells keep their rows; every sampled group is whole.
        key = f"hash({', '.join(map(quoted, cube.dimensions))})"
        relation = f"(SELECT * FROM {relation} WHERE {key} % {share} = 0)"
    started = time.monotonic()
    with (
        TemporaryDirectory(dir=work_folder(settings.lake, "forecast")) as folder,
        work_cells(duck, cube, relation) as work,
    ):
        aggregated_s = time.monotonic() - started
        read = work.rows()
        started = time.monotonic()
        written = _written(duck, cube, work, Path(folder) / "part.parquet")
        written_s = time.monotonic() - started
        made = sum(sum(counts.values()) for counts in work.counts().values())
    # A row read and a row made are taken to cost the same; what is written costs that much more.
    item_s = aggregated_s / max(1, read + made)
    sizes = {key: size / rows for key, (rows, size) in written.items() if rows >= _FEW}
    rows = sum(rows for rows, _ in written.values())
    mean = sum(size for _, size in written.values()) / max(1, rows)
    return _Rates(item_s, item_s + written_s / max(1, rows), sizes, mean)


def _sample(source: Source) -> tuple[list[date], int]:
    """Days to measure, those of ordinary size first, and of how many keys one is taken where a day is too large."""
    days = list(source.days().items())
    middle = sorted(rows for _, rows in days)[len(days) // 2]
    days.sort(key=lambda pair: (abs(pair[1] - middle), pair[0]))
    chosen, held = [days[0][0]], days[0][1]
    room = min(_SAMPLE_ROWS, max(_LEAST_ROWS, sum(rows for _, rows in days) // 8))
    for day, rows in days[1:]:
        if held + rows <= room:
            chosen.append(day)
            held += rows
    return chosen, -(-held // _SAMPLE_ROWS)


def _written(duck: Duck, cube: Cube, work: WorkCells, path: Path) -> dict[tuple[str, int, bool], tuple[int, int]]:
    """(rows, bytes) by (grain, cuboid, slots or cells) of a few segments, each part written by itself in its order.

    Bytes go without the footer and the pages' headers, which a table's file has once for all of its cuboids.
    """
    schema = table_of(cube).schema
    inside = [item for item in schema if item.name not in ("grain", "segment", "cuboid")]
    columns = ", ".join(f'CAST("{item.name}" AS {duck_type(item.type)}) AS "{item.name}"' for item in inside)
    options = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {LEVEL}, RETURN_STATS"
    found: dict[tuple[str, int, bool], tuple[int, int]] = {}
    for grain in cube.grains:
        for segment in [name for at, name in work.segments() if at == grain][:_SEGMENTS]:
            for cuboid, slots in product(cube.cuboids, (False, True) if cube.sketches else (False,)):
                only = f"cuboid = {cuboid} AND sketch IS {'NOT NULL' if slots else 'NULL'}"
                select = f"SELECT {columns} FROM ({work.select(grain, segment, 1)}) WHERE {only}"
                for part in duck.sql(f"COPY ({select}) TO {text_literal(str(path))} ({options})"):
                    rows, size = found.get((grain, cuboid, slots), (0, 0))
                    marginal = max(int(part[1]), int(part[2] - part[3]) - _PAGE * len(schema))
                    found[grain, cuboid, slots] = (rows + int(part[1]), size + marginal)
    return found
