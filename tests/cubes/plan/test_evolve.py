"""A changed definition is built from old cells; each case is checked against the oracle, and against a whole build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cubeoracle import MORE, TEXT, cells_of_table, expected, publish, random_rows, small_cube

from cubes.build import build
from cubes.model import Cube
from cubes.plan.changes import compare
from cubes.plan.evolve import evolve
from cubes.plan.versions import Version, drop_version, old_versions
from cubes.segments import table_of
from cubes.session import Session
from cubes.stored import from_text, to_text
from cubes.verify import verify
from lake import delta, tables
from lake.duck import Duck
from lake.errors import LakeError
from lake.settings import Settings

WHOLE = TEXT + MORE
# What is changed in the definition, and the way that the new cells can be made.
CHANGES = {
    "order of cuboids": ("[host, metric], [metric]]", "[metric], [metric, host]]", "same"),
    "cuboid dropped": ("[[site, metric], [host, metric], [metric]]", "[[site, metric], [metric]]", "cells"),
    "dimension dropped": ("[site, host, metric]\n", "[metric, site]\n", "cells"),
    "grain dropped": ("[5m, 1h, 1d]", "[1h, 1d]", "cells"),
    "grain added": ("grains: [5m, 1h, 1d]\n", "grains: [5m, 15m, 1h, 1d, 1w, 1mo]\n", "cells"),
    "measure dropped": ("  covered_s: {sum: interval_s}\n", "", "cells"),
    "measure renamed": ("total:", "sum_of_values:", "same"),
    "measure added": ("  total:", "  weakest: {min: interval_s}\n  total:", "cells and rows"),
    "count where added": ("  total:", '  low: {count: {where: "value < 0"}}\n  total:', "cells and rows"),
    "quantiles at another grain": ("0.01, grains: [1h, 1d]", "0.01, grains: [1d]", "cells"),
    "quantiles in more cuboids": (
        "0.01, grains: [1h, 1d], without: [host]}",
        "0.01, grains: [1h, 1d]}",
        "cells and rows",
    ),
    "quantiles dropped": (TEXT[TEXT.index("  spread") :], "", "cells"),
    "hashes dropped": (MORE[MORE.index("  pods") :], "", "cells"),
    "more hashes": ("exact_to: 16", "exact_to: 17", "cells and rows"),
    "states dropped": (MORE[: MORE.index("  pods")], "", "cells"),
    "finer grain": ("[5m, 1h, 1d]", "[1m, 5m, 1h, 1d]", "rows"),
    "filter": ("cuboids:", "where: site = 'eu'\ncuboids:", "rows"),
}


def changed(tmp_path: Path, case: str) -> Cube:
    before, after, _ = CHANGES[case]
    text = WHOLE.replace(before, after)
    if case == "grain added":
        text = text.replace("[1h, 1d], without", "[1h, 1d, 1w, 1mo], without")
    if case == "dimension dropped":
        text = text.replace("[[site, metric], [host, metric], [metric]]", "[[metric]]").replace(", without: [host]", "")
    assert text != WHOLE
    return small_cube(tmp_path, text)


def built(duck: Duck, settings: Settings, tmp_path: Path, rows: list[dict[str, Any]]) -> Cube:
    """The unchanged cube, built of two batches."""
    cube = small_cube(tmp_path)
    for batch, part in enumerate((rows[::2], rows[1::2]), 1):
        publish(duck, settings, part, batch)
        build(settings, duck, cube)
    return cube


def merged(duck: Duck, settings: Settings, cube: Cube) -> Any:
    return verify(settings, duck, cube).digests


@pytest.mark.parametrize("case", CHANGES)
def test_the_way_to_the_new_cells(tmp_path: Path, case: str) -> None:
    old, new = small_cube(tmp_path), changed(tmp_path, case)
    assert (old.digest == new.digest) == (CHANGES[case][2] == "same")
    assert compare(old, new).way == CHANGES[case][2].replace("same", "cells")


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CHANGES if CHANGES[case][2] not in ("rows", "same")])
def test_cells_made_of_old_ones_are_those_of_a_whole_build(
    duck: Duck, settings: Settings, tmp_path: Path, case: str
) -> None:
    rows = random_rows(21, 150, days=4)
    old = built(duck, settings, tmp_path, rows[:130])
    new = changed(tmp_path, case)
    version = old_versions(settings.lake, new)[0]
    assert version.cube == old
    result = evolve(settings, duck, new, version)
    assert result is not None
    assert (result.rows > 0) == (CHANGES[case][2] == "cells and rows"), "rows are read for new states only"
    report = verify(settings, duck, new)
    assert report.holds, report.shown
    evolved = report.digests
    publish(duck, settings, rows[130:], 3)
    build(settings, duck, new)
    assert verify(settings, duck, new).holds
    assert cells_of_table(duck, settings, old) == expected(rows[:130], old), "the old version stays as it was"
    # The same cells as one build from rows makes, in a lake where the old version never was.
    other = Settings(lake=tmp_path / "other")
    other.lake.mkdir()
    publish(duck, other, rows[:130], 1)
    build(other, duck, new)
    assert merged(duck, other, new) == evolved


def test_a_cuboid_is_added_without_reading_rows(duck: Duck, settings: Settings, tmp_path: Path) -> None:
    rows = random_rows(22, 200)
    whole = TEXT[: TEXT.index("  spread")]
    old = small_cube(tmp_path, whole.replace("[[site, metric], [host, metric], [metric]]", "[[metric]]"))
    publish(duck, settings, rows, 1)
    build(settings, duck, old)
    for path in tables.trusted("samples").path(settings.lake).rglob("*.parquet"):
        path.rename(path.with_suffix(".away"))
    new = small_cube(tmp_path, whole)
    result = evolve(settings, duck, new, old_versions(settings.lake, new)[0])
    assert result is not None
    assert result.rows == 0
    change = compare(old, new)
    assert change.added["cuboids"] == ("site × metric", "host × metric")
    cells = {key: held for key, held in expected(rows, new).items() if len(key) == 4}  # no slots in this definition
    assert cells_of_table(duck, settings, new) == cells


def test_a_measure_of_rows_that_are_gone_is_refused_and_the_old_version_answers(
    duck: Duck, settings: Settings, tmp_path: Path
) -> None:
    rows = random_rows(23, 200)
    old = built(duck, settings, tmp_path, rows)
    trusted = delta.open_snapshot(settings.lake, tables.trusted("samples"))
    gone = [file for file in trusted.files if file.partition["day"] == "2025-12-31"]
    delta.commit(settings.lake, trusted.ref, trusted, removes=gone, txns={"gate": 3})
    build(settings, duck, old)  # takes over the version of trusted, and drops the cells of that day
    new = changed(tmp_path, "measure added")
    version = old_versions(settings.lake, new)[0]
    cells = delta.open_snapshot(settings.lake, table_of(old))
    doubled = [file for file in cells.files if file.partition["grain"] == "1d"]
    delta.commit(settings.lake, cells.ref, cells, removes=doubled, txns={"build": 9})
    version = old_versions(settings.lake, new)[0]
    with pytest.raises(LakeError, match=r"are not the ones that cube small was built of.*--from-rows"):
        evolve(settings, duck, new, version)
    assert not delta.open_snapshot(settings.lake, table_of(new)).exists


def test_the_old_version_answers_until_the_new_one_stands(duck: Duck, settings: Settings, tmp_path: Path) -> None:
    rows = random_rows(24, 200)
    old = built(duck, settings, tmp_path, rows)
    new = changed(tmp_path, "grain added")
    text = "SELECT metric, count(value), sum(value) FROM samples GROUP BY metric ORDER BY metric"
    with Session(settings, cubes=[new]) as session:
        first = session.query(text)
        assert first.path == "cube"
        assert first.receipt["versions"]["samples"]["cubes"]["small"]["build"] == 2
        version = old_versions(settings.lake, new)[0]
        with pytest.raises(LakeError, match="has not been built; version"):
            drop_version(settings.lake, new, version)
        evolve(settings, duck, new, version)
        second = session.query(text)
        assert (second.path, second.table.to_pylist()) == ("cube", first.table.to_pylist())
        assert second.receipt["versions"]["samples"]["cubes"]["small"]["build"] == 1
        drop_version(settings.lake, new, version)
        assert old_versions(settings.lake, new) == []
        assert not table_of(old).path(settings.lake).exists()
        assert session.query(text).table.to_pylist() == first.table.to_pylist()


def test_a_stored_definition_is_read_back_as_it_was(tmp_path: Path) -> None:
    cube = small_cube(tmp_path, TEXT + "keep: {5m: 30d}\nbudget: {cuboids: 9, bytes_per_raw_byte: 0.5}\n")
    assert from_text(to_text(cube), "here") == cube
    strange = to_text(cube).replace('"name":"small"', '"name":"small","colour":"red"')
    with pytest.raises(LakeError, match=r"Cube has no colour"):
        from_text(strange, "here")
    with pytest.raises(LakeError, match=r"can't be read"):
        from_text("{", "here")


CHILD = """
import sys
from pathlib import Path
from cubes.load import load_cubes
from cubes.plan.evolve import evolve
from cubes.plan.versions import old_versions
from lake.duck import connect
from lake.settings import Settings
settings = Settings(lake=Path(sys.argv[1]))
cube = load_cubes(Path(sys.argv[2]))["small"]
evolve(settings, connect(settings), cube, old_versions(settings.lake, cube)[0])
"""


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["evolve.cells.after", "evolve.commit.before", "evolve.commit.after"])
def test_a_killed_evolution_shows_nothing_and_is_done_again(
    duck: Duck, settings: Settings, tmp_path: Path, fault: str
) -> None:
    rows = random_rows(25, 200)
    built(duck, settings, tmp_path, rows)
    new = changed(tmp_path, "measure added")
    command = [sys.executable, "-c", CHILD, str(settings.lake), str(tmp_path / "definitions")]
    root = Path(__file__).parents[3]
    killed = subprocess.run(command, env={**os.environ, "FLEETCUBE_FAULT": fault, "PYTHONPATH": str(root)})
    assert killed.returncode == -9
    done = fault == "evolve.commit.after"
    assert (delta.open_snapshot(settings.lake, table_of(new)).txn("build") == 1) == done
    if not done:
        old: Version = old_versions(settings.lake, new)[0]
        evolve(settings, duck, new, old)
    assert verify(settings, duck, new).holds
