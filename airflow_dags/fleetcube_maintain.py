"""Once a day the lake is kept small, and proven right.

**upkeep** merges small files. **verify** recomputes the cells of the run's own day from trusted rows, **verify_older**
those of one older day, another one each time, so that in a month each of the last thirty comes round once more.
**retain_plan** shows what retention would delete; **retain** deletes it, but only where the Variable
`FLEETCUBE_RETAIN` says `apply`. **vacuum** frees the space. **audit** ends the run with a checkpoint of the audit log:
in the file of the setting `audit_checkpoints`, or else in the task's own log. **tidy** drops what this Airflow itself
keeps of runs that are older than the Variable `FLEETCUBE_KEEP_DAYS` says (30).

Where cells differ from their rows nothing is deleted: what comes after *verify* waits until it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import fleetcube_common as common
import fleetcube_notices as notices
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

_ROUND_DAYS = 30


def older_day(day: date) -> date:
    """Another day for each day: of any thirty that follow a day, exactly one leads back to it."""
    return day - timedelta(days=1 + 2 * day.toordinal() % _ROUND_DAYS)


def verify(*, older: bool) -> Callable[[Any], list[str]]:
    """Arguments that verify the day on which the run's interval has begun, or one of those before it.

    A run that was started without a date has no interval: then the day before it.
    """

    def arguments(context: Any) -> list[str]:
        start = context.get("data_interval_start")
        day = start.date() if start else context["dag_run"].run_after.date() - timedelta(days=1)
        day = older_day(day) if older else day
        return ["cube", "verify", "--since", day.isoformat(), "--until", (day + timedelta(days=1)).isoformat()]

    return arguments


def retain(context: Any) -> list[str]:
    """Arguments that delete; the task is skipped where nobody has asked for it."""
    chosen = context["params"]["retain"]
    if chosen == "variable":
        chosen = Variable.get("FLEETCUBE_RETAIN", "plan")
    if chosen not in ("plan", "apply"):
        raise AirflowFailException(f"The Variable FLEETCUBE_RETAIN can't be {chosen!r}: write plan or apply.")
    if chosen == "plan":
        raise AirflowSkipException("The Variable FLEETCUBE_RETAIN does not say `apply`, so nothing is deleted.")
    return ["retain", "--apply"]


class Tidy(common.Verb):
    """`manage_airflow.py tidy`: the launcher knows where metadata and logs are, which no task may."""

    def program(self) -> list[str]:
        """The launcher, where it has started this Airflow; an Airflow of one's own is kept small by its keeper."""
        told = Variable.get("FLEETCUBE_TIDY", None)
        if told is None:
            raise AirflowSkipException("`make airflow` has not started this Airflow, so it is not tidied from here.")
        return [str(word) for word in json.loads(told)]

    def arguments(self, context: Any) -> list[str]:
        """How long runs are kept."""
        days = str(Variable.get("FLEETCUBE_KEEP_DAYS", "30"))
        if not re.fullmatch("[1-9][0-9]{0,3}", days):
            raise AirflowFailException(f"The Variable FLEETCUBE_KEEP_DAYS can't be {days!r}: write a number of days.")
        return ["--days", days, "tidy"]


with DAG(
    "fleetcube_maintain",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("30 2 * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=common.TASKS,
    deadline=notices.late_after("maintain", 360),
    on_failure_callback=notices.tell_failure,
    on_success_callback=notices.tell_success,
    tags=["fleetcube"],
    params={
        "retain": Param(
            "variable", "Whether to delete: as the Variable says, or for this run.", enum=["variable", "plan", "apply"]
        )
    },
):
    upkeep = common.Verb(task_id="upkeep", verb=["upkeep"])
    proofs = [
        common.Verb(task_id="verify", verb=verify(older=False), retries=1),
        common.Verb(task_id="verify_older", verb=verify(older=True), retries=1),
    ]
    plan = common.Verb(task_id="retain_plan", verb=["retain"])
    apply = common.Verb(task_id="retain", verb=retain)
    vacuum = common.Verb(task_id="vacuum", verb=["vacuum", "--apply"], trigger_rule="none_failed")
    audit = common.Verb(task_id="audit", verb=["audit", "checkpoint"])
    # As a teardown it runs whatever became of the others, and does not hide from the run that one has failed.
    upkeep >> proofs >> plan >> apply >> vacuum >> audit.as_teardown()
    Tidy(task_id="tidy")
