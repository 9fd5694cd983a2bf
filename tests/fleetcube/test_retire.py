"""Retention that deletes: only what is proven and not held; nothing is answered or made anew out of what went."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cubeoracle import TEXT, small_cube
from gating import rows_of
from landed import land
from lifelake import NOW, Life, child
from sqllake import add_rows

from cubes.build import build, refresh
from cubes.compact import compact_cube
from cubes.load import load_cubes
from cubes.segments import table_of
from cubes.session import Session
from cubes.source import held_days
from cubes.verify import verify
from fleetcube.retire import retire
from lake import delta
from lake.deletions import read_deletions
from lake.delta import open_snapshot
from lake.duck import Duck
from lake.errors import LakeError, QueryError
from lake.holds import add_hold, remove_hold
from lake.retention_rules import load_rules
from lake.settings import Settings
from lake.tables import DELETIONS, trusted
from quality.accounts import accounts
from quality.undo import undo_batch


@pytest.fixture
def life(tmp_path: Path) -> Life:
    """Rows of 50, 35 and 1 days ago, built; what the cube answered before anything went is in `sent`."""
    made = Life(tmp_path)
    made.land(50, 50, 35, 1)
    made.land(35, 1, host="b")
    made.gate()
    made.build()
    return made


def ask(life: Life, sql: str, **options: Any) -> list[dict[str, Any]]:
    with Session(life.settings, cubes=[life.cube], clock=lambda: NOW) as session:
        return session.query(sql, **options).table.to_pylist()


def test_what_is_proven_goes_and_the_answers_stay(life: Life) -> None:
    sql = "SELECT host, count(*) AS n, sum(value) AS s FROM samples WHERE metric = 'gpu.power' GROUP BY 1 ORDER BY 1"
    before, told = ask(life, sql), accounts(life.settings.lake, life.duck)
    fates = life.retire()
    assert fates == {
        f"trusted samples {life.day(50)}": "",
        f"trusted samples {life.day(35)}": "",
        f"cube small 5m {life.day(50)}": "",
    }
    assert life.trusted_days() == [str(life.day(1))]
    assert ask(life, sql) == before
    assert accounts(life.settings.lake, life.duck) == told
    life.holds()
    assert life.retire() == {}
    first, second, cells = read_deletions(life.duck, open_snapshot(life.settings.lake, DELETIONS))
    assert (first.rows, second.rows, cells.grain, cells.rows) == (2, 2, "5m", cells.rows)
    proof = first.proof["cubes"][life.cube.digest]
    assert proof["totals"]["rows"] == "2"
    assert Decimal(proof["totals"]["sum_value"]) == Decimal("1.5") * 2 + 1 + 2
    assert cells.proof["cubes"][life.cube.digest]["successor"] == "1h"


def test_what_went_is_refused_not_answered_as_nothing(life: Life) -> None:
    life.retire()
    old = f"ts >= '{life.day(50)}' AND ts < '{life.day(49)}'"
    assert ask(life, f"SELECT count(*) AS n FROM samples WHERE {old}") == [{"n": 2}], "whole days, from 1d cells"
    hours = f"SELECT date_trunc('hour', ts) AS h, count(*) AS n FROM samples WHERE {old} GROUP BY 1"
    assert [row["n"] for row in ask(life, hours)] == [2]
    for refused in (
        f"SELECT time_bucket(INTERVAL '5 minutes', ts) AS b, count(*) FROM samples WHERE {old} GROUP BY 1",
        f"SELECT host, value FROM samples WHERE {old}",
        f"SELECT count(*) FROM samples WHERE ts >= '{life.day(50)} 00:01:07'",
        "SELECT count(DISTINCT device) FROM samples",
    ):
        with pytest.raises(QueryError, match="have expired"):
            ask(life, refused)
    with pytest.raises(QueryError, match=f"Ask from {life.day(34)} on"):
        ask(life, "SELECT count(*) FROM samples", raw=True)
    assert ask(life, f"SELECT count(*) AS n FROM samples WHERE ts >= '{life.day(34)}'", raw=True) == [{"n": 2}]


def test_expired_days_are_not_made_anew(life: Life) -> None:
    life.retire()
    cells = delta.open_snapshot(life.settings.lake, table_of(life.cube)).rows
    with pytest.raises(LakeError, match=f"can't be refreshed over {life.day(35)}.*have expired"):
        refresh(life.settings, life.duck, life.cube, [life.day(35), life.day(1)])
    ever = held_days(life.duck, life.settings.lake, life.cube, date(1, 1, 1), date(9999, 12, 31))
    assert life.day(35) in ever, "asked for all of time, they are refused and not left out"
    with pytest.raises(LakeError, match="can't be refreshed"):
        refresh(life.settings, life.duck, life.cube, ever)
    with pytest.raises(LakeError, match="can't be verified"):
        verify(life.settings, life.duck, life.cube, since=life.day(40))
    assert verify(life.settings, life.duck, life.cube, since=life.day(3)).holds
    life.land(1)
    life.gate()
    undo_batch(life.settings, life.duck, "samples", 1, reason="wrong")  # withdraws what is left of it
    life.build()
    assert delta.open_snapshot(life.settings.lake, table_of(life.cube)).rows > cells / 2
    old = f"SELECT count(*) AS n FROM samples WHERE ts < '{life.day(30)}'"
    assert ask(life, old) == [{"n": 4}], "the history of expired days stays"
    life.holds()


def test_late_rows_of_an_expired_range_reach_the_grains_that_survive(life: Life) -> None:
    life.retire()
    life.land(50, host="late")
    life.gate()
    life.build()
    old = f"ts >= '{life.day(50)}' AND ts < '{life.day(49)}'"
    assert ask(life, f"SELECT host, count(*) AS n FROM samples WHERE {old} GROUP BY 1 ORDER BY 1") == [
        {"host": "a", "n": 2}, {"host": "late", "n": 1},
    ]  # fmt: skip
    stored = delta.open_snapshot(life.settings.lake, table_of(life.cube))
    fine = [file for file in stored.files if file.partition["segment"] == str(life.day(50))]
    assert fine == [], "a grain that has gone must not come back in part"
    with pytest.raises(QueryError, match="have expired"):
        ask(life, f"SELECT time_bucket(INTERVAL '5 minutes', ts) AS b, count(*) FROM samples WHERE {old} GROUP BY 1")
    life.holds()
    assert undo_batch(life.settings, life.duck, "samples", 2, reason="x").rows == {"trusted": 0, "stayed": 1}
    assert life.retire() == {f"trusted samples {life.day(50)}": ""}, "the late row goes by the totals on record"
    assert ask(life, f"SELECT count(*) AS n FROM samples WHERE {old}") == [{"n": 3}]
    life.holds()


def damage_cube(life: Life) -> None:
    cells = open_snapshot(life.settings.lake, table_of(life.cube))
    lost = [file for file in cells.files if file.partition["segment"] == str(life.day(50))]
    delta.commit(life.settings.lake, cells.ref, cells, removes=lost, txns={"build": 99})


MONTHS = TEXT.replace("[5m, 1h, 1d]", "[1d, 1mo]").replace("grains: [1h, 1d]", "grains: [1d, 1mo]")


def test_days_stay_while_months_may_have_to_be_made_of_them_again(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.cube = small_cube(tmp_path, MONTHS + "keep: {1d: 100d}\n")
    life.land(405, 400)
    life.gate()
    life.build()
    rules = tmp_path / "definitions" / "retention.yaml"
    forever = rules.read_text().replace("30d", "100y")
    rules.write_text(forever)
    assert "are still there" in life.retire()["cube small 1d 2025"]
    refresh(life.settings, life.duck, life.cube, [life.day(400)])
    life.holds()
    rules.write_text(forever.replace("100y", "30d"))
    assert set(life.retire().values()) == {""}
    # Rows of a day that had none: their month can't be made again, so they stay counted, whatever is undone.
    life.land(403)
    life.gate()
    life.build()
    month = f"SELECT count(*) AS n FROM samples WHERE date_trunc('month', ts) = '{life.day(403):%Y-%m}-01'"
    assert life.ask(month) == [{"n": 3}]
    with pytest.raises(LakeError, match=f"refreshed over {life.day(403)}: their days' cells have expired"):
        refresh(life.settings, life.duck, life.cube, [life.day(403)])
    assert undo_batch(life.settings, life.duck, "samples", 2, reason="x").rows == {"trusted": 0, "stayed": 1}
    life.build()
    assert life.ask(month) == [{"n": 3}]
    life.holds()


def weekly(tmp_path: Path, more: str) -> Life:
    """Rows at both turns of 2025, within weeks that reach over them, built at weeks; all rows expire at once."""
    life = Life(tmp_path)
    grains = "[1d, 1w, 1mo]" if "1mo" in more else "[1d, 1w]"
    text = TEXT.replace("[5m, 1h, 1d]", grains).replace("grains: [1h, 1d]", f"grains: {grains}")
    life.cube = small_cube(tmp_path, text + more)
    life.land(315, 313, 400, 679, 681, 1)
    life.gate()
    life.build()
    return life


def test_days_go_when_the_weeks_that_reach_over_their_year_hold_them(tmp_path: Path) -> None:
    life = weekly(tmp_path, "keep: {1d: 100d}\n")
    cells = [name for name, why in life.retire().items() if name.startswith("cube") and not why]
    assert cells == ["cube small 1d 2024", "cube small 1d 2025"]
    assert life.ask("SELECT count(*) AS n FROM samples WHERE date_trunc('week', ts) < '2026-01-05'") == [{"n": 5}]
    life.holds()


def test_a_week_that_lost_a_row_of_the_year_before_keeps_its_days(tmp_path: Path) -> None:
    life = weekly(tmp_path, "keep: {1d: 100d}\n")
    cells = open_snapshot(life.settings.lake, table_of(life.cube))
    lost = [file for file in cells.files if dict(file.partition) == {"grain": "1w", "segment": "2024"}]
    delta.commit(life.settings.lake, cells.ref, cells, removes=lost, txns={"build": 99})
    fates = life.retire()
    assert "differ from the" in fates["cube small 1d 2024"]


def test_weeks_need_no_months(tmp_path: Path) -> None:
    life = weekly(tmp_path, "keep: {1d: 100d, 1w: 100d, 1mo: 10y}\n")
    fates = life.retire()
    assert {name: why for name, why in fates.items() if " 1w " in name} == {
        "cube small 1w 2024": "", "cube small 1w 2025": "",
    }  # fmt: skip
    assert life.ask("SELECT count(*) AS n FROM samples WHERE date_trunc('month', ts) < '2026-02-01'") == [{"n": 5}]
    life.holds()


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (damage_cube, "differs from the rows"),
        (lambda life: (life.land(50), life.gate()), "stands at batch 1, trusted at 2"),
    ],
)
def test_what_does_not_reconcile_is_kept(life: Life, spoil: Callable[[Life], object], why: str) -> None:
    spoil(life)
    fates = life.retire()
    assert why in fates[f"trusted samples {life.day(50)}"]
    assert str(life.day(50)) in life.trusted_days()


def test_cells_whose_successor_differs_are_kept(life: Life) -> None:
    cells = open_snapshot(life.settings.lake, table_of(life.cube))
    month = f"{life.day(50):%Y-%m}"
    lost = [file for file in cells.files if file.partition["segment"] == month]
    delta.commit(life.settings.lake, cells.ref, cells, removes=lost, txns={"build": 99})
    assert "differ from the 0" in life.retire()[f"cube small 5m {life.day(50)}"]


def test_rows_without_a_cube_over_all_of_them_are_kept(tmp_path: Path) -> None:
    life = Life(tmp_path, more="where: site = 'eu'\n")
    life.land(50)
    life.gate()
    life.build()
    assert "would be lost for good" in life.retire()[f"trusted samples {life.day(50)}"]


def test_held_ranges_never_go_until_the_hold_is_lifted(life: Life) -> None:
    day = life.day(50)
    hold = add_hold(life.settings.lake, life.duck, "samples", first=day, last=day, site="eu", reason="case 7")
    fates = life.retire()
    kept = "held by hold 1 (case 7)"
    assert fates == {
        f"trusted samples {day}": kept, f"trusted samples {life.day(35)}": "", f"cube small 5m {day}": kept,
    }  # fmt: skip
    remove_hold(life.settings.lake, life.duck, hold.hold, reason="settled")
    assert set(life.retire().values()) == {""}


def test_landing_and_quarantine_go_by_age_and_stay_in_the_accounts(life: Life) -> None:
    life.land(1, value="bad", received_at=NOW - timedelta(days=100))
    gap = {"problem": "gap", "raw": "cut", "seq": 90, "lost": 5, "received_at": NOW - timedelta(days=100)}
    land(life.settings, life.duck, "samples", [gap])
    life.gate()
    life.build()
    told = accounts(life.settings.lake, life.duck)
    fates = life.retire()
    assert (fates["landing samples"], fates["quarantine samples"]) == ("", "")
    assert accounts(life.settings.lake, life.duck) == told
    life.holds()


def test_a_definition_that_came_later_does_not_answer_for_days_it_never_held(life: Life) -> None:
    life.retire()
    later = Life(life.folder, more="description: anew\nwhere: value IS NOT NULL\n")
    later.build()
    with (
        Session(later.settings, cubes=[later.cube], clock=lambda: NOW) as session,
        pytest.raises(QueryError, match="have expired"),
    ):
        session.query("SELECT count(value) FROM samples WHERE value IS NOT NULL")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["retain.intent.after", "retain.record.after", "retain.delete.after"])
@pytest.mark.parametrize("nth", [1, 3])
def test_a_killed_retention_is_completed(life: Life, fault: str, nth: int) -> None:
    sql = "SELECT host, count(*) AS n, sum(value) AS s FROM samples WHERE metric = 'gpu.power' GROUP BY 1 ORDER BY 1"
    before = ask(life, sql)
    assert child(life, "life.retire()", fault=f"{fault}:{nth}") == -signal.SIGKILL
    assert ask(life, sql) == before
    compact_cube(life.settings, life.duck, life.cube, whole=True)
    life.retire()
    assert life.trusted_days() == [str(life.day(1))]
    assert len(read_deletions(life.duck, open_snapshot(life.settings.lake, DELETIONS))) == 3
    assert ask(life, sql) == before
    life.holds()


def conflict(life: Life) -> None:
    """The last row again, of another content."""
    land(life.settings, life.duck, "samples", [{**life.sent[-1], "value": "77"}])
    life.gate()


@pytest.mark.slow
@pytest.mark.parametrize("correct", [Life.erase, Life.undo, conflict])
def test_a_killed_retention_is_completed_before_a_correction(life: Life, correct: Callable[[Life], None]) -> None:
    life.land(50, host="ann")
    life.gate()
    life.build()
    assert child(life, "life.retire()", fault="retain.record.after:1") == -signal.SIGKILL
    assert str(life.day(50)) in life.trusted_days(), "on record, and still there"
    correct(life)
    assert str(life.day(50)) not in life.trusted_days(), "not written again beside the record"
    life.holds()
    life.build()
    life.retire()
    life.holds()
    old = f"ts >= '{life.day(50)}' AND ts < '{life.day(49)}'"
    assert ask(life, f"SELECT count(*) AS n FROM samples WHERE {old}") == [{"n": 3}]


def test_the_newest_rounds_stay(settings: Settings, duck: Duck, tmp_path: Path) -> None:
    [cube] = [cube for cube in load_cubes().values() if cube.fact == "evaluations"]
    day = NOW - timedelta(days=9)

    def publish(batch: int, *rounds: tuple[str, str]) -> None:
        rows = [
            {"ts": day + timedelta(hours=batch), "model": model, "metric": "loss", "task": "t", "run": "r",
             "round": number, "value": Decimal(batch)} for model, number in rounds
        ]  # fmt: skip
        add_rows(duck, settings, "evaluations", rows, batch)
        build(settings, duck, cube)

    def left() -> list[tuple[Any, ...]]:
        return rows_of(settings.lake, duck, trusted("evaluations"), "model, round")

    publish(1, ("a", "1"), ("a", "1"), ("b", "1"))
    publish(2, ("a", "2"))
    (tmp_path / "retention.yaml").write_text(
        "landing: 9d\nquarantine: 9d\nfacts:\n  evaluations: {newest_rounds: 1, per: [model]}\n"
    )
    [done] = retire(settings, duck, load_rules(tmp_path), [cube], NOW)
    assert (done.kept, done.row.rows, left()) == ("", 2, [("a", "2"), ("b", "1")])
    assert retire(settings, duck, load_rules(tmp_path), [cube], NOW) == []
    publish(3, ("a", "3"))
    [done] = retire(settings, duck, load_rules(tmp_path), [cube], NOW)
    assert (done.kept, left()) == ("", [("a", "3"), ("b", "1")])
    cells = open_snapshot(settings.lake, table_of(cube))
    paths = cells.paths(lambda file: file.partition["grain"] == cube.grains[-1])
    total = f"SELECT sum(rows) FROM {duck.scan(cells, paths)} WHERE cuboid = {cube.base} AND sketch IS NULL"
    assert duck.sql(total) == [(5,)], "the cube remembers every round"
