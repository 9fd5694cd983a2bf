"""Every five minutes, what agents have sent lands in the lake and goes through the gate.

**land** takes what the receiver holds and lists the facts that wait. **gate** judges each of them, a mapped task a
fact. Each fact that it lets through is an Asset (of the alias `fleetcube_trusted`), which starts `fleetcube_cubes`.

A batch that the gate blocks makes its task fail, without retries; the log ends with the verdict, and the button
*Verdict* leads to its page. The other facts go on. When the source or the suite is mended, trigger this DAG with
*retry_blocked*. **alerts** tells people of what is wrong with the lake: blocked batches, silent hosts, stale facts.

It may run beside `fleetcube run --steps land,gate`: for what that has landed and judged, the cubes are started here
all the same.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import fleetcube_common as common
import fleetcube_notices as notices
from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param


class Land(common.Verb):
    """`fleetcube land`; gives the facts that wait for the gate, or whose cubes wait for a build."""

    def result(self, context: Any, found: list[Any]) -> list[str]:
        """The names of these facts, and of those with a blocked batch where it is to be judged again."""
        kinds = ("gate", "build", "blocked") if context["params"]["retry_blocked"] else ("gate", "build")
        return sorted({name for kind in kinds for name in common.names_of(found[0]["due"][kind])})


class Gate(common.Verb):
    """`fleetcube gate FACT`; what it lets through is an Asset."""

    def __init__(self, *, fact: str = "", **more: Any) -> None:
        """`fact` is the one that is judged."""
        super().__init__(**more)
        self.fact = fact

    def arguments(self, context: Any) -> list[str]:
        """As the run's parameters say."""
        again = ["--retry-blocked"] if context["params"]["retry_blocked"] else []
        return ["gate", *common.names_of([self.fact]), "--format", "json", *again]

    def result(self, context: Any, found: list[Any]) -> list[Any]:
        """Start who waits for this fact."""
        asset = Asset(name=f"trusted/{self.fact}", uri=f"fleetcube://trusted/{self.fact}")
        rows = sum(one["trusted"] for one in found)
        context["outlet_events"][common.TRUSTED].add(asset, extra={"batches": len(found), "trusted": rows})
        return found


with DAG(
    "fleetcube_load",
    doc_md=__doc__,
    schedule=CronDataIntervalTimetable("*/5 * * * *", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # Before the builds of a backfill: rows that wait are worth more than cells made anew.
    default_args={**common.TASKS, "priority_weight": 100},
    deadline=notices.late_after("load", 10),
    on_failure_callback=notices.tell_failure,
    on_success_callback=notices.tell_success,
    tags=["fleetcube"],
    params={"retry_blocked": Param(False, "Judge the batches that were blocked once more.", type="boolean")},
):
    land = Land(task_id="land", verb=["land", "--format", "json"])
    gate = Gate.partial(task_id="gate", outlets=[common.TRUSTED], map_index_template="{{ task.fact }}")
    alerts = common.Verb(task_id="alerts", verb=["alerts", "check"])
    # As a teardown it runs whatever became of the others, and does not hide from the run that one has failed.
    gate.expand(fact=land.output) >> alerts.as_teardown()
