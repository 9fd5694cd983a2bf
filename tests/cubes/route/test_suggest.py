"""What EXPLAIN CUBE proposes is done by hand, built, and asked again: then the question fits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqllake import START, add_rows, make_lake

from cubes import load
from cubes.build import build
from cubes.load import load_cubes
from cubes.session import Session
from lake.duck import connect
from lake.settings import Settings

RANGE = "ts >= '2026-10-06' AND ts < '2026-10-07'"
P90 = "percentile_cont(0.9) WITHIN GROUP (ORDER BY e2e_ms)"
# The words of an edit, and a question from requests that it makes fit.
ASKED = {
    "dimension user_hash": f"user_hash, count(*) FROM requests WHERE {RANGE} GROUP BY 1",
    "dimension error_code": f"model, sum(output_tokens) FROM requests WHERE error_code = '500' AND {RANGE} GROUP BY 1",
    "grain 1m": f"date_trunc('minute', ts), count(*) FROM requests WHERE {RANGE} GROUP BY 1",
    "grain 30s": "count(*) FROM requests WHERE ts >= '2026-10-06 01:00:30' AND ts < '2026-10-06 01:01:00'",
    "measure max_batch_size": f"model, max(batch_size) FROM requests WHERE {RANGE} GROUP BY 1",
    "measure count_cached_tokens": f"avg(cached_tokens) FROM requests WHERE {RANGE}",
    "measure stddev_gpu_ms": f"stddev(gpu_ms) FROM requests WHERE {RANGE}",
    "slots e2e_ms 5m": f"date_bin('5 minutes', ts, TIMESTAMP '2026-01-01'), {P90} FROM requests GROUP BY 1",
    "slots e2e_ms endpoint, cuboid [endpoint]": f"endpoint, {P90} FROM requests WHERE {RANGE} GROUP BY 1",
    "min_gpu_ms max_gpu_ms quantiles_gpu_ms": f"{P90.replace('e2e', 'gpu')} FROM requests WHERE {RANGE}",
    "measure distinct_user_hash": f"approx_count_distinct(user_hash) FROM requests WHERE {RANGE}",
    "dimension pod": "pod, last(value) FROM samples WHERE metric = 'gpu.power' GROUP BY 1",
    "dimension user_hash, measure": f"user_hash, min(cached_tokens) FROM requests WHERE {RANGE} GROUP BY 1",
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(lake=tmp_path_factory.mktemp("suggest") / "lake", memory_mib=512)
    settings.lake.mkdir()
    make_lake(settings, rows=150)
    duck = connect(settings)
    add_rows(duck, settings, "events", [{"ts": START, "kind": "reboot", "host": "a", "text": "x"}], 1)
    duck.connection.close()
    return settings


@pytest.fixture
def settings(lake: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of the lake, and of the shipped definitions, that a test may change."""
    shutil.copytree(lake.lake, tmp_path / "lake")
    shutil.copytree(load.SHIPPED, tmp_path / "definitions")
    monkeypatch.setattr(load, "SHIPPED", tmp_path / "definitions")
    return Settings(lake=tmp_path / "lake", memory_mib=512)


def explained(settings: Settings, sql: str) -> list[str]:
    with Session(settings) as session:
        return list(session.query(sql, explain=True).table["plan"].to_pylist())


def apply(lines: list[str], folder: Path) -> str:
    """What a person does: copies the lines behind `would fit` into the definition; gives the cube's name."""
    start = next(place for place, line in enumerate(lines) if line.startswith("  would fit: "))
    text = [line[4:] for line in lines[start + 1 :] if line.startswith("    ")]
    fields: dict[str, Any] = yaml.safe_load("\n".join(text))
    words = lines[start].removeprefix("  would fit: ").split()
    name = fields.get("cube", words[1])
    path = folder / f"{name}.yaml"
    held: dict[str, Any] = yaml.safe_load(path.read_text()) if path.exists() else {"measures": {}}
    measures = {**held["measures"], **fields.pop("measures", {})}
    path.write_text(yaml.safe_dump({**held, **fields, "measures": measures, "budget": {"cuboids": 64}}))
    return str(name)


@pytest.mark.parametrize("edit", ASKED)
def test_what_is_proposed_makes_it_fit(settings: Settings, tmp_path: Path, edit: str) -> None:
    sql = f"SELECT {ASKED[edit]}"
    lines = explained(settings, sql)
    assert lines[0] == "path: raw"
    told = next(line for line in lines if line.startswith("  would fit: "))
    assert all(word in told for word in edit.replace(",", "").split())
    name = apply(lines, tmp_path / "definitions")
    duck = connect(settings)
    build(settings, duck, load_cubes()[name])
    duck.connection.close()
    with Session(settings) as session:
        answer = session.query(sql)
        assert answer.path in ("cube", "cube+raw")
        assert answer.receipt["blocks"][0]["cube"] == name
        assert answer.table.num_rows == session.query(sql, raw=True).table.num_rows


def test_a_fact_without_a_cube_gets_one(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "definitions" / "events.yaml").unlink()
    sql = "SELECT host, count(*) FROM events WHERE kind = 'reboot' GROUP BY host"
    lines = explained(settings, sql)
    assert any(line.startswith("  would fit: a new cube events_own") for line in lines)
    assert apply(lines, tmp_path / "definitions") == "events_own"
    duck = connect(settings)
    build(settings, duck, load_cubes()["events_own"])
    duck.connection.close()
    with Session(settings) as session:
        assert session.query(sql).path == "cube"


def test_a_filter_that_is_in_the_way(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    for path in folder.iterdir():
        path.unlink()
    form = "cube: good\nfact: requests\ngrains: [1h]\ndimensions: [model, status]\nmeasures: {n: count}\n"
    (folder / "good.yaml").write_text(form + "where: status = 'ok'\n")
    sql = f"SELECT model, count(*) FROM requests WHERE {RANGE} GROUP BY 1"
    duck = connect(settings)
    build(settings, duck, load_cubes()["good"])
    lines = explained(settings, sql)
    assert any("no filter (now: " in line for line in lines)
    apply(lines, folder)
    told = explained(settings, sql)
    build(settings, duck, load_cubes()["good"])
    duck.connection.close()
    assert any("as it is declared, once `fleetcube build good` has run" in line for line in told)
    with Session(settings) as session:
        assert session.query(sql).path == "cube"


def test_more_values_than_hashes(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "definitions"
    (folder / "serving.yaml").unlink()
    form = "cube: users\nfact: requests\ngrains: [1h, 1d]\ndimensions: [model]\nmeasures:\n"
    (folder / "users.yaml").write_text(form + "  users: {distinct: user_hash, exact_to: 16}\n")
    duck = connect(settings)
    build(settings, duck, load_cubes()["users"])
    sql = "SELECT count(DISTINCT user_hash) FROM requests"
    lines = explained(settings, sql)
    assert "more than 16 values of user_hash" in lines[1]
    assert any(line.startswith("  would fit: cube users with dimension user_hash") for line in lines)
    apply(lines, folder)
    build(settings, duck, load_cubes()["users"])
    duck.connection.close()
    with Session(settings) as session:
        answer = session.query(sql)
        assert (answer.path, answer.table.column(0)[0].as_py()) == ("cube", 20)


def test_where_nothing_helps_it_says_so(settings: Settings) -> None:
    lines = explained(settings, f"SELECT sum(output_tokens * 2) FROM requests WHERE {RANGE}")
    assert not any("would fit" in line for line in lines)
    fits = explained(settings, f"SELECT count(*) FROM requests WHERE {RANGE}")
    assert not any("would fit" in line or "no change" in line for line in fits)
