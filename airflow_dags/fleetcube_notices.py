"""What people hear of Airflow's own troubles: a run that failed, one that is late, and that it is over.

No DAG itself: `.airflowignore` names it. Each is a notice of fleetcube's own notifier, by its command line. It tells of
runs, not of tasks: one that was killed (out of memory, say) calls nobody, but its run fails all the same.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback, Variable
from airflow.sdk.configuration import conf
from fleetcube_common import BUSY, FAILURE, environ

_LOG = logging.getLogger("fleetcube.notices")
_MINUTES = "AIRFLOW_VAR_FLEETCUBE_LATE_MINUTES"
_TRIES, _PAUSE_S = 5, 5.0
_MOST_NAMED = 5


def late_after(dag: str, minutes: int) -> DeadlineAlert | None:
    """A notice for a run that has not ended so long after it was queued, or after what FLEETCUBE_LATE_MINUTES says.

    That is read from the environment alone: a DAG file that asked for a Variable would ask every time it is read.
    """
    if sys.argv[1:3] == ["dags", "test"]:
        # Airflow 3.3.2 can't end such a run where the DAG has a deadline: it looks for the stored one.
        return None
    for word in os.environ.get(_MINUTES, "").split():
        if not re.fullmatch(r"(load|cubes|maintain)=[1-9][0-9]{0,5}", word):
            raise ValueError(f"{_MINUTES}: {word!r} is not like load=10, cubes=60 or maintain=360.")
        name, _, given = word.partition("=")
        minutes = int(given) if name == dag else minutes
    told = SyncCallback(tell_late, {"minutes": minutes})
    return DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, timedelta(minutes=minutes), told)


def tell_late(context: Any = None, minutes: int = 0, **_: Any) -> None:
    """Callback of a deadline, if the run is still on its way: Airflow calls it for one that has failed as well.

    Airflow lets it read no Variable but the environment's. The runs of a backfill wait for each other as they should.
    """
    run = (context or {}).get("dag_run") or {}
    if run.get("state") not in ("queued", "running") or run.get("run_type") == "backfill":
        return
    text = f"Run {run.get('dag_run_id')} of {run.get('dag_id')} has not ended after {minutes} minutes."
    _notify("late", "warning", run["dag_id"], text)


def tell_failure(context: Any) -> None:
    """Callback of a run that has failed; of batches that the gate has blocked the task `alerts` tells."""
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    failed = list(_failed(context))
    if failed and all(why.get("blocked") for _, _, why in failed):
        return
    # Without a word of its own it was killed, or had its time.
    named = [
        f"{task}{f'[{index}]' if index >= 0 else ''}: {why.get('text') or 'its process was ended from outside'}"
        for task, index, why in failed
    ]
    more = f"; and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    text = f"Run {run_id} of {dag_id} failed: {'; '.join(named[:_MOST_NAMED]) or context.get('reason')}{more}"
    page = f"{conf.get('api', 'base_url', fallback='').rstrip('/')}/dags/{dag_id}/runs/{quote(run_id)}"
    look = [f"{page}/tasks/{task}{f'/mapped/{index}' if index >= 0 else ''}" for task, index, _ in failed]
    _notify("task", "critical", dag_id, text[:2000], *(look[:_MOST_NAMED] or [page]))


def tell_success(context: Any) -> None:
    """Callback of a run that went well: what was told of this DAG is over."""
    entity = f"airflow/{context['dag'].dag_id}"
    told = json.loads(_cli(["alerts", "list", "--kind", "task", "--kind", "late", "--format", "json"]))["alerts"]
    for kind in sorted({one["kind"] for one in told if one["entity"] == entity}):
        _cli(["notify", "--kind", kind, "--entity", entity, "--over"])


def _failed(context: Any) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """The tasks of the run that failed, with their map index (or -1), and what each has left."""
    dag, run_id, ti = context["dag"], context["run_id"], context.get("ti")
    if ti is None:
        return
    for key, state in sorted(ti.get_task_states(dag_id=dag.dag_id, run_ids=[run_id]).get(run_id, {}).items()):
        if state == "failed":
            # A mapped one has its index behind its name.
            task, index = (key, -1) if key in dag.task_ids else (key.rpartition("_")[0], int(key.rpartition("_")[2]))
            yield task, index, ti.xcom_pull(task_ids=task, map_indexes=index, key=FAILURE) or {}


def _notify(kind: str, severity: str, dag_id: str, text: str, *look: str) -> None:
    more = [word for place in look for word in ("--look", place)]
    _cli(["notify", "--kind", kind, "--severity", severity, "--entity", f"airflow/{dag_id}", "--text", text, *more])


def _cli(arguments: list[str]) -> str:
    """What a verb prints, outside of a task; a notice that can't be given must not be silent."""
    command = [Variable.get("FLEETCUBE_COMMAND"), *arguments]
    for left in reversed(range(_TRIES)):
        done = subprocess.run(
            command, capture_output=True, text=True, env=environ(), stdin=subprocess.DEVNULL, timeout=240, check=False
        )
        # Without channels, and of a channel to the log, this is where the notice itself is.
        for line in done.stderr.splitlines():
            _LOG.warning(line)
        if done.returncode == 0:
            return done.stdout
        if done.returncode != BUSY or not left:
            break
        time.sleep(_PAUSE_S)
    raise RuntimeError(f"fleetcube {arguments[0]} ended with {done.returncode}: {done.stderr.strip()}")
