"""A renamed or merged host answers the same through both doors, and the same as rows that had the new name at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cubeoracle import TEXT, publish, random_rows, small_cube

from cubes.build import build
from cubes.model import Cube
from cubes.route.aliases import resolved
from cubes.session import Session
from lake.duck import Duck
from lake.errors import QueryError
from lake.lookup_store import publish_lookup
from lake.settings import Settings

RENAMED = {"a": "z", "b": "c"}  # a is called z now, b was merged into c
QUERIES = {
    "group": "SELECT host, metric, count(value), sum(value), min(value) FROM samples GROUP BY 1, 2 ORDER BY 1, 2",
    "new name": "SELECT metric, sum(value) FROM samples WHERE host = 'z' GROUP BY 1 ORDER BY 1",
    "old name": "SELECT metric, sum(value) FROM samples WHERE host = 'a' GROUP BY 1 ORDER BY 1",
    "in": "SELECT metric, avg(value) FROM samples WHERE host IN ('c', 'z') GROUP BY 1 ORDER BY 1",
    "distinct": "SELECT metric, count(DISTINCT host) FROM samples GROUP BY 1 ORDER BY 1",
    "edges": """SELECT host, sum(value) FROM samples WHERE metric = 'gpu.power' AND
        ts >= '2025-12-31 01:02:03Z' AND ts < '2026-01-02 04:05:06Z' GROUP BY 1 ORDER BY 1""",
    "condition": "SELECT metric, count(*) FILTER (WHERE host = 'c') FROM samples GROUP BY 1 ORDER BY 1",
    "rows": "SELECT host, count(DISTINCT agent) FROM samples GROUP BY 1 ORDER BY 1",
    "listed": "SELECT ts, host FROM samples WHERE host = 'z' ORDER BY ts LIMIT 5",
}


def alias(settings: Settings, duck: Duck, names: dict[str, str]) -> None:
    publish_lookup(settings.lake, duck, "aliases", [("host", old, new) for old, new in names.items()])


@pytest.fixture
def cube(tmp_path: Path) -> Cube:
    return small_cube(tmp_path)


def test_both_doors_and_rows_renamed_at_once_agree(duck: Duck, settings: Settings, cube: Cube, tmp_path: Path) -> None:
    rows = random_rows(31, 300)
    publish(duck, settings, rows, 1)
    build(settings, duck, cube)
    other = Settings(lake=tmp_path / "other")
    other.lake.mkdir()
    publish(duck, other, [{**row, "host": RENAMED.get(row["host"], row["host"])} for row in rows], 1)
    build(other, duck, cube)
    with Session(settings, cubes=[cube]) as session, Session(other, cubes=[cube]) as oracle:
        before = session.query(QUERIES["group"]).table.to_pylist()
        alias(settings, duck, RENAMED)
        for name, text in QUERIES.items():
            answer, raw = session.query(text), session.query(text, raw=True)
            assert answer.table.equals(raw.table), name
            assert answer.table.equals(oracle.query(text).table), name
            assert answer.path == oracle.query(text).path, name
        assert session.query(QUERIES["group"]).path == "cube"
        assert session.query(QUERIES["old name"]).table.num_rows == 0
        assert session.query(QUERIES["group"]).receipt["rows"] == len(rows)
        alias(settings, duck, {})
        assert session.query(QUERIES["group"]).table.to_pylist() == before


def test_states_judged_by_old_names_do_not_answer(duck: Duck, settings: Settings, tmp_path: Path) -> None:
    rows = random_rows(32, 200)
    cube = small_cube(tmp_path, TEXT.replace("  total:", "  of_c: {count: {where: \"host = 'c'\"}}\n  total:"))
    publish(duck, settings, rows, 1)
    build(settings, duck, cube)
    text = "SELECT count(*) FILTER (WHERE host = 'c') AS n FROM samples WHERE metric = 'gpu.power'"
    with Session(settings, cubes=[cube]) as session:
        assert "metric" in str(session.query(text).receipt["blocks"][0]["pieces"])
        alias(settings, duck, RENAMED)
        answer: list[dict[str, Any]] = session.query(text).table.to_pylist()
        wanted = sum(row["host"] in ("b", "c") and row["metric"] == "gpu.power" for row in rows)
        assert answer == [{"n": wanted}]


def test_a_cube_filtered_by_an_old_name_does_not_answer(duck: Duck, settings: Settings, tmp_path: Path) -> None:
    cube = small_cube(tmp_path, TEXT + "where: host = 'c'\n")
    rows = random_rows(33, 100)
    publish(duck, settings, rows, 1)
    build(settings, duck, cube)
    text = "SELECT count(*) AS n FROM samples WHERE host = 'c'"
    with Session(settings, cubes=[cube]) as session:
        assert session.query(text).path == "cube"
        alias(settings, duck, RENAMED)
        answer = session.query(text)
        assert (answer.path, answer.table.to_pylist()) == (
            "raw",
            [{"n": sum(row["host"] in ("b", "c") for row in rows)}],
        )
        assert "host has aliases" in answer.notices[0]


def test_chains_lead_on_and_circles_are_refused() -> None:
    assert resolved([("host", "b", "c"), ("host", "a", "b"), ("model", "a", "x")]) == {
        "host": {"a": "c", "b": "c"},
        "model": {"a": "x"},
    }
    with pytest.raises(QueryError, match="aliases of host go in a circle: a → b → a"):
        resolved([("host", "a", "b"), ("host", "b", "a")])
