"""Age-out of dimensions: cells that need no longer tell one are merged, proven first, and every answer stays exact."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ageing import AGES, QUERIES, RAW, TEXT, ageing, ask, send, told, truth
from cubeoracle import small_cube
from lifelake import NOW, Life, child

from cubes.build import refresh
from cubes.plan.evolve import evolve
from cubes.plan.versions import old_versions
from cubes.segments import table_of
from cubes.verify import verify
from lake import delta
from lake.deletions import read_deletions
from lake.delta import open_snapshot
from lake.errors import LakeError, QueryError
from lake.holds import add_hold
from lake.tables import DELETIONS


def parts(life: Life) -> dict[str, str]:
    """The fates of what was due by age-out."""
    return {name: why for name, why in life.retire().items() if name.startswith("dimension")}


AGED = {
    "dimension small 1h 2025-10 without device, host": "",
    "dimension small 1h 2026-08 without device, host": "",
    "dimension small 1h 2026-09 without device": "",
    "dimension small 1d 2025 without device, host": "",
    "dimension small 1w 2025 without device, host": "",
}


def test_cells_age_out_and_every_answer_without_the_dimension_stays(tmp_path: Path) -> None:
    life = ageing(tmp_path)
    before = [ask(life, sql)[1] for sql in QUERIES]
    cells = open_snapshot(life.settings.lake, table_of(life.cube)).rows
    assert parts(life) == AGED
    assert parts(life) == {}, "nothing is due twice"
    assert open_snapshot(life.settings.lake, table_of(life.cube)).rows < cells
    assert [ask(life, sql) for sql in QUERIES] == [("cube", rows) for rows in before]
    life.holds()
    for by, since, until in (("site", 500, 0), ("host", 60, 0), ("host", 50, 2), ("device", 20, 0)):
        expected = truth(life, lambda row, by=by: (row[by], row["metric"]), since, until)
        assert told(life, by, since, until) == ("cube", expected), by


def test_an_old_range_that_needs_the_dimension_is_refused_with_where_it_is_told(tmp_path: Path) -> None:
    life = ageing(tmp_path)
    parts(life)
    # Days of this year still tell the device; hours of September do not.
    assert told(life, "device", 100, 0)[0] == "cube"
    old = f"ts >= '{life.day(50)} 06:00:00' AND ts < '{life.day(49)}'"
    with pytest.raises(QueryError, match=r"device has aged out: .* at 1h from 2026-10-01 on, at 1d from 2026-01-01 on"):
        ask(life, f"SELECT device, count(*) FROM samples WHERE {old} GROUP BY 1")
    assert (
        sum(row["n"] for row in ask(life, f"SELECT host, count(*) AS n FROM samples WHERE {old} GROUP BY 1")[1]) == 12
    )
    with pytest.raises(QueryError, match="host has aged out"):
        told(life, "host", 500, 0)


def test_a_range_over_both_sides_reads_another_cuboid_of_each(tmp_path: Path) -> None:
    life = ageing(tmp_path)
    parts(life)
    # By hours, from a time within the day: no day covers the ends.
    sql = f"""SELECT host, metric, count(*) AS n FROM samples
        WHERE ts >= '{life.day(45)} 07:00:00' AND ts < '{life.day(0)}' AND date_trunc('hour', ts) IS NOT NULL
        GROUP BY host, metric, date_trunc('hour', ts)"""
    path, rows = ask(life, sql)
    assert path == "cube"
    assert sum(row["n"] for row in rows) == 36
    _, plan = ask(life, sql, explain=True)
    tiles = [row["plan"] for row in plan if "1h cells of" in row["plan"]]
    assert any("[site × host × metric] from 2026-09" in tile for tile in tiles), tiles
    assert any("[site × host × device × metric] from 2026-10-01" in tile for tile in tiles), tiles


def test_where_rows_are_left_they_tell_what_cells_no_longer_do(tmp_path: Path) -> None:
    life = ageing(tmp_path, rules=RAW)
    assert parts(life) == AGED
    expected = truth(life, lambda row: (row["device"], row["metric"]), 500, 0)
    assert told(life, "device", 500, 0) == ("cube+raw", expected)
    send(life, (1, 50, 400), 5, seed=8)
    life.gate()
    # Rows that the cube doesn't hold yet must come in once, at the edges and in between.
    expected = truth(life, lambda row: (row["device"], row["metric"]), 500, 0)
    assert told(life, "device", 500, 0, fresh=True) == ("cube+raw", expected)
    assert told(life, "device", 500, 0, raw=True, fresh=True) == ("raw", expected)
    life.build()
    life.holds()
    assert told(life, "device", 500, 0) == ("cube+raw", expected)
    refresh(life.settings, life.duck, life.cube, [life.day(50), life.day(400), life.day(1)])
    life.holds()
    assert parts(life) == {}, "late and refreshed cells tell no more than the segment does"
    assert told(life, "device", 500, 0) == ("cube+raw", expected)
    # Rows may expire after the cells have aged: they are proven by what the cells still tell.
    (life.folder / "definitions" / "retention.yaml").write_text(RAW.replace("10y", "30d"))
    fates = life.retire()
    assert [name for name in fates if name.startswith("trusted")] != []
    assert set(fates.values()) == {""}
    assert told(life, "site", 500, 0) == ("cube", truth(life, lambda row: (row["site"], row["metric"]), 500, 0))


def test_late_rows_reach_what_is_still_told(tmp_path: Path) -> None:
    life = ageing(tmp_path)
    parts(life)
    send(life, (50, 400), 6, seed=9)
    life.gate()
    life.build()
    life.holds()
    assert told(life, "site", 500, 0) == ("cube", truth(life, lambda row: (row["site"], row["metric"]), 500, 0))
    with pytest.raises(LakeError, match="their rows have expired"):
        refresh(life.settings, life.duck, life.cube, [life.day(50)])
    assert set(life.retire().values()) == {""}, "late rows are proven by totals and go"
    life.compact()
    assert told(life, "host", 60, 0)[1] == truth(life, lambda row: (row["host"], row["metric"]), 60, 0)


def test_what_does_not_reconcile_or_is_held_keeps_its_dimension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = ageing(tmp_path, rules=RAW)
    add_hold(
        life.settings.lake, life.duck, "samples", first=life.day(50), last=life.day(50), site=None, reason="case 7"
    )
    before = ask(life, "SELECT count(*) AS n FROM samples")[1]
    with monkeypatch.context() as patched:
        # A merge that loses a cell: found before anything is on record.
        wrong = "SELECT * FROM ({}) ORDER BY ALL OFFSET 1"
        real = untell_module().told_merged_sql
        patched.setattr(untell_module(), "told_merged_sql", lambda *given: wrong.format(real(*given)))
        fates = parts(life)
    assert fates.pop("dimension small 1h 2026-09 without device") == "held by hold 1 (case 7)"
    assert len(fates) == 4
    assert all("cells and slots of" in why for why in fates.values())
    assert read_deletions(life.duck, open_snapshot(life.settings.lake, DELETIONS)) == []
    life.holds()
    assert ask(life, "SELECT count(*) AS n FROM samples")[1] == before
    assert [why for why in parts(life).values() if why] == ["held by hold 1 (case 7)"]
    life.holds()


def untell_module() -> Any:
    import cubes.untell

    return cubes.untell


def test_days_age_with_the_weeks_that_are_made_of_them(tmp_path: Path) -> None:
    life = ageing(tmp_path, rules=RAW)

    def due(now: datetime) -> list[str]:
        fates = life.retire(now)
        assert set(fates.values()) <= {""}
        return [" ".join(name.split()[2:4]) for name in fates]

    assert due(datetime(2026, 2, 12, tzinfo=UTC)) == ["1h 2025-10"], "the last week of 2025 is not old enough"
    refresh(life.settings, life.duck, life.cube, [life.day(400)])
    life.holds()
    assert due(datetime(2026, 2, 18, tzinfo=UTC)) == ["1w 2025", "1d 2025"], "coarsest first"
    refresh(life.settings, life.duck, life.cube, [life.day(400)])
    life.holds()


def test_the_record_says_what_proved_it(tmp_path: Path) -> None:
    life = ageing(tmp_path)
    parts(life)
    found = read_deletions(life.duck, open_snapshot(life.settings.lake, DELETIONS), layer="dimension")
    assert {(one.grain, one.segment) for one in found} == {tuple(name.split()[2:4]) for name in AGED}
    proof = next(one for one in found if one.segment == "2026-09").proof["cubes"][life.cube.digest]
    assert proof["dropped"] == ["device"]
    assert proof["base"]["rows"] == 24
    assert proof["cells"][0] > proof["cells"][1]


def test_a_wrong_cell_of_an_aged_segment_is_found(tmp_path: Path) -> None:
    life = ageing(tmp_path, rules=RAW)
    parts(life)
    cells = open_snapshot(life.settings.lake, table_of(life.cube))
    lost = [file for file in cells.files if file.partition["segment"] == "2026-09"]
    delta.commit(life.settings.lake, cells.ref, cells, removes=lost, txns={"build": 99})
    assert not verify(life.settings, life.duck, life.cube).holds


def test_a_grain_that_has_aged_is_proven_by_the_coarser_one_that_has_not(tmp_path: Path) -> None:
    life = ageing(tmp_path)
    parts(life)
    life.cube = small_cube(tmp_path, TEXT + AGES + "keep: {1h: 39d, 1d: 10y, 1w: 10y}\n")
    fates = life.retire()
    assert fates == {f"cube small 1h {month}": "" for month in ("2025-10", "2026-08")} | {"cube small 1h 2026-09": ""}
    assert told(life, "device", 100, 0)[0] == "cube"


def test_a_changed_definition_takes_over_cells_that_have_aged(tmp_path: Path) -> None:
    life = ageing(tmp_path)
    parts(life)
    changed = TEXT.replace("[[site, device, metric], [metric]]", "[[site, device, metric], [host, metric], [metric]]")
    life.cube = small_cube(tmp_path, changed + AGES)
    [old] = old_versions(life.settings.lake, life.cube)
    assert evolve(life.settings, life.duck, life.cube, old) is not None
    life.holds()
    assert parts(life) == {}
    for by, since in (("site", 500), ("host", 60), ("device", 20)):
        expected = truth(life, lambda row, by=by: (row[by], row["metric"]), since, 0)
        assert told(life, by, since, 0) == ("cube", expected)
    send(life, (50, 400), 6, seed=9)
    life.gate()
    life.build()
    assert told(life, "site", 500, 0)[1] == truth(life, lambda row: (row["site"], row["metric"]), 500, 0)
    with pytest.raises(QueryError, match="host has aged out"):
        told(life, "host", 500, 0)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["retain.intent.after", "retain.record.after", "retain.delete.after"])
def test_a_killed_age_out_is_never_seen_in_part(tmp_path: Path, fault: str) -> None:
    life = ageing(tmp_path, rules=RAW)
    before = [ask(life, sql)[1] for sql in QUERIES]
    code = "import ageing\nlife.cube = ageing.small_cube(life.folder, ageing.TEXT + ageing.AGES)\n"
    code += "(life.folder / 'definitions' / 'retention.yaml').write_text(ageing.RAW)\nlife.retire()"
    assert child(life, code, fault=f"{fault}:2") == -signal.SIGKILL
    small_cube(tmp_path, TEXT + AGES)
    (tmp_path / "definitions" / "retention.yaml").write_text(RAW)
    assert [ask(life, sql)[1] for sql in QUERIES] == before
    send(life, (50, 400), 5, seed=8)
    life.gate()
    life.build()
    life.holds()
    expected = truth(life, lambda row: (row["site"], row["metric"]), 500, 0)
    assert told(life, "site", 500, 0) == ("cube", expected)
    life.retire(NOW)
    life.holds()
    assert told(life, "site", 500, 0) == ("cube", expected)
    assert len(read_deletions(life.duck, open_snapshot(life.settings.lake, DELETIONS), layer="dimension")) == 5
