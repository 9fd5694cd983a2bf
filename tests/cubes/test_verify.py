from __future__ import annotations

import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from cubeoracle import TEXT, publish, random_rows, small_cube
from sqllake import make_lake

from cubes.build import build
from cubes.load import load_cubes
from cubes.model import Cube
from cubes.segments import table_of
from cubes.verify import verify
from lake import delta
from lake.duck import Duck, connect
from lake.errors import LakeError
from lake.settings import Settings


@pytest.fixture
def cube(tmp_path: Path) -> Cube:
    return small_cube(tmp_path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with one sound cube, to be copied and damaged."""
    folder = tmp_path_factory.mktemp("built")
    settings = Settings(lake=folder / "lake")
    settings.lake.mkdir()
    duck = connect(settings)
    publish(duck, settings, [{**row, "host": row["host"] or "d"} for row in random_rows(1, 60, days=1)], 1)
    build(settings, duck, small_cube(folder))
    assert verify(settings, duck, small_cube(folder)).holds
    duck.connection.close()
    return settings.lake


@pytest.mark.slow
def test_shipped_cubes_hold_on_random_rows(settings: Settings) -> None:
    make_lake(settings, seed=3, rows=300)
    duck = connect(settings)
    for cube in load_cubes().values():
        if cube.fact == "events":
            continue
        report = verify(settings, duck, cube)
        assert report.shown == ()
        assert report.holds
        # The small lake has neither these nor events; the simulated one of tests/fleetcube/test_dashboards.py has.
        assert (report.cells > 0) == (cube.name not in ("energy", "training"))
    duck.connection.close()


def test_it_tells_where_it_stands(built: Path, tmp_path: Path) -> None:
    settings = Settings(lake=built)
    cube, told = small_cube(tmp_path), list[tuple[str, int, int]]()
    verify(settings, connect(settings), cube, progress=lambda *step: told.append(step))
    assert [done for _, done, _ in told] == list(range(len(told)))
    # Cells of four cuboids at three grains; slots and hashes of two cuboids at two grains.
    assert {of for _, _, of in told} == {4 * 3 + 2 * 2 * 2}
    assert told[0][0] == "5m cells by metric"


def damage(duck: Duck, settings: Settings, cube: Cube, select: str) -> None:
    """Replace every file of the cube's hours by what `select` makes of its rows."""
    cells = delta.open_snapshot(settings.lake, table_of(cube))
    files = [file for file in cells.files if file.partition["grain"] == "1h"]
    held = duck.scan(cells, cells.paths(lambda file: file.partition["grain"] == "1h"))
    adds = duck.write(select.format(held=held), settings.lake, cells.ref, "damaged", stats=("cuboid", "bucket"))
    delta.commit(settings.lake, cells.ref, cells, adds=adds, removes=files, txns={"build": 99})


@pytest.mark.parametrize(
    "select, message",
    [
        ("SELECT * REPLACE (sum_value + 1 AS sum_value) FROM {held}", "sum_value is .* not"),
        ("SELECT * FROM {held} WHERE cuboid <> 4 OR sketch IS NOT NULL", "1h cells by metric: .*is not stored"),
        ("SELECT * REPLACE (slot + 1 AS slot) FROM {held}", "1h slots of .* by .*slot=.*has no rows"),
        ("SELECT * REPLACE (n + 1 AS n) FROM {held}", "n is .*, not"),
        ("SELECT * FROM {held} UNION ALL SELECT * FROM {held}", "rows is"),
        ("FROM {held} UNION ALL SELECT * REPLACE (3 AS cuboid) FROM {held}", "1h cuboid 3 cells: .* no definition"),
        ("SELECT * REPLACE (cast(NULL AS VARCHAR) AS host) FROM {held}", "host=b, .*is not stored"),
    ],
)
def test_every_kind_of_damage_is_found(
    duck: Duck, settings: Settings, cube: Cube, built: Path, select: str, message: str
) -> None:
    shutil.copytree(built, settings.lake, dirs_exist_ok=True)
    damage(duck, settings, cube, select)
    report = verify(settings, duck, cube)
    assert not report.holds
    assert 0 < len(report.shown) <= 20
    assert any(re.search(message, text) for text in report.shown), report.shown


def test_a_range_of_days_is_compared_alone(duck: Duck, settings: Settings, cube: Cube) -> None:
    publish(duck, settings, random_rows(1, 100), 1)
    build(settings, duck, cube)
    whole = verify(settings, duck, cube)
    parts = [
        verify(settings, duck, cube, until=date(2026, 1, 1)),
        verify(settings, duck, cube, since=date(2026, 1, 1)),
    ]
    assert sum(part.cells for part in parts) == whole.cells
    assert sum(part.slots for part in parts) == whole.slots
    damage(duck, settings, cube, "SELECT * FROM {held} WHERE bucket < TIMESTAMPTZ '2026-01-01 00:00:00+00'")
    assert verify(settings, duck, cube, until=date(2026, 1, 1)).holds
    assert not verify(settings, duck, cube, since=date(2026, 1, 1)).holds


def test_rows_newer_than_the_cube_are_not_its_fault(duck: Duck, settings: Settings, cube: Cube) -> None:
    publish(duck, settings, random_rows(1, 50), 1)
    build(settings, duck, cube)
    publish(duck, settings, random_rows(2, 50), 2)
    report = verify(settings, duck, cube)
    assert (report.holds, report.source, report.watermark) == (True, 1, 1)


def test_an_unbuilt_cube_says_so(duck: Duck, settings: Settings, tmp_path: Path) -> None:
    cube = small_cube(tmp_path, TEXT)
    with pytest.raises(LakeError, match="fleetcube build small"):
        verify(settings, duck, cube)
