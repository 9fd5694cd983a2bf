from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cubeoracle import TEXT, publish, random_rows, small_cube

from cubes.build import build
from cubes.load import load_cubes
from cubes.model import Cube
from cubes.plan import distinct
from cubes.plan.distinct import Wanted, count
from cubes.plan.forecast import forecast, refuse_over_budget
from cubes.segments import table_of
from lake import delta, tables
from lake.duck import Duck
from lake.errors import DefinitionError, LakeError
from lake.settings import Settings

Counts = dict[tuple[str, int], tuple[int, int]]


@pytest.fixture
def cube(tmp_path: Path) -> Cube:
    return small_cube(tmp_path)


def table_rows(duck: Duck, settings: Settings, cube: Cube) -> Counts:
    """Cells and slots by (grain, cuboid), counted in the table."""
    cells = duck.scan(delta.open_snapshot(settings.lake, table_of(cube)))
    found = duck.sql(
        f"""SELECT grain, cuboid, count(*) FILTER (WHERE sketch IS NULL), count(*) FILTER (WHERE sketch IS NOT NULL)
        FROM {cells} GROUP BY ALL"""
    )
    return {(grain, cuboid): (many, slots) for grain, cuboid, many, slots in found}


def generated(duck: Duck, settings: Settings, rows: int) -> None:
    """Samples made by SQL: skewed hosts, one metric that most hosts lack, values over several decades."""
    select = f"""SELECT make_timestamptz(1767225600000000 + CAST(hash(i) % 259200 AS BIGINT) * 1000000) AS ts,
        'm' || CAST(sqrt(hash(i, 1) % 400) AS INTEGER) AS metric, 's' || (hash(i, 5) % 3) AS site,
        'h' || CAST(pow(hash(i, 2) % 1000, 2) / 5000 AS INTEGER) AS host,
        CAST(exp(hash(i, 3) % 700 / 50.0) AS DECIMAL(38, 9)) AS value, 60 AS interval_s,
        'gen' AS agent, '' AS boot, i AS seq, 0 AS idx, 1 AS batch FROM range({rows}) AS made(i)"""
    ref = tables.trusted("samples")
    missing = [column.name for column in ref.schema if f"AS {column.name}" not in select and column.name != "day"]
    nulls = "".join(f", NULL AS {name}" for name in missing)
    files = duck.write(f"SELECT *, CAST(ts AS DATE) AS day{nulls} FROM ({select})", settings.lake, ref, "gate-1")
    delta.commit(settings.lake, ref, delta.open_snapshot(settings.lake, ref), adds=files, txns={"gate": 1})


def test_a_small_forecast_is_exact(duck: Duck, settings: Settings, cube: Cube) -> None:
    publish(duck, settings, random_rows(3, 400), 1)
    found = forecast(settings, duck, cube)
    build(settings, duck, cube)
    actual = table_rows(duck, settings, cube)
    assert {(part.grain, part.cuboid): (part.cells, part.slots) for part in found.parts} == actual
    assert found.rows == 400
    assert found.size_bytes == sum(part.size_bytes for part in found.parts) > 0
    assert found.seconds > found.scan_s > 0


def test_sampled_forecasts_lie_within_a_fifth(
    duck: Duck, settings: Settings, cube: Cube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distinct, "_MANY", 10_000)
    monkeypatch.setattr(distinct, "_ENOUGH", 500)
    generated(duck, settings, 60_000)
    found = forecast(settings, duck, cube)
    build(settings, duck, cube)
    actual = table_rows(duck, settings, cube)
    counted = {(part.grain, part.cuboid): (part.cells, part.slots) for part in found.parts}
    assert counted != actual, "nothing was sampled, so this test shows nothing"
    pairs = [(counted[key][kind], actual[key][kind]) for key in actual for kind in (0, 1) if actual[key][kind]]
    assert all(abs(told - there) <= 0.2 * there for told, there in pairs)


def test_bytes_come_near_the_files(duck: Duck, settings: Settings, cube: Cube) -> None:
    generated(duck, settings, 60_000)
    found = forecast(settings, duck, cube)
    build(settings, duck, cube)
    actual = sum(file.size_bytes for file in delta.open_snapshot(settings.lake, table_of(cube)).files)
    assert abs(found.size_bytes - actual) <= 0.2 * actual
    raw = sum(file.size_bytes for file in delta.open_snapshot(settings.lake, tables.trusted("samples")).files)
    assert found.bytes_per_raw_byte == found.size_bytes / raw


def test_forecasting_leaves_nothing_behind(duck: Duck, settings: Settings, cube: Cube) -> None:
    publish(duck, settings, random_rows(3, 50), 1)
    before = duck.sql("SHOW ALL TABLES")
    first = forecast(settings, duck, cube)
    assert [part.rows for part in forecast(settings, duck, cube).parts] == [part.rows for part in first.parts]
    assert list((settings.lake / "_work" / "forecast").iterdir()) == []
    assert [table for table in duck.sql("SHOW ALL TABLES") if table not in before and "fc_b" not in str(table)] == []


@pytest.mark.parametrize(
    ("most", "expected"), [(0, {1: 5, 0: 3}), (2, {1: 4, 0: 2}), (1, {1: 2, 0: 1})], ids=["all", "two", "one"]
)
def test_items_of_a_cell_are_counted_up_to_a_limit(duck: Duck, most: int, expected: dict[int, int]) -> None:
    rows = """(SELECT TIMESTAMPTZ '2026-01-01 00:00:00Z' AS ts, * FROM (VALUES
        ('a', 1), ('a', 2), ('a', 2), ('a', 3), ('b', 1), ('b', 2), ('b', NULL)) AS made(d, x))"""
    wanted = Wanted(("d",), (0, 1), ("1h",), "x", "x", most)
    assert {cuboid: number for (_, cuboid), number in count(duck, rows, wanted).items()} == expected


def test_a_budget_of_bytes_refuses_with_the_forecast(
    duck: Duck, settings: Settings, tmp_path: Path, cube: Cube
) -> None:
    publish(duck, settings, random_rows(3, 400), 1)
    tight = small_cube(tmp_path, TEXT + "budget: {bytes_per_raw_byte: 0.01}\n")
    assert (tight.budget_bytes, tight.digest) == (Decimal("0.01"), small_cube(tmp_path, TEXT).digest)
    found = forecast(settings, duck, tight)
    with pytest.raises(DefinitionError) as refused:
        refuse_over_budget(found)
    text = str(refused.value)
    assert f"{found.size_bytes:,} bytes" in text
    assert "its budget is 0.01" in text
    assert "[site, host, metric]" in text, "the dearest cuboid is the base"
    assert "--over-budget" in text
    refuse_over_budget(replace(found, cube=replace(tight, budget_bytes=Decimal(1000))))
    refuse_over_budget(replace(found, cube=cube))


def test_without_rows_there_is_nothing_to_count(duck: Duck, settings: Settings, cube: Cube) -> None:
    with pytest.raises(LakeError, match="has no trusted rows"):
        forecast(settings, duck, cube)


@pytest.mark.parametrize("name", ["infrastructure", "serving", "evaluations"])
def test_shipped_cubes_are_forecast_exactly_on_a_small_lake(asked: Any, name: str) -> None:
    cube = load_cubes()[name]
    settings = Settings(lake=asked._shelf.lake, memory_mib=512)
    from lake.duck import connect

    duck = connect(settings)
    # The lake was built of two batches, so its cells are partial: what a forecast counts is them merged.
    cells = duck.scan(delta.open_snapshot(settings.lake, table_of(cube)))
    dims = ", ".join(f'"{name}"' for name in cube.dimensions)
    merged = duck.sql(
        f"""SELECT grain, cuboid, count(*) FROM (SELECT DISTINCT grain, cuboid, bucket, {dims}
        FROM {cells} WHERE sketch IS NULL) GROUP BY ALL"""
    )
    found = forecast(settings, duck, cube)
    assert {(part.grain, part.cuboid): part.cells for part in found.parts} == {(g, c): n for g, c, n in merged}
