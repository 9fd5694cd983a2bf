"""Status: the accounts of every fact, recounted against the tables; cubes, freshness, and what is wrong."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any, Final

from cubes.suspicion import active_marks
from fleetcube.alerting import untold
from fleetcube.cube_state import chosen_cubes, cube_states
from lake.alert_states import fold, open_alerts
from lake.alerts import read_alerts
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.facts import load_facts
from lake.intents import read_intents
from lake.places import address
from lake.settings import Settings
from lake.tables import trusted
from quality.accounts import accounts, differences, recount

PARTS = ("duplicates", "trusted", "quarantine", "gaps", "pending", "blocked")
# Between counts that differ: a table published meanwhile is seen by the next.
_WAITS_S: Final = (0.2, 0.5, 1.0, 0.0)


def lake_status(settings: Settings) -> dict[str, Any]:
    """Plain JSON values: `rows` {fact: {received, duplicates, …}}, `cubes`, `newest`, `unfinished`, `problems` (texts).

    `rows` come from transaction numbers and the batches table; the rows that the tables hold are counted by themselves
    and must agree. A step that runs now, or was killed, publishes table by table: then the two are counted again for a
    while, and what still differs is told as `unfinished` beside the step, not as a problem. `suspects` are cells that
    were taken out of routing; they are problems too.
    """
    duck = connect(settings)
    for wait_s in _WAITS_S:
        running = _open_steps(settings)
        rows, counted = accounts(settings.lake, duck), recount(settings.lake, duck)
        differ = differences(rows, counted)
        running = sorted({*running, *_open_steps(settings)})
        if not differ:
            break
        time.sleep(wait_s)
    ends = {"retain": "retain --apply"}
    unfinished = [
        f"{step}; it ends with the next `fleetcube {ends.get(verb := step.split()[0], verb)}`" for step in running
    ]
    newest = {}
    for fact in load_facts():
        snapshot = open_snapshot(settings.lake, trusted(fact))
        times = [file.maximum["ts"] for file in snapshot.files if "ts" in file.maximum]
        newest[fact] = max(times).isoformat() if times else None
    return {
        "lake": address(settings.lake),
        "rows": rows,
        "newest": newest,
        "cubes": [
            {key: value for key, value in vars(state).items() if key != "dimensions"} for state in cube_states(settings)
        ],
        "suspects": (suspects := _suspects(settings, duck)),
        "unfinished": unfinished + (differ if running else []),
        "alerts": len(open_alerts(fold(read_alerts(duck, settings.lake)))),
        "outbox": untold(settings),
        "problems": [*([] if running else differ), *suspects],
    }


def status_text(status: dict[str, Any]) -> str:
    """The same as an aligned text."""
    columns = ("received", *PARTS)
    lines = [f"lake {status['lake']}", "", f"{'fact':<12}" + "".join(f"{name:>12}" for name in columns) + "  newest"]
    for fact, account in status["rows"].items():
        counts = "".join(f"{account[name]:>12,}" for name in columns)
        lines.append(f"{fact:<12}{counts}  {status['newest'][fact] or '-'}")
    lines += ["", f"{'cube':<16}{'fact':<12}{'cells':>12}{'build':>7}{'batch':>7}"]
    for cube in status["cubes"]:
        lines.append(
            f"{cube['name']:<16}{cube['fact']:<12}{cube['cells']:>12,}{cube['build']:>7}{cube['watermark']:>7}"
        )
    lines.append("")
    if status["alerts"]:
        lines.append(f"{status['alerts']} alerts are open: `fleetcube alerts list` shows them.")
    told_of = (("Unfinished:", "unfinished"), ("Not told yet:", "outbox"), ("PROBLEMS:", "problems"))
    for title, told in ((title, status[name]) for title, name in told_of):
        lines += [title, *(f"  {one}" for one in told)] if told else []
    if not status["unfinished"] and not status["problems"]:
        lines.append("Every received row is accounted for.")
    return "\n".join(lines)


def _suspects(settings: Settings, duck: Duck) -> list[str]:
    """Cells that were found to differ from their rows, with the way to make them anew."""
    marks = [one for cube in chosen_cubes(settings) for one in active_marks(settings, duck, cube)]
    return [
        f"cube {one.cube}: {one.grain} cells of {one.days} differ from their rows, so nothing is answered from them; "
        "run "
        f"`fleetcube cube refresh {one.cube} --since {one.first} --until {one.last + timedelta(days=1)}`"
        for one in marks
    ]


def _open_steps(settings: Settings) -> list[str]:
    """Steps that run now or were killed: those with an intent."""
    return [
        f"{component} of {name}"
        for component in ("land", "gate", "retain")
        for name in read_intents(settings.lake, component)
    ]
