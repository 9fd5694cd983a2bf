"""Airflow over PostgreSQL: backfills by REST, upkeep by the scheduler, and what people hear of a task that failed."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airflowlive import LiveAirflow, send, wait_for
from postgresserver import PostgresServer
from states import lake_state

from fleetcube.pipeline import Pipeline
from lake.settings import Settings

pytestmark = [pytest.mark.airflow, pytest.mark.postgres, pytest.mark.timeout(900)]
LOAD, CUBES, MAINTAIN = "fleetcube_load", "fleetcube_cubes", "fleetcube_maintain"
OLD_S = 40 * 86_400


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as started:
        yield started


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, server: PostgresServer) -> Iterator[LiveAirflow]:
    """Airflow, running; its DAGs are paused."""
    airflow = LiveAirflow(tmp_path_factory.mktemp("airflow"), server.url)
    started = airflow.launch("start")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        wait_for(lambda: airflow.ask("GET", "/dags")["total_entries"] == 3, "the DAGs")
        yield airflow
    finally:
        ended = airflow.launch("stop")
        assert ended.returncode == 0, ended.stderr


def unpause(live: LiveAirflow, *dags: str) -> None:
    for dag in dags:
        live.ask("PATCH", f"/dags/{dag}", {"is_paused": False})


def states_of(live: LiveAirflow, dag: str, run: str) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in live.tasks(dag) if task["dag_run_id"] == run}


def log_of(live: LiveAirflow, dag: str, run: str, task: str) -> str:
    return json.dumps(live.ask("GET", f"/dags/{dag}/dagRuns/{run.replace('+', '%2B')}/taskInstances/{task}/logs/1"))


def test_the_url_is_told_once_and_its_password_is_kept_private(live: LiveAirflow, server: PostgresServer) -> None:
    home = live.lake / "_airflow"
    assert live.launch("start").returncode == 0
    assert not list(home.glob("*.db"))
    assert stat.S_IMODE((home / "database").stat().st_mode) == 0o600
    holders = [path.name for path in home.rglob("*") if path.is_file() and server.password in path.read_text()]
    assert holders == ["database"]


def test_a_backfill_by_rest_beside_runs_ends_like_one_clean_run(live: LiveAirflow, tmp_path: Path) -> None:
    live.send(1)
    unpause(live, CUBES, LOAD)
    live.settle()
    live.send(2)
    live.trigger(LOAD)
    days = {"from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-02T00:00:00Z"}
    live.ask("POST", "/backfills", {"dag_id": CUBES, **days})
    live.settle()
    runs = live.ask("GET", f"/dags/{CUBES}/dagRuns")["dag_runs"]
    made = {run["dag_run_id"] for run in runs if run["run_type"] == "backfill"}
    assert len(made) == 2
    assert {run["state"] for run in runs} == {"success"}
    mapped = [task for task in live.tasks(CUBES) if task["dag_run_id"] in made and task["task_id"] == "build"]
    assert {task["rendered_map_index"] for task in mapped} >= {"serving", "infrastructure"}
    for one in live.sent:
        send(tmp_path / "clean", **one)
    pipeline = Pipeline(Settings(lake=tmp_path / "clean"))
    for step in (pipeline.land, pipeline.gate, pipeline.build):
        step()
    assert lake_state(live.lake) == lake_state(tmp_path / "clean")


def age(live: LiveAirflow, server: PostgresServer, run: str) -> list[Path]:
    """Make a run of fleetcube_load and its logs forty days old; gives the logs."""
    logs = list((live.lake / "_airflow" / "logs" / f"dag_id={LOAD}" / f"run_id={run}").rglob("*.log"))
    for path in logs:
        os.utime(path, (time.time() - OLD_S, time.time() - OLD_S))
    with psycopg.connect(server.url.replace("+psycopg2", "")) as connection:
        for table in ("dag_run", "task_instance"):
            connection.execute(
                f"UPDATE {table} SET start_date = start_date - make_interval(secs => %s) WHERE run_id = %s",
                (OLD_S, run),
            )
    return logs


def test_the_scheduler_maintains_the_lake_and_itself(live: LiveAirflow, server: PostgresServer) -> None:
    """Unpaused, its last interval is due; every proof holds, nothing is deleted unasked, and old runs go."""
    old = live.trigger(LOAD)
    live.settle()
    logs = age(live, server, old)
    assert logs
    large = live.lake / "_airflow" / "dag-processor.log"
    with large.open("ab") as file:
        file.write(b"a line\n" * (3 << 20))
    unpause(live, MAINTAIN)
    wait_for(lambda: live.ask("GET", f"/dags/{MAINTAIN}/dagRuns")["total_entries"] == 1, "the run that is due")
    live.settle()
    [run] = live.ask("GET", f"/dags/{MAINTAIN}/dagRuns")["dag_runs"]
    states = states_of(live, MAINTAIN, run["dag_run_id"])
    assert (run["run_type"], run["state"], states.pop("retain")) == ("scheduled", "success", "skipped")
    assert states == dict.fromkeys(
        ("upkeep", "verify", "verify_older", "retain_plan", "vacuum", "audit", "tidy"), "success"
    )
    assert f"{len(logs)} logs of tasks are removed, 1 logs" in log_of(live, MAINTAIN, run["dag_run_id"], "tidy")
    assert not (live.lake / "_airflow" / "logs" / f"dag_id={LOAD}" / f"run_id={old}").exists()
    assert large.stat().st_size < 16 << 20
    with pytest.raises(OSError, match="404"):
        live.run_state(LOAD, old)
    # What was started before goes on.
    assert live.launch("start").returncode == 0
    live.trigger(LOAD)
    live.settle()


def test_a_run_that_failed_is_told_once_and_over_after_a_good_one(live: LiveAirflow) -> None:
    run = live.trigger(CUBES, conf={"cubes": ["no_such_cube"]})
    live.settle()
    assert live.run_state(CUBES, run) == "failed"
    told = check_told(live, CUBES)
    assert told["text"].startswith(f"Run {run} of {CUBES} failed: cubes: There is no cube no_such_cube; there are ")
    [look] = told["look"]
    assert look.startswith(live.address)
    # The log of that task, one click away.
    assert urllib.parse.unquote(look).endswith(f"/dags/{CUBES}/runs/{run}/tasks/cubes")
    live.trigger(CUBES)
    check_over(live, CUBES)


def test_a_task_that_was_killed_for_good_is_told_as_well(live: LiveAirflow) -> None:
    """It can call nobody itself: its process ends without a word, as where memory runs out."""
    run = live.trigger(MAINTAIN)
    for _ in range(2):
        live.kill_next("cube verify --since", "no.such.fault")
        wait_for(lambda: live.killed, "the kill")
    # Both proofs are there, and the second try of either may be the one that was killed.
    live.kill_next("cube verify --since", "no.such.fault")
    wait_for(lambda: live.killed, "the kill")
    live.settle()
    assert live.run_state(MAINTAIN, run) == "failed"
    told = check_told(live, MAINTAIN)
    assert re.search(
        rf"Run \S+ of {MAINTAIN} failed: verify(_older)?: its process was ended from outside", told["text"]
    )
    live.trigger(MAINTAIN)
    check_over(live, MAINTAIN)


def check_told(live: LiveAirflow, dag: str) -> dict[str, Any]:
    wait_for(lambda: bool(alerts(live, "--kind", "task")), "the notice", 60)
    [told] = alerts(live, "--kind", "task")
    assert (told["entity"], told["severity"], told["state"]) == (f"airflow/{dag}", "critical", "raised")
    return told


def check_over(live: LiveAirflow, dag: str) -> None:
    live.settle()
    wait_for(lambda: not alerts(live, "--kind", "task"), "the end of it", 60)
    every = [one for one in alerts(live, "--kind", "task", "--all") if one["entity"] == f"airflow/{dag}"]
    assert [one["state"] for one in every] == ["raised", "cleared"]


def alerts(live: LiveAirflow, *options: str) -> list[dict[str, Any]]:
    command = [str(Path(sys.prefix) / "bin" / "fleetcube"), "alerts", "list", *options, "--format", "json"]
    done = subprocess.run([*command, "--lake", str(live.lake)], capture_output=True, text=True, timeout=120, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["alerts"]
    return found
