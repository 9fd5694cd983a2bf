"""Vacuum of a whole lake: every table is looked after, and the rows that an old version of a cube stands on stay."""

from __future__ import annotations

from pathlib import Path

from cubeoracle import TEXT, small_cube
from lifelake import KEEP, NOW, Life

from cubes.build import build
from cubes.segments import table_of
from cubes.verify import verify
from fleetcube.retained import _tables, apply_retention, vacuum_lake
from lake.delta import open_snapshot
from lake.holds import add_hold
from lake.lookup_store import publish_lookup
from lake.tables import trusted


def lived(folder: Path) -> Life:
    """A lake with rows, bad rows, a hold, a lookup, deletions, and two versions of a cube at different batches."""
    life = Life(folder)
    life.settings = life.settings.__class__(**{**vars(life.settings), "definitions": folder / "definitions"})
    life.land(50, 35, 1)
    life.land(1, value="bad")
    life.gate()
    publish_lookup(life.settings.lake, life.duck, "aliases", [("host", "a", "b")])
    life.build()
    add_hold(life.settings.lake, life.duck, "samples", first=life.day(1), last=life.day(1), site="", reason="case 7")
    life.retire()
    return life


def test_every_table_is_vacuumed(tmp_path: Path) -> None:
    life = lived(tmp_path)
    life.age(100)
    strays = []
    for log in life.settings.lake.rglob("_delta_log"):
        stray = log.with_name("build-00000099-0000.parquet")
        stray.write_bytes(b"cut short")
        strays.append(stray)
    life.age(100)
    life.land(1)
    life.gate()
    life.build()
    known = {ref.key for ref, _, _ in _tables(life.settings)}
    there = {str(one.parent.relative_to(life.settings.lake)) for one in strays}
    assert there <= known
    assert {"holds", "deletions", "ledger", "builds", "lookups/aliases", "trusted/samples", "quarantine"} <= there
    found = vacuum_lake(life.settings, apply=False)
    assert all(stray.exists() for stray in strays)
    assert sum(len(one.files) for one in found) >= len(strays)
    vacuum_lake(life.settings, apply=True)
    assert [stray for stray in strays if stray.exists()] == []
    life.holds()


def test_the_rows_that_an_old_version_stands_on_stay(tmp_path: Path) -> None:
    life = lived(tmp_path)
    old = life.cube
    stood = open_snapshot(life.settings.lake, table_of(old)).txn("source")
    life.land(1, 2, host="c")
    life.gate()
    # Changed, and built anew beside it; rows move on to other files.
    life.cube = small_cube(tmp_path, TEXT.replace("[5m, 1h, 1d]", "[1h, 1d]") + KEEP.replace("5m: 40d, ", ""))
    build(life.settings, life.duck, life.cube)
    life.compact()
    files = {file.path for file in open_snapshot(life.settings.lake, trusted("samples")).files}
    life.age(100)
    life.land(1)
    life.gate()
    life.build()
    there = {file.path for file in open_snapshot(life.settings.lake, trusted("samples"), stood).files}
    assert there - files, "the old version needs files that the newest doesn't"
    vacuum_lake(life.settings, apply=True)
    for cube in (old, life.cube):
        assert verify(life.settings, life.duck, cube).holds
    assert apply_retention(life.settings, NOW) is not None
