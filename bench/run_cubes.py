"""Measure the DuckDB engine's builds beside what a plain engine does with the same files. Writes cubes.json, cubes.md.

Each part works on generated samples (bench/cubes_lake.py) in a folder of its own. A ratio compares two things of one
run: the build of a cube (scan, base, every cuboid, Delta commit) and DuckDB's bare GROUP BY of its base.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cubes_lake import PER_DAY, SERIES, START, publish_days
from figures import Figure, figure, machine, seconds, write_report

from cubes.build import build
from cubes.load import load_cubes
from cubes.model import Cube
from cubes.segments import table_of
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.settings import Settings
from lake.tables import trusted

DIMENSIONS = ("site", "cluster", "environment", "host", "device", "hardware", "model", "metric")
PLACES = ((), ("site",), ("site", "cluster"), ("site", "cluster", "host"), ("site", "cluster", "host", "device"))
PLAIN = """
  samples: {count: value}
  total: {sum: value}
  lowest: {min: value}
  highest: {max: value}
  time_mean: {time_avg: value}
"""
# Slots of single devices and hosts are nearly as many as their rows: not worth keeping.
SKETCHED = """
  spread: {quantiles: value, grains: [1h, 1d], without: [host, device]}
  pods: {distinct: pod, grains: [1h, 1d], without: [host, device]}
"""
AGGREGATES = """count(*) AS n, count(value) AS c, sum(value) AS s, min(value) AS lo, max(value) AS hi,
    sum(value * interval_s) AS w, sum(interval_s) FILTER (WHERE value IS NOT NULL) AS ws"""
ADDITIVE_GRAINS = ("5m", "1h", "1d")


def cuboids(count: int) -> list[tuple[str, ...]]:
    """That many combinations of the dimensions, the smallest first; the base is one more, which every cube has."""
    flags = list(product((False, True), repeat=3))
    found = [
        (*place, *(name for name, on in zip(("environment", "hardware", "model"), flag, strict=True) if on), "metric")
        for place in PLACES
        for flag in flags
    ]
    return [one for one in found if len(one) < len(DIMENSIONS)][: count - 1]


def cube_of(folder: Path, grains: tuple[str, ...], count: int, measures: str = PLAIN) -> Cube:
    """A cube over the bench's samples with `count` cuboids."""
    kept = ", ".join(f"[{', '.join(names)}]" for names in cuboids(count))
    text = (
        f"cube: bench\nfact: samples\ngrains: [{', '.join(grains)}]\ndimensions: [{', '.join(DIMENSIONS)}]\n"
        f"cuboids: [{kept}]\nmeasures:{measures}"
    )
    definitions = folder / "definitions"
    definitions.mkdir(parents=True, exist_ok=True)
    (definitions / "bench.yaml").write_text(text)
    return load_cubes(definitions)["bench"]


def full(settings: Settings, days: int) -> Iterator[Figure]:
    """First builds of three cubes beside the bare base GROUP BY, and DuckDB's GROUPING SETS over the rows."""
    duck = connect(settings)
    rows = publish_days(settings, duck, 0, days, 1)
    yield figure("rows of samples", rows, "rows")
    snapshot = open_snapshot(settings.lake, trusted("samples"))
    keys = ", ".join(DIMENSIONS)
    bucket = "time_bucket(INTERVAL 5 MINUTE, ts)"
    plain = f"SELECT {bucket} AS bucket, {keys}, {AGGREGATES} FROM {duck.scan(snapshot)} GROUP BY ALL"
    base = min(seconds(lambda: duck.execute(f"CREATE OR REPLACE TEMP TABLE plain AS {plain}")) for _ in range(2))
    yield figure("DuckDB's bare base GROUP BY", base, "s")
    yield figure("base cells", duck.sql("SELECT count(*) FROM plain")[0][0], "cells")
    duck.execute("DROP TABLE plain")
    for title, grains, count, measures, bound in (
        ("additive, one grain, 32 cuboids", ("5m",), 32, PLAIN, 3.0),
        ("additive, three grains, 32 cuboids", ADDITIVE_GRAINS, 32, PLAIN, 4.0),
        ("quantiles and distinct at 1h and 1d, 16 cuboids", ("1h", "1d"), 16, PLAIN + SKETCHED, 10.0),
    ):
        yield from _built(settings, duck, cube_of(settings.lake.parent, grains, count, measures), title, base, bound)
    yield from _grouping_sets(settings, duck, duck.scan(snapshot), base)
    duck.connection.close()


def _built(settings: Settings, duck: Duck, cube: Cube, title: str, base: float, bound: float) -> Iterator[Figure]:
    took, cells = _timed(settings, duck, cube)
    files = open_snapshot(settings.lake, table_of(cube)).files
    raw = sum(file.size_bytes for file in open_snapshot(settings.lake, trusted("samples")).files)
    yield figure(f"{title}: build", took, "s")
    yield figure(f"{title}: build / bare base GROUP BY", took / base, "×", bound)
    yield figure(f"{title}: cells and slots", cells, "rows")
    yield figure(f"{title}: bytes per byte of rows", sum(file.size_bytes for file in files) / raw, "")
    shutil.rmtree(table_of(cube).path(settings.lake))


def _timed(settings: Settings, duck: Duck, cube: Cube) -> tuple[float, int]:
    """Wall seconds of a build, and the cells and slots that it wrote."""
    started = time.perf_counter()
    cells = build(settings, duck, cube).cells
    return time.perf_counter() - started, cells


def _grouping_sets(settings: Settings, duck: Duck, rows: str, base: float) -> Iterator[Figure]:
    """The same 32 cuboids at 5 minutes by DuckDB itself: one statement over the rows, written to Parquet."""
    sets = ", ".join(f"(bucket, {', '.join(names)})" for names in (*cuboids(32), DIMENSIONS))
    target = settings.lake.parent / "sets.parquet"
    source = f"(SELECT *, time_bucket(INTERVAL 5 MINUTE, ts) AS bucket FROM {rows})"
    text = f"""COPY (SELECT bucket, {", ".join(DIMENSIONS)}, {AGGREGATES} FROM {source} GROUP BY GROUPING SETS ({sets}))
        TO '{target}' (FORMAT parquet, COMPRESSION zstd)"""
    took = seconds(lambda: duck.execute(text))
    yield figure("DuckDB's GROUPING SETS over rows, one grain, 32 cuboids", took, "s")
    yield figure("DuckDB's GROUPING SETS over rows / bare base GROUP BY", took / base, "×")
    target.unlink()


def incremental(folder: Path, memory_mib: int) -> Iterator[Figure]:
    """1 % of new rows beside a first build of a million rows, and the same new rows after 10 and 100 times as many."""
    every = 1152  # seconds between samples: 43,200 rows a day
    first = 0.0
    for times in (1, 10, 100):
        settings = _settings(folder / f"history-{times}", memory_mib)
        duck = connect(settings)
        days = 24 * times
        rows = publish_days(settings, duck, 0, days, 1, every_s=every)
        cube = cube_of(folder, ADDITIVE_GRAINS, 16)
        took, _ = _timed(settings, duck, cube)
        first = first or took
        yield figure(f"{times} × history: first build of {rows:,} rows", took, "s")
        new = publish_days(settings, duck, days, 1, 2, every_s=every * 4)
        took, _ = _timed(settings, duck, cube)
        bound = 0.05 * first + 0.5
        yield figure(f"{times} × history: build of {new:,} new rows", took, "s", float(f"{bound:.3g}"))
        duck.connection.close()
        shutil.rmtree(settings.lake.parent)


def late(folder: Path, memory_mib: int) -> Iterator[Figure]:
    """Late rows that touch one day of 365: cells written beside cells of that day that they touch."""
    settings = _settings(folder / "late", memory_mib)
    duck = connect(settings)
    publish_days(settings, duck, 0, 365, 1, every_s=17280)
    cube = cube_of(folder, ADDITIVE_GRAINS, 16)
    build(settings, duck, cube)
    publish_days(settings, duck, 100, 1, 2, every_s=17280)
    written = build(settings, duck, cube).cells
    day = START + timedelta(days=100)
    rows = duck.scan(open_snapshot(settings.lake, trusted("samples")))
    touched = 0
    for kept in (cube.kept(cuboid) for cuboid in cube.cuboids):
        for width in ("5 minutes", "1 hour", "1 day"):
            keys = ", ".join((f"time_bucket(INTERVAL '{width}', ts)", *kept))
            text = f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {rows} WHERE day = DATE '{day}' AND batch = 2)"
            touched += duck.sql(text)[0][0]
    yield figure("late rows of 1 day of 365: cells written / touched", written / touched, "×", 1.2)
    duck.connection.close()
    shutil.rmtree(settings.lake.parent)


def _settings(folder: Path, memory_mib: int) -> Settings:
    lake = folder / "lake"
    lake.mkdir(parents=True)
    return Settings(lake=lake, memory_mib=memory_mib)


def main() -> None:
    """Run every part (or those asked for) and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000_000, help="samples of the large part (whole days)")
    parser.add_argument("--memory-mib", type=int, default=2048, help="the engine's memory limit")
    parser.add_argument("--parts", default="full,incremental,late", help="which parts, by comma")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no report")
    asked = parser.parse_args()
    facts, found = machine(), []
    days = max(1, round(asked.rows / (SERIES * PER_DAY)))
    with tempfile.TemporaryDirectory(prefix="bench-cubes-") as name:
        folder = Path(name)
        parts = {
            "full": lambda: full(_settings(folder / "full", asked.memory_mib), days),
            "incremental": lambda: incremental(folder, asked.memory_mib),
            "late": lambda: late(folder, asked.memory_mib),
        }
        for part in asked.parts.split(","):
            for one in parts[part]():
                print(f"{one.name}: {one.value:,.4g} {one.unit}", flush=True)
                found.append(one)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found.append(figure("peak resident memory of the whole run", peak, "MiB", 3072))
    print(f"{found[-1].name}: {found[-1].value:,.4g} MiB")
    if not asked.dry:
        write_report(found, facts, name="cubes", command="make bench-cubes")


if __name__ == "__main__":
    main()
