"""Which days a range of dates is about: what the lake holds of it, not what was typed."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from cubeoracle import publish, random_rows, small_cube

from cubes.build import build, refresh
from cubes.model import Cube
from cubes.source import held_days
from cubes.verify import verify
from lake.duck import Duck
from lake.settings import Settings

EVER = (date(1, 1, 1), date(9999, 12, 31))


@pytest.fixture
def cube(tmp_path: Path) -> Cube:
    return small_cube(tmp_path)


def test_all_of_time_is_the_days_of_rows_and_cells(duck: Duck, settings: Settings, cube: Cube) -> None:
    assert held_days(duck, settings.lake, cube, *EVER) == []
    rows = random_rows(3, 200)
    publish(duck, settings, rows, 1)
    days = {row["ts"].date() for row in rows}
    found = held_days(duck, settings.lake, cube, *EVER)
    assert (found[0], found[-1]) == (min(days), max(days))
    build(settings, duck, cube)
    before = verify(settings, duck, cube)
    # A segment of days is a year: some days more, never millions.
    wide = held_days(duck, settings.lake, cube, *EVER)
    assert days <= set(wide)
    assert len(wide) == 2 * 365
    assert refresh(settings, duck, cube, wide).kind == "refresh"
    after = verify(settings, duck, cube)
    assert after.holds
    assert after.digests == before.digests


def test_what_lies_outside_of_the_range_is_left_out(duck: Duck, settings: Settings, cube: Cube) -> None:
    publish(duck, settings, random_rows(4, 50), 1)
    every = held_days(duck, settings.lake, cube, *EVER)
    assert held_days(duck, settings.lake, cube, every[0], every[0]) == []
    assert held_days(duck, settings.lake, cube, every[1], every[2]) == [every[1]]
    assert held_days(duck, settings.lake, cube, date(1970, 1, 1), every[1]) == [every[0]]


def test_days_of_cells_whose_rows_are_gone_are_there(duck: Duck, settings: Settings, cube: Cube) -> None:
    rows = random_rows(5, 100)
    publish(duck, settings, rows, 1)
    build(settings, duck, cube)
    days = {row["ts"].date() for row in rows}
    for file in sorted((settings.lake / "trusted").rglob("*.json")):
        # The rows' table is lost; its cells are still there.
        file.unlink()
    assert days <= set(held_days(duck, settings.lake, cube, *EVER))
