"""DAGs in Airflow's own process: imported, and each run once by `airflow dags test`, over one lake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflowlive import ROOT, LiveAirflow, send
from states import lake_state

from fleetcube.pipeline import Pipeline
from lake.settings import Settings

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]
LOOK = ROOT / "tests" / "data" / "airflow" / "look_at_dags.py"


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> LiveAirflow:
    """Airflow's metadata and a lake with rows that wait, without any of its processes."""
    airflow = LiveAirflow(tmp_path_factory.mktemp("airflow"))
    send(airflow.lake, 1)
    done = airflow.launch("cli", "db", "migrate")
    assert done.returncode == 0, done.stdout + done.stderr
    return airflow


@pytest.fixture(scope="module")
def dags(quiet: LiveAirflow) -> dict[str, Any]:
    """What Airflow makes of the files."""
    python = Path(sys.prefix) / "airflow" / "bin" / "python"
    environ = {**quiet.environ(), "AIRFLOW_HOME": str(quiet.lake / "_airflow")}
    command = [str(python), str(LOOK), str(ROOT / "airflow_dags")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_dag_imports_cleanly_and_fast(dags: dict[str, Any]) -> None:
    assert dags["errors"] == {}
    assert set(dags["dags"]) == {"fleetcube_load", "fleetcube_cubes", "fleetcube_maintain"}
    print({name: dag["seconds"] for name, dag in dags["dags"].items()}, "common", dags["common"])
    # Processor seconds beyond Airflow's own import, by far: no engine and no lake is imported.
    assert dags["common"] < 1
    for name, dag in dags["dags"].items():
        assert dag["doc"], name
        assert dag["told"], name
        assert not dag["catchup"], name
        assert dag["active"] == 1, name
        assert dag["templates"] == [], name
        assert all(count >= 1 for count in dag["retries"].values()), name


def test_edges_and_outlets(dags: dict[str, Any]) -> None:
    load, cubes, maintain = (dags["dags"][f"fleetcube_{name}"] for name in ("load", "cubes", "maintain"))
    assert load["edges"] == [["gate", "alerts"], ["land", "gate"]]
    assert load["outlets"] == {"gate": ["fleetcube_trusted"]}
    assert cubes["edges"] == [["cubes", "build"]]
    assert cubes["outlets"] == {"build": ["fleetcube_cubes"]}
    assert maintain["edges"] == [
        ["retain", "vacuum"],
        ["retain_plan", "retain"],
        ["upkeep", "verify"],
        ["upkeep", "verify_older"],
        ["vacuum", "audit"],
        ["verify", "retain_plan"],
        ["verify_older", "retain_plan"],
    ]


def test_every_day_is_proven_once_more_in_the_thirty_after_it(dags: dict[str, Any]) -> None:
    first = date(2026, 1, 1)
    proven = [(first + timedelta(days=n), date.fromisoformat(day)) for n, day in enumerate(dags["older"])]
    assert all(1 <= (run - day).days <= 30 for run, day in proven)
    for n in range(60):
        day = first + timedelta(days=n)
        assert len([run for run, other in proven if other == day]) == 1, day


def runs() -> Iterator[tuple[str, list[str], list[str]]]:
    """DAG, options, and what its output must tell."""
    yield "fleetcube_load", [], ["samples batch 1 passed", "requests batch 1 passed"]
    yield "fleetcube_cubes", [], ["infrastructure: build 1 of", "serving: build 1 of"]
    again = '{"cubes": ["serving"], "since": "2026-01-01", "until": "2026-01-04"}'
    yield "fleetcube_cubes", ["--conf", again], ["serving: 2026-01-01 to 2026-01-03 refreshed"]
    yield (
        "fleetcube_maintain",
        [],
        [
            "not built yet",
            "all equal",
            "does not say `apply`, so nothing is deleted",
            "files, ",
            '"hash"',
            "0 logs of tasks",
        ],
    )
    apply = '{"retain": "apply"}'
    yield "fleetcube_maintain", ["--conf", apply], ["parts are deleted"]


def test_each_runs_on_a_lake(quiet: LiveAirflow) -> None:
    """In the order of the data: what one has done is what the next works on."""
    done = quiet.launch("cli", "dags", "reserialize")
    assert done.returncode == 0, done.stdout + done.stderr
    for dag, options, told in runs():
        done = quiet.launch("cli", "dags", "test", dag, *options)
        text = done.stdout + done.stderr
        assert done.returncode == 0, text[-6000:]
        for words in told:
            assert words in text, (dag, words, text[-6000:])


@pytest.mark.spark
def test_spark_builds_where_the_variable_says_so(quiet: LiveAirflow) -> None:
    """And every cell holds, those of DuckDB and those of Spark together."""
    send(quiet.lake, 2)
    pipeline = Pipeline(Settings(lake=quiet.lake))
    pipeline.land()
    pipeline.gate()
    conf = ["--conf", '{"cubes": ["serving"]}']
    done = quiet.launch(
        "cli", "dags", "test", "fleetcube_cubes", *conf, environ={"AIRFLOW_VAR_FLEETCUBE_ENGINE": "spark"}
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-6000:]
    assert re.search(r"serving: build \d+ of \d+ rows", text), text[-6000:]
    pipeline.build()
    lake_state(quiet.lake)
