"""The real Airflow: started by its launcher, three intervals with everything that goes wrong, seen in its page."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflowlive import LiveAirflow, send, wait_for
from airflowpage import opened, picture, runs_that, trigger, unpause
from playwright.sync_api import expect
from sessions import alive_in
from states import lake_state

from fleetcube.due import due
from fleetcube.pipeline import Pipeline
from lake.settings import Settings

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]
LOAD, CUBES = "fleetcube_load", "fleetcube_cubes"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAirflow]:
    """Airflow, running; its DAGs are paused."""
    airflow = LiveAirflow(tmp_path_factory.mktemp("airflow"))
    started = airflow.launch("start")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        assert "user admin, password " in started.stderr
        yield airflow
    finally:
        ended = airflow.launch("stop")
        assert ended.returncode == 0, ended.stderr


def cli(live: LiveAirflow, *arguments: str) -> str:
    command = [str(Path(sys.prefix) / "bin" / "fleetcube"), *arguments, "--lake", str(live.lake)]
    return subprocess.run(command, cwd=live.folder, capture_output=True, text=True, timeout=120, check=True).stdout


def test_a_second_start_changes_nothing_and_secrets_are_private(live: LiveAirflow) -> None:
    home = live.lake / "_airflow"
    before = {path.name: path.read_text() for path in home.glob("*.pid")}
    again = live.launch("start")
    assert again.returncode == 0, again.stderr
    assert "shown this once" not in again.stdout + again.stderr
    assert {path.name: path.read_text() for path in home.glob("*.pid")} == before
    assert set(before) == {"api-server.pid", "scheduler.pid", "dag-processor.pid"}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for name in ("passwords.json", "fernet_key", "jwt_secret", "secret_key", "airflow.cfg"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600, name


def test_every_dag_is_there_paused_and_explains_itself(live: LiveAirflow) -> None:
    wait_for(lambda: live.ask("GET", "/dags")["total_entries"] == 3, "the DAGs")
    assert live.ask("GET", "/importErrors")["total_entries"] == 0
    for dag in live.ask("GET", "/dags")["dags"]:
        assert dag["is_paused"]
        assert len(live.ask("GET", f"/dags/{dag['dag_id']}/details")["doc_md"]) > 200


def test_a_parameter_that_is_no_name_is_refused(live: LiveAirflow) -> None:
    for conf in (
        {"cubes": ["serving; rm -rf /"]},
        {"cubes": ["--lake=/tmp"]},
        {"since": "2026-01-01; id"},
        {"since": 7},
    ):
        with pytest.raises(OSError, match="400"):
            live.trigger(CUBES, conf=conf)


def test_a_new_user_sees_two_intervals_and_the_verdict_on_a_broken_batch(live: LiveAirflow) -> None:
    """In the page: unpause, watch, break a batch; from the failed task's log one click leads to the verdict."""
    with opened(live) as page:
        live.send(1)
        unpause(page, live.address, CUBES, LOAD)
        page.goto(f"{live.address}/dags/{LOAD}/runs")
        expect(runs_that(page, "Success")).to_have_count(1)
        live.send(2)
        trigger(page, live.address, LOAD)
        page.goto(f"{live.address}/dags/{LOAD}/runs")
        expect(runs_that(page, "Success").nth(1)).to_be_visible()
        picture(page, "runs")
        live.send(3, metric="made.up", rows=200)
        trigger(page, live.address, LOAD)
        page.goto(f"{live.address}/dags/{LOAD}/runs")
        failed = runs_that(page, "Failed").first
        failed.locator("a").first.click()
        page.locator("tbody tr").filter(has=page.get_by_text("Failed", exact=True)).get_by_text("samples").click()
        link = page.locator("a[href*='/fleetcube/verdicts/']").first
        link.scroll_into_view_if_needed()
        picture(page, "failed", down_to=link)
        with page.context.expect_page() as followed:
            link.click()
        expect(followed.value.locator("h1")).to_contain_text("blocked")
        expect(followed.value.locator("body")).to_contain_text("share_quarantined")
        picture(followed.value, "verdict")
        address = followed.value.url
    # Whoever is sent the address, and is not logged in, comes to it by the login.
    with opened(live, address) as page:
        expect(page.locator("h1")).to_contain_text("blocked")
    live.settle()


def test_beside_a_resident_loop_nothing_is_done_twice(live: LiveAirflow) -> None:
    """What `fleetcube run` has landed and judged waits for no gate here, but its cubes are built."""
    command = [str(Path(sys.prefix) / "bin" / "fleetcube"), "run", "--every", "1s", "--steps", "land,gate"]
    with (live.folder / "resident.log").open("wb") as log:
        resident = subprocess.Popen([*command, "--lake", str(live.lake)], cwd=live.folder, stdout=log, stderr=log)
    try:
        live.send(8)
        before = {(task["dag_run_id"], task["map_index"]) for task in live.tasks(LOAD)}
        wait_for(lambda: not waiting(live), "the resident loop")
        live.trigger(LOAD, "2026-11-01T01:00:00Z")
        live.settle()
    finally:
        resident.send_signal(signal.SIGTERM)
        assert resident.wait(60) == 0
    gates = [task for task in live.tasks(LOAD) if task["task_id"] == "gate" and task["map_index"] >= 0]
    gates = [task for task in gates if (task["dag_run_id"], task["map_index"]) not in before]
    assert {task["rendered_map_index"] for task in gates} == {"samples", "requests"}
    for task in gates:
        place = f"/dags/{LOAD}/dagRuns/{task['dag_run_id']}/taskInstances/gate".replace("+", "%2B")
        value = live.ask("GET", f"{place}/xcomEntries/return_value?map_index={task['map_index']}")["value"]
        assert value == [], "judged twice"
    assert not any(json.loads(line)["due"] for line in cli(live, "cube", "list", "--format", "jsonl").splitlines())


def waiting(live: LiveAirflow) -> list[str]:
    """Facts with rows that no gate has judged; segments that nobody has landed count as samples."""
    landed = not list((live.lake / "_inbox").glob("*.seg"))
    return sorted(due(Settings(lake=live.lake)).gate) if landed else ["samples"]


def test_three_intervals_end_like_one_clean_run(live: LiveAirflow, tmp_path: Path) -> None:
    """A killed task, a doubled trigger, a backfill beside a run, batches that the gate blocks until it is mended."""
    live.send(4)
    live.kill_next("gate samples", "gate.trusted.before")
    first = live.trigger(LOAD, "2026-11-01T00:00:00Z")
    live.settle()
    assert live.killed
    assert live.run_state(LOAD, first) == "success"
    assert any(task["task_id"] == "gate" and task["try_number"] == 2 for task in live.tasks(LOAD))

    live.send(5)
    doubled = [live.trigger(LOAD, f"2026-11-01T00:05:0{second}Z") for second in (0, 1)]
    backfill(live)
    live.settle()
    assert {live.run_state(LOAD, run) for run in doubled} == {"success"}

    live.send(6)
    live.send(7, metric="made.up", rows=200)
    third = live.trigger(LOAD, "2026-11-01T00:10:00Z")
    live.settle()
    check_blocked(live, third)
    (live.folder / "fleetcube.toml").write_text('unknown_metrics = "accept"\n')
    mended = live.trigger(LOAD, "2026-11-01T00:15:00Z", {"retry_blocked": True})
    live.settle()
    assert live.run_state(LOAD, mended) == "success"
    assert all(task["state"] in ("success", "skipped") for task in live.tasks(CUBES))
    assert lake_state(live.lake) == lake_state(clean_run(live, tmp_path / "clean"))


def clean_run(live: LiveAirflow, lake: Path) -> Path:
    """A lake that was sent the same, and saw one quiet run of every verb."""
    for one in live.sent:
        send(lake, **one)
    pipeline = Pipeline(Settings(lake=lake, unknown_metrics="accept"))
    for step in (pipeline.land, pipeline.gate, pipeline.build):
        step()
    return lake


def backfill(live: LiveAirflow) -> None:
    """Days of every built cube made anew, while other runs are on their way."""
    days = ["--from-date", "2026-01-01", "--to-date", "2026-01-02"]
    made: list[subprocess.CompletedProcess[str]] = []

    def is_made() -> bool:
        # SQLite lets one write at a time, and its patience has an end.
        made.append(live.launch("cli", "backfill", "create", "--dag-id", CUBES, *days))
        return made[-1].returncode == 0

    wait_for(is_made, "the backfill", 120)
    wait_for(lambda: len(backfilled(live)) == 2, str(made[-1].stdout + made[-1].stderr), 60)


def backfilled(live: LiveAirflow) -> list[Any]:
    return [run for run in live.ask("GET", f"/dags/{CUBES}/dagRuns")["dag_runs"] if run["run_type"] == "backfill"]


def check_blocked(live: LiveAirflow, run: str) -> None:
    """The run failed at the gate of samples only, without retries; its log and button lead to the verdict's page."""
    assert live.run_state(LOAD, run) == "failed"
    states = {
        task["rendered_map_index"] or task["task_id"]: task for task in live.tasks(LOAD) if task["dag_run_id"] == run
    }
    assert {name: task["state"] for name, task in states.items()} == {
        "land": "success",
        "samples": "failed",
        "requests": "success",
        "alerts": "success",
    }
    failed = states["samples"]
    assert failed["try_number"] == 1
    place = f"/dags/{LOAD}/dagRuns/{run}/taskInstances/gate"
    link = live.ask("GET", f"{place}/links?map_index={failed['map_index']}")["extra_links"]["Verdict"]
    log = json.dumps(live.ask("GET", f"{place}/logs/1?map_index={failed['map_index']}"))
    assert f"verdict: {link}" in log
    page = live.page(link)
    assert "samples batch" in page
    assert "blocked" in page
    kinds = {
        (one["kind"], one["entity"]) for one in json.loads(cli(live, "alerts", "list", "--format", "json"))["alerts"]
    }
    assert ("gate", "fact/samples") in kinds
    assert ("task", f"airflow/{LOAD}") not in kinds


def test_a_late_run_is_told_and_over_and_one_that_failed_is_not_late(live: LiveAirflow) -> None:
    """A run of `fleetcube_load` is late after two minutes here; the one that the gate blocked had ended long before."""
    failed = live.ask("GET", f"/dags/{LOAD}/dagRuns?state=failed")["dag_runs"]
    assert failed
    live.hold("land")
    run = live.trigger(LOAD)
    try:
        wait_for(lambda: any(run in one["text"] and one["state"] == "raised" for one in late(live)), "the notice")
    finally:
        live.release()
    live.settle()
    wait_for(lambda: late(live)[-1]["state"] == "cleared", "the end of it")
    assert not [one for one in late(live) if any(other["dag_run_id"] in one["text"] for other in failed)]


def late(live: LiveAirflow) -> list[dict[str, Any]]:
    every = json.loads(cli(live, "alerts", "list", "--all", "--kind", "late", "--format", "json"))["alerts"]
    return [one for one in every if one["entity"] == f"airflow/{LOAD}"]


def test_a_scheduler_that_was_killed_is_started_anew(live: LiveAirflow) -> None:
    """What it has left behind is ended; one that does not come up is no success, however fresh the old heartbeat is."""
    pid_file = live.lake / "_airflow" / "scheduler.pid"
    killed = int(pid_file.read_text().split()[0])
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: killed not in alive_in(killed), "its end")
    assert alive_in(killed), "nothing was left behind"
    bad = live.launch("start", environ={"AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "abc"})
    assert bad.returncode == 1
    assert "scheduler ended by itself" in bad.stderr
    assert "AirflowConfigException" in bad.stderr
    assert not alive_in(killed)
    started = live.launch("start")
    assert started.returncode == 0, started.stderr
    live.send(9)
    run = live.trigger(LOAD)
    live.settle()
    assert live.run_state(LOAD, run) == "success"
