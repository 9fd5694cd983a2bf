"""Cubes follow the trusted facts: each cube with something new is built, one mapped task a cube.

It is started by the Assets of `fleetcube_load`, and once a day at midnight (UTC) in case one was missed. Building
twice changes nothing: a cube holds what it was built of.

**Backfill**: a backfill of this DAG over a range of dates makes each of these days anew, in every cube that is built
(`fleetcube cube refresh`). Triggered by hand, *since* and *until* name the days, *cubes* the cubes.

The Variable `FLEETCUBE_ENGINE` says what builds: `duckdb` (in the task's own process) or `spark`.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import fleetcube_common as common
import fleetcube_notices as notices
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronDataIntervalTimetable, Param
from airflow.sdk.exceptions import AirflowFailException


def days_of(context: Any) -> tuple[str, str] | None:
    """The days to make anew, from the first to the day after the last; None where what is new is built."""
    since, until = (context["params"][name] for name in ("since", "until"))
    if context["dag_run"].run_type == "backfill":
        start = context["data_interval_start"]
        return f"{start:%Y-%m-%d}", f"{start + timedelta(days=1):%Y-%m-%d}"
    if not since and not until:
        return None
    if not since or not until or date.fromisoformat(since) >= date.fromisoformat(until):
        raise AirflowFailException(f"since ({since}) and until ({until}) go together, and until is the later one.")
    return since, until


class Cubes(common.Verb):
    """`fleetcube cube list`; gives the cubes that this run is about."""

    def describe(self, value: dict[str, Any]) -> str:
        """A cube in a line of the log."""
        return f"{value['name']}: {'something new' if value['due'] else 'up to date'}"

    def result(self, context: Any, found: list[Any]) -> list[str]:
        """Those that were asked for; else those with something new, or in a backfill those that are built."""
        known = {one["name"]: one for one in found}
        asked = list(common.names_of(context["params"]["cubes"]))
        if unknown := sorted(set(asked) - set(known)):
            raise AirflowFailException(f"There is no cube {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
        state = "build" if days_of(context) else "due"
        return sorted(common.names_of(asked or [name for name, one in known.items() if one[state]]))


class Build(common.Verb):
    """`fleetcube build CUBE`, or `fleetcube cube refresh CUBE` over days; the cube is an Asset."""

    builds = True

    def __init__(self, *, cube: str = "", **more: Any) -> None:
        """`cube` is the one that is built."""
        super().__init__(**more)
        self.cube = cube

    def arguments(self, context: Any) -> list[str]:
        """As the kind of the run and its parameters say."""
        cubes, days = common.names_of([self.cube]), days_of(context)
        if days is None:
            return ["build", *cubes, "--format", "json"]
        return ["cube", "refresh", *cubes, "--since", days[0], "--until", days[1]]

    def result(self, context: Any, found: list[Any]) -> list[Any]:
        """Start who waits for this cube."""
        asset = Asset(name=f"cubes/{self.cube}", uri=f"fleetcube://cubes/{self.cube}")
        context["outlet_events"][common.CUBES].add(asset, extra={"rows": sum(one["rows"] for one in found)})
        return found


with DAG(
    "fleetcube_cubes",
    doc_md=__doc__,
    schedule=AssetOrTimeSchedule(
        timetable=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"), assets=[common.TRUSTED]
    ),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=common.TASKS,
    deadline=notices.late_after("cubes", 60),
    on_failure_callback=notices.tell_failure,
    on_success_callback=notices.tell_success,
    tags=["fleetcube"],
    params={
        "cubes": Param(
            [],
            "These cubes only; none named: every cube with something new, or over days every cube that is built.",
            type=["null", "array"],
            items={"type": "string", "pattern": common.NAME},
            maxItems=100,
        ),
        "since": Param(None, "First day to make anew, UTC; empty: build what is new.", **common.DAY),
        "until": Param(None, "Day after the last one to make anew, UTC.", **common.DAY),
    },
):
    cubes = Cubes(task_id="cubes", verb=["cube", "list", "--format", "jsonl"])
    build = Build.partial(task_id="build", outlets=[common.CUBES], map_index_template="{{ task.cube }}")
    build.expand(cube=cubes.output)
