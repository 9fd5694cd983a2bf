"""Compaction of a cube: fewer files, the same cells; killed anywhere it shows nothing; readers keep their version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cubeoracle import TEXT, cells_of_table, expected, publish, random_rows, small_cube

from cubes.build import build
from cubes.compact import compact_cube
from cubes.expired import Expired
from cubes.model import Cube
from cubes.reconcile import prove_segment
from cubes.segments import table_of
from cubes.verify import verify
from lake import delta, tables
from lake.compact import Layout, compact
from lake.duck import Duck
from lake.errors import LakeError
from lake.lease import lease
from lake.settings import Settings

CHILD = """
import sys
from pathlib import Path
from cubes.compact import compact_cube
from cubes.expired import Expired
from cubes.load import load_cubes
from lake.duck import connect
from lake.settings import Settings
settings = Settings(lake=Path(sys.argv[1]))
compact_cube(settings, connect(settings), load_cubes(Path(sys.argv[2]))["small"], whole=True)
"""


@pytest.fixture
def cube(tmp_path: Path) -> Cube:
    return small_cube(tmp_path)


def built(duck: Duck, settings: Settings, cube: Cube, builds: int, seed: int = 1) -> list[dict[str, object]]:
    """A cube of that many builds; the rows behind it."""
    rows = random_rows(seed, 40 * builds)
    for batch in range(builds):
        publish(duck, settings, rows[batch::builds], batch + 1)
        build(settings, duck, cube)
    return rows


def files(settings: Settings, cube: Cube) -> list[tuple[str, ...]]:
    """(grain, segment) of each file that the newest version has."""
    snapshot = delta.open_snapshot(settings.lake, table_of(cube))
    return sorted(tuple(str(value) for value in file.partition.values()) for file in snapshot.files)


def test_a_compacted_cube_holds_the_same_cells_in_a_file_a_segment(duck: Duck, settings: Settings, cube: Cube) -> None:
    rows = built(duck, settings, cube, 4)
    before = verify(settings, duck, cube)
    old = delta.open_snapshot(settings.lake, table_of(cube))
    pinned = duck.sql(f"SELECT * FROM {duck.scan(old)} ORDER BY ALL")
    done = compact_cube(settings, duck, cube, whole=True)
    assert (done.before, done.after) == (len(old.files), len(set(files(settings, cube)))) == (28, 7)
    assert len(files(settings, cube)) == len(set(files(settings, cube)))
    after = verify(settings, duck, cube)
    assert (after.holds, after.digests) == (True, before.digests)
    assert cells_of_table(duck, settings, cube) == expected(rows, cube)
    new = delta.open_snapshot(settings.lake, table_of(cube))
    assert [new.txn(name) for name in ("build", "watermark", "source", "compact")] == [4, 4, 4, 1]
    assert duck.sql(f"SELECT * FROM {duck.scan(old)} ORDER BY ALL") == pinned, "a reader keeps its version"
    assert compact_cube(settings, duck, cube, whole=True).rewritten == 0


def test_builds_go_on_over_compacted_segments(duck: Duck, settings: Settings, cube: Cube) -> None:
    rows = built(duck, settings, cube, 2)
    compact_cube(settings, duck, cube, whole=True)
    more = random_rows(5, 30)
    publish(duck, settings, more, 3)
    build(settings, duck, cube)
    compact_cube(settings, duck, cube, whole=True)
    assert cells_of_table(duck, settings, cube) == expected([*rows, *more], cube)
    assert verify(settings, duck, cube).holds


def test_a_segment_that_is_written_to_merges_its_smallest_files(duck: Duck, settings: Settings, cube: Cube) -> None:
    few = Settings(lake=settings.lake, segment_files=2)
    rows = random_rows(3, 200)
    publish(duck, settings, rows[:180], 1)
    build(settings, duck, cube)
    [large] = {
        f.path for f in delta.open_snapshot(settings.lake, table_of(cube)).files if "1d" in f.path and "2026" in f.path
    }
    for batch, row in enumerate(row for row in rows[180:] if row["ts"].year == 2026):
        publish(duck, settings, [row], batch + 2)
        build(settings, duck, cube)
        compact_cube(few, duck, cube)
        held = files(settings, cube)
        assert max(held.count(part) for part in held) <= 2
    assert large in {file.path for file in delta.open_snapshot(settings.lake, table_of(cube)).files}, "not rewritten"
    assert verify(settings, duck, cube).holds


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["compact.write.after", "compact.commit.before", "compact.commit.after"])
def test_a_killed_compaction_changes_nothing(
    duck: Duck, settings: Settings, cube: Cube, tmp_path: Path, fault: str
) -> None:
    rows = built(duck, settings, cube, 3)
    before = delta.open_snapshot(settings.lake, table_of(cube)).version
    command = [sys.executable, "-c", CHILD, str(settings.lake), str(tmp_path / "definitions")]
    root = Path(__file__).parents[2]
    killed = subprocess.run(command, env={**os.environ, "FLEETCUBE_FAULT": fault, "PYTHONPATH": str(root)})
    assert killed.returncode == -9
    now = delta.open_snapshot(settings.lake, table_of(cube)).version
    assert now == before + (fault == "compact.commit.after")
    assert cells_of_table(duck, settings, cube) == expected(rows, cube)
    compact_cube(settings, duck, cube, whole=True)
    assert len(files(settings, cube)) == 7
    assert cells_of_table(duck, settings, cube) == expected(rows, cube)


def test_one_writer_of_a_cube_at_a_time(duck: Duck, settings: Settings, cube: Cube) -> None:
    built(duck, settings, cube, 2)
    with lease(settings.lake, table_of(cube).key), pytest.raises(LakeError, match="Another process is writing"):
        compact_cube(settings, duck, cube)


def test_compacted_trusted_rows_make_no_day_stale_but_withdrawn_ones_do(
    duck: Duck, settings: Settings, cube: Cube
) -> None:
    rows = built(duck, settings, cube, 3)
    compact(duck, settings.lake, tables.trusted("samples"), Layout(stats=("batch", "ts"), order="ts"), most=1)
    trusted = delta.open_snapshot(settings.lake, tables.trusted("samples"))
    assert len(trusted.files) == 3, "a file a day"
    assert build(settings, duck, cube).kind == "none"
    more = random_rows(9, 10)
    publish(duck, settings, more, 4)
    result = build(settings, duck, cube)  # no row of `batches` tells it that nothing was withdrawn: it counts
    assert (result.refreshed, result.rows) == ((), 10)
    newest = delta.open_snapshot(settings.lake, tables.trusted("samples"))
    [gone] = [file for file in newest.files if "2026-01-01" in file.path and "compact" in file.path]
    publish(duck, settings, [], 5, removes=[gone])
    [day] = build(settings, duck, cube).refreshed
    assert str(day) == "2026-01-01"
    left = [row for row in rows if row["ts"].date() != day] + more
    assert cells_of_table(duck, settings, cube) == expected(left, cube)


def test_a_merge_that_loses_something_is_refused(duck: Duck, settings: Settings) -> None:
    publish(duck, settings, random_rows(1, 20), 1)
    publish(duck, settings, random_rows(2, 20), 2)
    ref = tables.trusted("samples")
    before = delta.open_snapshot(settings.lake, ref).version
    losing = Layout(merge=lambda scan: f"SELECT * FROM {scan} LIMIT 1")
    with pytest.raises(LakeError, match="would change what they hold"):
        compact(duck, settings.lake, ref, losing, most=1)
    assert delta.open_snapshot(settings.lake, ref).version == before


def test_hashes_of_distinct_values_stay_those_that_count(duck: Duck, settings: Settings, tmp_path: Path) -> None:
    text = TEXT + "  hosts: {distinct: host, exact_to: 16, grains: [1h, 1d]}\nkeep: {5m: 40d}\n"
    cube = small_cube(tmp_path, text)
    names = [{**row, "host": f"h{place % 50}"} for place, row in enumerate(random_rows(4, 300))]
    for batch in range(3):
        publish(duck, settings, names[batch::3], batch + 1)
        build(settings, duck, cube)
    before = verify(settings, duck, cube)
    compact_cube(settings, duck, cube, whole=True)
    after = verify(settings, duck, cube)
    assert (after.holds, after.digests) == (True, before.digests)
    snapshot = delta.open_snapshot(settings.lake, table_of(cube))
    [(most,)] = duck.sql(
        f"""SELECT max(c) FROM (SELECT count(*) AS c FROM {duck.scan(snapshot)} WHERE sketch = 'distinct:host'
        GROUP BY grain, cuboid, bucket, site, host, metric)"""
    )
    assert most == 17
    for grain, segment in (("1h", "2026-01"), ("5m", "2026-01-01")):
        proof = prove_segment(settings, duck, cube, grain, segment=segment, gone=Expired())
        assert proof.against == {}
