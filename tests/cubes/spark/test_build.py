"""Both engines build the same cells, to the last bit, and each goes on from what the other wrote."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqllake import add_requests, make_lake

from cubes.build import build, refresh
from cubes.load import load_cubes
from cubes.segments import table_of
from cubes.spark.session import jars, spark_session
from cubes.verify import verify
from lake.delta import commit, open_snapshot
from lake.duck import connect
from lake.errors import ConfigError
from lake.lookup_store import publish_lookup
from lake.lookups import load_lookups
from lake.settings import Settings
from lake.tables import trusted

# pyspark leaves its sockets to the garbage collector.
pytestmark = [pytest.mark.spark, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]
# Of the others the small lake has no rows.
CUBES = {name: cube for name, cube in load_cubes().items() if name in ("evaluations", "infrastructure", "serving")}
WIDE = """
cube: wide
fact: requests
grains: [30m, 1d, 1w, 1mo]
dimensions: [site, model, status]
cuboids: [[site], [model]]
measures:
  requests: count
  deviation: {stddev: e2e_ms}
  users: {distinct: user_hash, exact_to: 16, grains: [1d, 1w, 1mo]}
  spread: {quantiles: e2e_ms, grains: [1d, 1w, 1mo]}
"""
DEEP = """
cube: deep
fact: samples
grains: [5s, 15s, 1h, 1d, 1w, 1mo]
week_starts: sunday
dimensions: [metric, hardware, host, device]
joins: {hardware: {maker: vendor, memory_gib: memory_gib}}
bands:
  load: {column: value, edges: [0, 0.5, 100]}
  memory: {column: hardware.memory_gib, edges: [40, 60]}
  size: {column: labels.size, edges: [7, 70]}
cuboids: [[metric], [metric, maker, load], [metric, memory, memory_gib], [metric, size]]
where: host <> 'host-3' OR value > 0
measures:
  total: {sum: value}
  covered: {sum: interval_s}
  mean: {time_avg: value}
  latest: {last: value}
  deviation: {var_pop: value}
  high: {count: {where: "value > 0.5"}}
  share: {ratio: {of: high, over: total}}
  hosts: {distinct: host, exact_to: 16, grains: [1h, 1d, 1w, 1mo], without: [host]}
  spread: {quantiles: value, grains: [15s, 1h, 1d, 1w, 1mo], without: [device]}
"""
TURN = "2026-10-06T12:34:56Z"  # within the lake's hours, and within a bucket of 5 s


@pytest.fixture(scope="module")
def lakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Settings]]:
    """Two lakes of the same trusted rows, one built by each engine."""
    folder = tmp_path_factory.mktemp("engines")
    mine = Settings(lake=folder / "duckdb", memory_mib=1024, spark_master="local[2]")
    mine.lake.mkdir()
    make_lake(mine, cubes=[])
    theirs = replace(mine, lake=folder / "spark", engine="spark")
    shutil.copytree(mine.lake, theirs.lake)
    for settings in (mine, theirs):
        for cube in CUBES.values():
            build(settings, connect(settings), cube)
    yield mine, theirs
    spark_session(theirs).stop()


@pytest.mark.parametrize("name", CUBES)
def test_cells_are_equal(lakes: tuple[Settings, Settings], name: str) -> None:
    reports = [verify(settings, connect(settings), CUBES[name]) for settings in lakes]
    assert all(report.holds for report in reports), reports
    assert reports[0].cells > 100
    assert reports[0].digests == reports[1].digests


@pytest.mark.parametrize("name", CUBES)
def test_spark_reads_what_either_engine_wrote(lakes: tuple[Settings, Settings], name: str) -> None:
    spark = spark_session(lakes[1])
    sums = []
    for settings in lakes:
        root = open_snapshot(settings.lake, table_of(CUBES[name])).root
        cells = spark.read.format("delta").load(str(root.resolve()))
        grouped = cells.where("sketch IS NULL").groupBy("grain", "cuboid").agg({"rows": "sum", "*": "count"})
        sums.append(sorted(tuple(row) for row in grouped.collect()))
    assert sums[0] == sums[1]


def test_each_goes_on_from_the_other(lakes: tuple[Settings, Settings], tmp_path: Path) -> None:
    cube = CUBES["serving"]
    both = [replace(settings, lake=tmp_path / settings.engine) for settings in lakes]
    for settings, old in zip(both, lakes, strict=True):
        shutil.copytree(old.lake, settings.lake)
    for batch, engines in ((3, ("spark", "duckdb")), (4, ("duckdb", "spark"))):
        for settings, engine in zip(both, engines, strict=True):
            duck = connect(settings)
            add_requests(duck, settings, 40, batch)
            result = build(replace(settings, engine=engine), duck, cube)
            assert (result.kind, result.rows, result.watermark_to) == ("build", 40, batch)
    days = {date(2026, 10, 6)}
    for settings, engine in zip(both, ("spark", "duckdb"), strict=True):
        assert refresh(replace(settings, engine=engine), connect(settings), cube, days).kind == "refresh"
    reports = [verify(settings, connect(settings), cube) for settings in both]
    assert all(report.holds for report in reports), reports
    assert reports[0].digests == reports[1].digests


def test_a_killed_build_shows_nothing_and_the_next_one_completes(
    lakes: tuple[Settings, Settings], tmp_path: Path
) -> None:
    cube = CUBES["evaluations"]
    settings = replace(lakes[0], lake=tmp_path / "lake", engine="spark")
    shutil.copytree(lakes[0].lake, settings.lake)
    shutil.rmtree(open_snapshot(settings.lake, table_of(cube)).root)
    command = [sys.executable, "-m", "fleetcube", "build", cube.name, "--lake", str(settings.lake)]
    environ = {"FLEETCUBE_ENGINE": "spark", "FLEETCUBE_FAULT": "builder.spark.after"}
    ended = subprocess.run(command, env={**os.environ, **environ}, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert open_snapshot(settings.lake, table_of(cube)).txn("build") is None
    assert build(settings, connect(settings), cube).kind == "build"
    assert verify(settings, connect(settings), cube).digests == verify(lakes[0], connect(lakes[0]), cube).digests


def test_every_kind_of_state_and_grain(lakes: tuple[Settings, Settings], tmp_path: Path) -> None:
    """Weeks and months come from several tasks; distinct values, deviations and last ones are merged there."""
    definitions = tmp_path / "definitions"
    definitions.mkdir()
    (definitions / "wide.yaml").write_text(WIDE)
    cube = load_cubes(definitions)["wide"]
    reports = []
    for settings in lakes:
        build(settings, connect(settings), cube)
        reports.append(verify(settings, connect(settings), cube))
    assert all(report.holds for report in reports), reports
    assert reports[0].digests == reports[1].digests
    assert {"1w", "1mo"} <= {grain for grain, _, _ in reports[0].digests}


def hardware(settings: Settings, maker: str) -> None:
    """Load the lookup: one kind keeps its maker, the other's changes in the middle of the rows."""
    rows = [
        {"hardware": "h100", "vendor": "NVIDIA", "memory_gib": "80"},
        {"hardware": "l40s", "vendor": maker, "memory_gib": "48", "valid_to": TURN},
        {"hardware": "l40s", "vendor": "other", "memory_gib": "48.5", "valid_from": TURN},
    ]
    names = [column.name for column in load_lookups()["hardware"].columns]
    publish_lookup(settings.lake, connect(settings), "hardware", [tuple(map(row.get, names)) for row in rows])


def withdraw(settings: Settings, batch: int, host: str, day: str) -> None:
    """A correction as the gate publishes one: a day's files without a host's rows."""
    duck, snapshot = connect(settings), open_snapshot(settings.lake, trusted("samples"))
    touched = [file for file in snapshot.files if file.partition["day"] == day]
    rows = duck.scan(snapshot, snapshot.paths(lambda file: file.partition["day"] == day))
    stay = f"SELECT * FROM {rows} WHERE host <> '{host}'"
    files = duck.write(stay, settings.lake, snapshot.ref, f"gate-{batch}", stats=("batch", "ts"))
    commit(settings.lake, snapshot.ref, snapshot, adds=files, removes=touched, txns={"gate": batch})


def test_derived_dimensions_and_corrections(lakes: tuple[Settings, Settings], tmp_path: Path) -> None:
    """Lookups as of the row's time, bands, seconds to months; then corrections, a changed lookup, engines swapped."""
    definitions = tmp_path / "definitions"
    definitions.mkdir()
    (definitions / "deep.yaml").write_text(DEEP)
    cube = load_cubes(definitions)["deep"]
    both = [replace(settings, lake=tmp_path / settings.engine) for settings in lakes]
    for settings, old in zip(both, lakes, strict=True):
        shutil.copytree(old.lake, settings.lake)

    def digests(engines: tuple[str, str]) -> tuple[tuple[str, str, str], ...]:
        reports = []
        for settings, engine in zip(both, engines, strict=True):
            assert build(replace(settings, engine=engine), connect(settings), cube).kind == "build"
            reports.append(verify(settings, connect(settings), cube))
        assert all(report.holds for report in reports), reports
        assert reports[0].digests == reports[1].digests
        return reports[0].digests

    for settings in both:
        hardware(settings, "NVIDIA")
    seen = {digests(("duckdb", "spark"))}
    assert {"5s", "15s", "1w_sun", "1mo"} <= {grain for one in seen for grain, _, _ in one}
    for batch, engines in ((3, ("spark", "duckdb")), (4, ("duckdb", "spark"))):
        for settings in both:
            withdraw(settings, batch, f"host-{batch - 3}", "2026-10-06")
            hardware(settings, f"maker {batch}")
        seen.add(digests(engines))
    assert len(seen) == 3, "each change must show in the cells"


def test_missing_jars_are_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"jars for Spark are missing: delta-spark.*make jars"):
        jars(replace(settings, spark_jars=tmp_path))
