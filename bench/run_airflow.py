"""Measure Airflow over one interval: 100,000 new rows from what agents sent to built cubes, and each task's two parts.

A task's own time is that of the verb that it calls; Airflow's share is the rest, from the moment at which it may run.
Writes airflow.json and airflow.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "support"))

from airflowlive import LiveAirflow, send_many
from figures import Figure, count, figure, machine, write_report

LOAD, CUBES = "fleetcube_load", "fleetcube_cubes"
_BOUND_S = 60.0


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="new rows in each interval")
    parser.add_argument("--intervals", type=int, default=3, help="intervals, after one that warms up")
    asked = parser.parse_args()
    facts = {**machine()}
    facts["packages"]["apache-airflow"] = _airflow_version()
    with tempfile.TemporaryDirectory() as folder:
        live = LiveAirflow(Path(folder))
        started = live.launch("start")
        if started.returncode:
            sys.exit(started.stdout + started.stderr)
        try:
            figures = measure(live, asked.rows, asked.intervals)
            figures.append(count("memory of Airflow's processes at rest", _memory_mib(live), "MiB"))
        finally:
            live.launch("stop")
    write_report(figures, facts, name="airflow", command="make bench-airflow")
    for one in figures:
        print(f"{one.name}: {one.value} {one.unit}")


def measure(live: LiveAirflow, rows: int, intervals: int) -> list[Figure]:
    """Intervals one after another; the first makes the tables and is left out."""
    for dag in (CUBES, LOAD):
        live.ask("PATCH", f"/dags/{dag}", {"is_paused": False})
    live.settle()
    spans, parts = [], defaultdict[str, list[tuple[float, float]]](list)
    for number in range(intervals + 1):
        live.keep_clear(60)
        live.settle()
        send_many(live.lake, number, rows)
        before = {_key(task) for dag in (LOAD, CUBES) for task in live.tasks(dag)}
        live.trigger(LOAD, f"2026-11-01T{number:02d}:00:00Z")
        live.settle()
        done = [task for dag in (LOAD, CUBES) for task in live.tasks(dag) if _key(task) not in before]
        if number == 0:
            continue
        spans.append(_span(done))
        for task in done:
            if task["start_date"] and task["state"] == "success":
                parts[_name(task)].append(_parts(live, task))
    return [
        count("new rows of an interval", rows, "rows"),
        count("intervals", intervals),
        figure("from the interval's start to the last cube, median", statistics.median(spans), "s", at_most=_BOUND_S),
        figure("from the interval's start to the last cube, most", max(spans), "s", at_most=_BOUND_S),
        *(one for name, found in sorted(parts.items()) for one in _figures(name, found)),
    ]


def _figures(name: str, found: list[tuple[float, float]]) -> list[Figure]:
    own, rest = (statistics.median(values) for values in zip(*found, strict=True))
    return [
        figure(f"{name}: own time, median of {len(found)}", own, "s"),
        figure(f"{name}: Airflow's share", rest, "s"),
    ]


def _span(tasks: list[dict[str, Any]]) -> float:
    """From the moment at which the first could run to the end of the last cube."""
    starts = [_time(task["scheduled_when"]) for task in tasks if task["scheduled_when"]]
    ends = [_time(task["end_date"]) for task in tasks if task["task_id"] == "build" and task["end_date"]]
    return (max(ends) - min(starts)).total_seconds()


def _parts(live: LiveAirflow, task: dict[str, Any]) -> tuple[float, float]:
    """Seconds of the verb, and of all else since the task could run: waiting in line, starting, telling."""
    path = (
        f"/dags/{task['dag_id']}/dagRuns/{task['dag_run_id']}/taskInstances/{task['task_id']}/xcomEntries/own_seconds"
    )
    own = float(live.ask("GET", f"{path}?map_index={task['map_index']}".replace("+", "%2B"))["value"])
    whole = (_time(task["end_date"]) - _time(task["scheduled_when"])).total_seconds()
    return own, whole - own


def _name(task: dict[str, Any]) -> str:
    what = f" {task['rendered_map_index']}" if task["rendered_map_index"] else ""
    return f"{task['task_id']}{what}"


def _key(task: dict[str, Any]) -> tuple[Any, ...]:
    return task["dag_id"], task["dag_run_id"], task["task_id"], task["map_index"]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _memory_mib(live: LiveAirflow) -> int:
    """Memory of the processes that the launcher has started and of their children, each shared page once."""
    leaders = {path.read_text().split()[0] for path in (live.lake / "_airflow").glob("*.pid")}
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            session = (folder / "stat").read_text().rpartition(")")[2].split()[3]
            lines = (folder / "smaps_rollup").read_text().splitlines() if session in leaders else []
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total // 1024


def _airflow_version() -> str:
    command = [str(Path(sys.prefix) / "airflow" / "bin" / "python"), "-c"]
    text = "from importlib.metadata import version; print(version('apache-airflow'))"
    return subprocess.run([*command, text], capture_output=True, text=True, check=True, env=os.environ).stdout.strip()


if __name__ == "__main__":
    main()
