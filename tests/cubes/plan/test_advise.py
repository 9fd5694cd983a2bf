from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cubeoracle import TEXT, publish, random_rows, small_cube

from cubes.build import build
from cubes.model import Cube
from cubes.plan import querylog
from cubes.plan.advise import advise, with_cuboids
from cubes.plan.querylog import Asked, read_log
from cubes.session import Session
from lake.duck import Duck
from lake.settings import Settings

NOW = datetime(2026, 1, 10, tzinfo=UTC)
ONE = Asked(NOW.isoformat(), "samples", ("host", "metric"), (), ("sum_value",), ("1h", "1d"), 0, "", "", 9, "", 1.0)
SHORT = TEXT.replace("[[site, metric], [host, metric], [metric]]", "[[site, metric]]").replace(", without: [host]", "")


@pytest.fixture
def cube(tmp_path: Path) -> Cube:
    return small_cube(tmp_path, SHORT)


def write(settings: Settings, entries: list[Asked]) -> None:
    folder = settings.lake / "_work" / "queries"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "2026-01-10.jsonl").write_text("".join(json.dumps(vars(entry)) + "\n" for entry in entries))


def test_a_session_logs_what_was_asked_and_no_value(duck: Duck, settings: Settings, cube: Cube) -> None:
    publish(duck, settings, random_rows(1, 200), 1)
    build(settings, duck, cube)
    with Session(settings, cubes=[cube], clock=lambda: NOW) as session:
        session.query("SELECT site, sum(value) FROM samples WHERE metric = 'gpu.power' GROUP BY site")
        session.query("SELECT host, sum(value) FROM samples WHERE metric = 'gpu.power' GROUP BY host", raw=True)
        session.query("SELECT agent, count(*) FROM samples GROUP BY agent")
        assert read_log(settings.lake, "samples") == [], "lines are buffered"
    first, second = read_log(settings.lake, "samples")
    assert (first.dims, first.cube, first.grain, first.reason) == (("metric", "site"), "small", "1d", "")
    assert first.states == ("sum_value",)
    assert first.ms > 0
    assert (second.cube, second.rows) == ("", 200)
    assert second.reason
    text = (settings.lake / "_work" / "queries" / "2026-01-10.jsonl").read_text()
    assert "gpu.power" not in text
    assert read_log(settings.lake, "requests") == []


def test_the_log_is_bounded_and_damage_is_passed_over(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, duck: Duck, cube: Cube
) -> None:
    publish(duck, settings, random_rows(1, 20), 1)
    build(settings, duck, cube)
    write(settings, [ONE])
    folder = settings.lake / "_work" / "queries"
    with (folder / "2026-01-10.jsonl").open("a") as file:
        file.write('{"at": "2026-01-10", "fa\n{"other": 1}\n[]\n')
    assert read_log(settings.lake, "samples") == [ONE]
    monkeypatch.setattr(querylog, "_DAYS", 3)
    for day in range(1, 6):
        with Session(settings, cubes=[cube], clock=lambda day=day: NOW + timedelta(days=day)) as session:
            session.query("SELECT count(*) FROM samples")
    assert [path.name for path in sorted(folder.iterdir())] == [f"2026-01-{day}.jsonl" for day in (13, 14, 15)]
    monkeypatch.setattr(querylog, "_DAY_BYTES", 10)
    before = len(read_log(settings.lake, "samples"))
    with Session(settings, cubes=[cube], clock=lambda: NOW + timedelta(days=5)) as session:
        session.query("SELECT count(*) FROM samples")
    assert len(read_log(settings.lake, "samples")) == before


def test_a_log_that_cannot_be_written_is_told_once_and_the_query_answered(
    duck: Duck, settings: Settings, cube: Cube, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(duck, settings, random_rows(1, 20), 1)
    build(settings, duck, cube)
    monkeypatch.setattr(querylog, "_BUFFERED", 1)
    folder = settings.lake / "_work" / "queries"
    folder.mkdir(parents=True)
    (folder / "2026-01-10.jsonl").mkdir()
    with Session(settings, cubes=[cube], clock=lambda: NOW) as session:
        answers = [session.query("SELECT count(*) FROM samples") for _ in range(2)]
    assert [answer.table.num_rows for answer in answers] == [1, 1]
    assert "queries are not logged" in answers[0].notices[-1]
    assert answers[1].notices == ()


def test_what_is_asked_often_is_proposed_and_what_nobody_asks_is_dropped(
    duck: Duck, settings: Settings, cube: Cube
) -> None:
    publish(duck, settings, random_rows(1, 2000), 1)
    old = replace(ONE, at=(NOW - timedelta(days=300)).isoformat(), dims=("metric", "site"))
    unmet = replace(ONE, dims=("model",))
    write(settings, [ONE] * 30 + [old] * 30 + [unmet] * 3)
    advice = advise(settings, duck, cube, now=NOW, budget_bytes=10**9)
    assert [one.dimensions for one in advice.adds] == [("host", "metric")]
    assert advice.adds[0].rows_saved > 0
    assert advice.rows_then < advice.rows_now
    assert advice.size_then - advice.size_now == advice.adds[0].size_bytes
    assert advice.drops == (), "asked long ago is asked"
    assert advice.unmet == (("dimension model", 3),)
    write(settings, [ONE] * 30)
    advice = advise(settings, duck, cube, now=NOW, budget_bytes=10**9)
    assert [one.dimensions for one in advice.drops] == [("site", "metric")]
    assert [one.rows_saved for one in advice.drops] == [0]
    write(settings, [ONE] * 5)
    assert advise(settings, duck, cube, now=NOW, budget_bytes=10**9).drops == (), "five queries say little"


def test_the_budget_holds_and_no_log_means_no_advice(duck: Duck, settings: Settings, cube: Cube) -> None:
    publish(duck, settings, random_rows(1, 500), 1)
    empty = advise(settings, duck, cube, now=NOW)
    assert (empty.queries, empty.adds, empty.drops) == (0, (), ())
    write(settings, [ONE] * 30)
    assert advise(settings, duck, cube, now=NOW, budget_bytes=1).adds == ()
    assert advise(settings, duck, replace(cube, budget=1), now=NOW, budget_bytes=10**9).adds == ()


def test_added_cuboids_keep_distributions_as_the_measures_say(tmp_path: Path) -> None:
    cube = small_cube(tmp_path)
    wide = with_cuboids(cube, [*cube.cuboids, cube.mask(["site", "host"]), cube.mask(["site"])])
    assert wide.sketches[0].cuboids == tuple(one for one in wide.cuboids if not one & cube.mask(["host"]))
    assert cube.mask(["site"]) in wide.sketches[0].cuboids
