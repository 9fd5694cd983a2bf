"""First builds beside a plain GROUP BY of the base over the same files, and the same cuboids as others make them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from cubes_defs import (
    ADDITIVE_GRAINS,
    AGGREGATES,
    DIMENSIONS,
    PLAIN,
    SKETCHED,
    cube_of,
    cuboids,
    settings_in,
    timed_build,
)
from cubes_lake import PER_DAY, SERIES, publish_days
from cubes_peers import chdb_base
from figures import Figure, figure, seconds

from cubes.model import Cube
from cubes.plan.forecast import Forecast, forecast
from cubes.segments import table_of
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.settings import Settings
from lake.tables import trusted

ONE = "additive, one grain, 32 cuboids"
_WORST_ROWS = 10_000_000
_FIFTH = 0.2


def full(folder: Path, memory_mib: int, rows: int) -> Iterator[Figure]:
    """Three cubes of typical samples, and what DuckDB and chDB make of the same files."""
    settings = settings_in(folder, memory_mib)
    duck = connect(settings)
    yield figure("rows of samples", publish_days(settings, duck, 0, _days(rows), 1), "rows")
    snapshot = open_snapshot(settings.lake, trusted("samples"))
    raw = sum(file.size_bytes for file in snapshot.files)
    yield figure("bytes of samples", raw / 2**20, "MiB")
    base = _bare_base(duck, duck.scan(snapshot), "5 MINUTE")
    yield figure("DuckDB's bare base GROUP BY", base, "s")
    taken = 0.0
    for title, grains, count, measures, bound in (
        (ONE, ("5m",), 32, PLAIN, 3.0),
        ("additive, three grains, 32 cuboids", ADDITIVE_GRAINS, 32, PLAIN, 4.0),
        ("with quantiles and distinct at 1h and 1d, 16 cuboids", ("1h", "1d"), 16, PLAIN + SKETCHED, 10.0),
    ):
        cube = cube_of(folder, grains, count, measures)
        foretold = forecast(settings, duck, cube)
        took, cells = timed_build(settings, duck, cube)
        taken = taken or took
        yield figure(f"{title}: build", took, "s")
        yield figure(f"{title}: build / bare base GROUP BY", took / base, "×", bound)
        yield figure(f"{title}: cells and slots", cells, "rows")
        written = sum(file.size_bytes for file in open_snapshot(settings.lake, table_of(cube)).files)
        yield figure(f"{title}: bytes per byte of rows", written / raw, "")
        yield from _judged(duck, settings, foretold, title)
        yield from _heaviest(duck, settings, cube, title)
        shutil.rmtree(table_of(cube).path(settings.lake))
    sets = _grouping_sets(duck, duck.scan(snapshot), folder / "sets.parquet")
    duck.connection.close()
    yield figure("DuckDB's GROUPING SETS over rows into Parquet, one grain, 32 cuboids", sets, "s")
    yield figure(f"{ONE}: build / DuckDB's GROUPING SETS", taken / sets, "×", 1.0)
    for one in chdb_base(folder, snapshot.paths()):
        yield one
        if one.unit == "s":
            yield figure(f"{ONE}: build / chDB's base GROUP BY alone", taken / one.value, "×", 1.0)


def worst(folder: Path, memory_mib: int, rows: int) -> Iterator[Figure]:
    """Slots where no two rows are alike: every value and pod drawn anew, which no fleet does."""
    settings = settings_in(folder, memory_mib)
    duck = connect(settings)
    days = _days(min(rows, _WORST_ROWS))
    yield figure("worst case: rows of samples", publish_days(settings, duck, 0, days, 1, uniform=True), "rows")
    base = _bare_base(duck, duck.scan(open_snapshot(settings.lake, trusted("samples"))), "5 MINUTE")
    cube = cube_of(folder, ("1h", "1d"), 16, PLAIN + SKETCHED)
    took, cells = timed_build(settings, duck, cube)
    yield figure("worst case, quantiles and distinct at 1h and 1d, 16 cuboids: cells and slots", cells, "rows")
    yield figure("worst case, quantiles and distinct at 1h and 1d, 16 cuboids: build / bare base", took / base, "×")
    duck.connection.close()


def large(folder: Path, memory_mib: int, rows: int) -> Iterator[Figure]:
    """One build of ten times the rows in the same memory."""
    settings = settings_in(folder, memory_mib)
    duck = connect(settings)
    yield figure("large: rows of samples", publish_days(settings, duck, 0, _days(10 * rows), 1), "rows")
    snapshot = open_snapshot(settings.lake, trusted("samples"))
    base = _bare_base(duck, duck.scan(snapshot), "5 MINUTE", times=1)
    yield figure("large: DuckDB's bare base GROUP BY", base, "s")
    cube = cube_of(folder, ADDITIVE_GRAINS, 32)
    took, cells = timed_build(settings, duck, cube)
    yield figure("large: additive, three grains, 32 cuboids: build", took, "s")
    yield figure("large: additive, three grains, 32 cuboids: build / bare base GROUP BY", took / base, "×")
    yield figure("large: additive, three grains, 32 cuboids: cells and slots", cells, "rows")
    duck.connection.close()


def _days(rows: int) -> int:
    return max(1, round(rows / (SERIES * PER_DAY)))


def _bare_base(duck: Duck, rows: str, width: str, times: int = 2) -> float:
    """Seconds of the base cells' GROUP BY into a table of the engine: the best of `times`."""
    bucket = f"time_bucket(INTERVAL {width}, ts)"
    plain = f"SELECT {bucket} AS bucket, {', '.join(DIMENSIONS)}, {AGGREGATES} FROM {rows} GROUP BY ALL"
    took = min(seconds(lambda: duck.execute(f"CREATE OR REPLACE TEMP TABLE plain AS {plain}")) for _ in range(times))
    duck.execute("DROP TABLE plain")
    return took


def _judged(duck: Duck, settings: Settings, foretold: Forecast, title: str) -> Iterator[Figure]:
    """The forecast beside what was built: how many pairs of cuboid and grain it missed by a fifth, and all bytes."""
    snapshot = open_snapshot(settings.lake, table_of(foretold.cube))
    text = f"SELECT grain, cuboid, count(*) FROM {duck.scan(snapshot)} GROUP BY ALL"
    made = {(grain, cuboid): count for grain, cuboid, count in duck.sql(text)}
    missed = [part for part in foretold.parts if abs(part.rows / made[part.grain, part.cuboid] - 1) > _FIFTH]
    yield figure(f"{title}: share of cuboids forecast wrong by more than 20 %", len(missed) / len(made), "", 0.05)
    written = sum(file.size_bytes for file in snapshot.files)
    yield figure(f"{title}: bytes forecast / written", foretold.size_bytes / written, "×")


def _heaviest(duck: Duck, settings: Settings, cube: Cube, title: str) -> Iterator[Figure]:
    """Slots by cuboid, the most first: which of them are worth what they take."""
    if not cube.sketches:
        return
    scan = duck.scan(open_snapshot(settings.lake, table_of(cube)))
    found = duck.sql(f"SELECT cuboid, count(*) FROM {scan} WHERE sketch IS NOT NULL GROUP BY cuboid ORDER BY 2 DESC")
    total = sum(count for _, count in found)
    for cuboid, count in (found[0], found[len(found) // 2], found[-1]):
        names = ", ".join(cube.kept(cuboid))
        yield figure(f"{title}: share of slots in cuboid ({names})", count / total, "")


def _grouping_sets(duck: Duck, rows: str, target: Path) -> float:
    """Seconds of the same 32 cuboids at 5 minutes by DuckDB itself: one statement over the rows, into Parquet."""
    sets = ", ".join(f"(bucket, {', '.join(names)})" for names in (*cuboids(32), DIMENSIONS))
    source = f"(SELECT *, time_bucket(INTERVAL 5 MINUTE, ts) AS bucket FROM {rows})"
    text = f"""COPY (SELECT bucket, {", ".join(DIMENSIONS)}, {AGGREGATES} FROM {source} GROUP BY GROUPING SETS ({sets}))
        TO '{target}' (FORMAT parquet, COMPRESSION zstd)"""
    took = seconds(lambda: duck.execute(text))
    target.unlink()
    return took
