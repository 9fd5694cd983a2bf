"""Publishing a plan: its commits table by table, each once; the last one, to `batches`, is what moves the gate on.

Batches of the gate and corrections (release, undo, erasure) are published alike, and an intent that a killed one left
is completed by whichever comes next over the fact.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from lake.delta import commit, open_snapshot
from lake.faults import faultpoint
from lake.intents import clear_intent, read_intents, work_folder, write_intent
from lake.tables import BATCHES, GAPS, QUARANTINE, SEEN, TableRef, landing, trusted
from quality.plan import Plan

COMPONENT: Final = "gate"
# An intent's JSON has lost the order of the plan's tables.
_ORDER: Final = ("landing", "quarantine", "gaps", "seen", "trusted", "batches")
# Fault points before and after a table's commit.
_BEFORE: Final = {"trusted": "gate.trusted.before", "batches": "gate.progress.before"}
_AFTER: Final = {
    "landing": "gate.landing.after",
    "quarantine": "gate.quarantine.after",
    "gaps": "gate.gaps.after",
    "trusted": "gate.trusted.after",
}


def publish(lake: Path, fact: str, plan: Plan) -> dict[str, Any]:
    """Commit the plan, skipping what stands already; forget intent and candidate; the batch's row of `batches`."""
    for table in sorted(plan.files, key=_ORDER.index):
        if table in _BEFORE:
            faultpoint(_BEFORE[table])
        _commit(lake, fact, plan, table)
        if table in _AFTER:
            faultpoint(_AFTER[table])
    clear_intent(lake, COMPONENT, fact)
    for path in work_folder(lake, COMPONENT).glob(f"{fact}-*.parquet"):
        path.unlink()
    return plan.record


def intend(lake: Path, fact: str, plan: Plan, suite: str) -> None:
    """Make the plan durable, so that from here on it will be published whatever is killed."""
    write_intent(lake, COMPONENT, fact, {"step": "publish", "plan": plan.to_json(), "suite": suite})


def resume(lake: Path, fact: str) -> dict[str, Any] | None:
    """Publish the plan that a killed run left; its record, or None where there is none."""
    intent = read_intents(lake, COMPONENT).get(fact)
    if intent is None or intent["step"] != "publish":
        return None
    return publish(lake, fact, Plan.from_json(intent["plan"]))


def next_batch(lake: Path, fact: str) -> int:
    """The number that the fact's next batch will bear."""
    return (open_snapshot(lake, BATCHES).txn(f"gate/{fact}") or 0) + 1


def _commit(lake: Path, fact: str, plan: Plan, table: str) -> None:
    """One table's part of the plan, unless its number says that it stands."""
    adds, removes = plan.files[table]
    if not adds and not removes:
        return
    ref, txn = _target(fact, table)
    snapshot = open_snapshot(lake, ref)
    if (snapshot.txn(txn) or 0) < plan.batch:
        commit(lake, ref, snapshot, adds=adds, removes=removes, txns={txn: plan.batch})


def _target(fact: str, table: str) -> tuple[TableRef, str]:
    """A table of the plan, and the name of the number that its commits carry."""
    if table == "trusted":
        return trusted(fact), "gate"
    if table == "landing":
        return landing(fact), "erase"
    shared = {"quarantine": QUARANTINE, "gaps": GAPS, "seen": SEEN, "batches": BATCHES}
    return shared[table], f"gate/{fact}"
