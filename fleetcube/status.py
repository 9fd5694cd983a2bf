"""Status: the accounts of every fact, recounted against the tables; cubes, freshness, and what is wrong."""

from __future__ import annotations

from typing import Any

from fleetcube.cube_state import cube_states
from lake.delta import open_snapshot
from lake.duck import connect
from lake.facts import load_facts
from lake.settings import Settings
from lake.tables import trusted
from quality.accounts import accounts, recount

PARTS = ("duplicates", "trusted", "quarantine", "gaps", "pending", "blocked")


def lake_status(settings: Settings) -> dict[str, Any]:
    """Plain JSON values: `rows` {fact: {received, duplicates, …}}, `cubes`, `newest`, `problems` (texts).

    `rows` come from transaction numbers and the batches table; the rows that the tables hold are counted by themselves
    and must agree: trusted and quarantine by rows, gaps by lost numbers.
    """
    duck = connect(settings)
    rows = accounts(settings.lake, duck)
    counted = recount(settings.lake, duck)
    problems = []
    for fact, account in rows.items():
        if account["received"] != sum(account[part] for part in PARTS):
            problems.append(
                f"{fact}: {account['received']} received, but the parts make {sum(account[p] for p in PARTS)}"
            )
        for part, number in counted.get(fact, {}).items():
            if account[part] != number:
                problems.append(f"{fact}: {account[part]} {part} by the accounts, {number} in the table")
    newest = {}
    for fact in load_facts():
        snapshot = open_snapshot(settings.lake, trusted(fact))
        times = [file.maximum["ts"] for file in snapshot.files if "ts" in file.maximum]
        newest[fact] = max(times).isoformat() if times else None
    return {
        "lake": str(settings.lake),
        "rows": rows,
        "newest": newest,
        "cubes": [
            {key: value for key, value in vars(state).items() if key != "dimensions"} for state in cube_states(settings)
        ],
        "problems": problems,
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
    lines += ["", "Every received row is accounted for." if not status["problems"] else "PROBLEMS:"]
    return "\n".join(lines + [f"  {problem}" for problem in status["problems"]])
