"""The gate: write, audit, publish. Landed rows are judged batch by batch; the good become visible in trusted at once.

A batch goes through two intents: `audit` (a number and a range of landing batches) until its plan is written, then
`publish` with the plan. Publishing is a row of commits, each carrying the batch's number and skipped where that stands
already; the last one, to `batches`, is what moves the gate on. A kill anywhere leaves work that the next run completes
to the same result. The verdict's record is the row in `batches`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from lake.catalogue import Catalogue
from lake.delta import commit, open_snapshot
from lake.duck import Duck, text_literal
from lake.facts import load_facts
from lake.faults import faultpoint
from lake.intents import clear_intent, read_intents, work_folder, write_intent
from lake.lease import lease
from lake.lookups import load_lookups
from lake.settings import Settings
from lake.tables import BATCHES, GAPS, QUARANTINE, SEEN, TableRef, landing, trusted
from quality.audit import audit
from quality.checks import Policy
from quality.job import Clean, Gate, Job, RowJudge
from quality.plan import Plan
from quality.suites import Suite, load_suite

# Fault points before and after a table's commit.
_BEFORE: Final = {"trusted": "gate.trusted.before", "batches": "gate.progress.before"}
_AFTER: Final = {"quarantine": "gate.quarantine.after", "gaps": "gate.gaps.after", "trusted": "gate.trusted.after"}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BatchResult:
    """A judged batch as it stands in `batches`; `checks` are the verdict's details."""

    fact: str
    batch: int
    landed_from: int
    landed_to: int
    received: int
    duplicates: int
    trusted: int
    quarantine: int
    gaps: int
    blocked: int
    withdrawn: int
    verdict: str
    suite: str
    checks: dict[str, Any]


def run_gate(
    settings: Settings,
    duck: Duck,
    fact_name: str,
    *,
    clean: Clean,
    catalogue: Catalogue,
    suite: Suite | None = None,
    judge: RowJudge | None = None,
    progress: Progress | None = None,
) -> list[BatchResult]:
    """Judge and publish every landed batch of the fact that is not judged yet, about settings.gate_rows rows at a time.

    `clean` is `ingestion.clean.clean`; `judge` stands for Great Expectations where a caller has its own.
    `progress` is called with (rows judged, rows to judge). A blocked batch is a result with that verdict, never an
    exception here; its rows wait for `retry_blocked`. Errors: LakeError while another process gates the same fact.
    """
    with lease(settings.lake, f"gate/{fact_name}"):
        gate = _gate(settings, duck, fact_name, clean=clean, catalogue=catalogue, suite=suite, judge=judge)
        results = _resume(gate)
        jobs = list(_pending(gate))
        every = sum(rows for _, rows in jobs)
        done = 0
        for (landed_from, landed_to), rows in jobs:
            results.append(_run(gate, Job(_next_batch(gate), landed_from, landed_to)))
            done += rows
            if progress is not None:
                progress(done, every)
        return results


def retry_blocked(
    settings: Settings,
    duck: Duck,
    fact_name: str,
    *,
    clean: Clean,
    catalogue: Catalogue,
    suite: Suite | None = None,
    judge: RowJudge | None = None,
) -> list[BatchResult]:
    """Judge every blocked range again, by the suite now in force, each under a new batch number.

    A batch that passes now takes its rows out of `blocked`; one that is blocked again changes no total.
    """
    with lease(settings.lake, f"gate/{fact_name}"):
        gate = _gate(settings, duck, fact_name, clean=clean, catalogue=catalogue, suite=suite, judge=judge)
        results = _resume(gate)
        blocked = duck.sql(
            f"SELECT landed_from, landed_to, sum(blocked)::BIGINT FROM {_batches(gate)} "
            "GROUP BY ALL HAVING sum(blocked) > 0 ORDER BY ALL"
        )
        return results + [_run(gate, Job(_next_batch(gate), first, last, rows)) for first, last, rows in blocked]


def _gate(
    settings: Settings,
    duck: Duck,
    fact_name: str,
    *,
    clean: Clean,
    catalogue: Catalogue,
    suite: Suite | None,
    judge: RowJudge | None,
) -> Gate:
    rules = suite or load_suite(fact_name)
    bounds = {str(row[0]): str(row[1]).count(",") + 1 for row in load_lookups()["bounds"].rows}
    policy = Policy(settings.unknown_metrics, bounds)

    @cache
    def row_judge() -> RowJudge:
        if judge is not None:
            return judge
        from quality.expectations import Judge  # takes seconds, so only when there are rows to judge

        return Judge(rules)

    return Gate(settings, duck, load_facts()[fact_name], clean, catalogue, policy, rules, row_judge)


def _resume(gate: Gate) -> list[BatchResult]:
    """Finish what a killed run left: publish a plan that stands, or audit its range again under its number."""
    intent = read_intents(gate.settings.lake, "gate").get(gate.fact.name)
    if intent is None:
        return []
    if intent["step"] == "publish":
        return [_publish(gate, Plan.from_json(intent["plan"]))]
    return [_run(gate, Job(**intent["job"]))]


def _pending(gate: Gate) -> Iterator[tuple[tuple[int, int], int]]:
    """Ranges of landing batches that are not judged, with their rows; a landing batch is never split."""
    [(last,)] = gate.duck.sql(f"SELECT coalesce(max(landed_to), 0) FROM {_batches(gate)}")
    snapshot = open_snapshot(gate.settings.lake, landing(gate.fact.name))
    paths = snapshot.paths(lambda file: file.may_hold("landed", last + 1))
    newer = f"SELECT landed FROM {gate.duck.scan(snapshot, paths)} WHERE landed > {last}"
    landed = gate.duck.sql(f"SELECT landed, count(*) FROM ({newer}) GROUP BY landed ORDER BY landed")
    start, rows = last + 1, 0
    for place, (number, count) in enumerate(landed):
        rows += count
        following = landed[place + 1][1] if place + 1 < len(landed) else None
        if following is None or rows + following > gate.settings.gate_rows:
            yield (start, number), rows
            start, rows = number + 1, 0


def _run(gate: Gate, job: Job) -> BatchResult:
    lake, name = gate.settings.lake, gate.fact.name
    write_intent(lake, "gate", name, {"step": "audit", "job": vars(job), "suite": gate.suite.digest})
    faultpoint("gate.intent.after")
    plan = audit(gate, job)
    write_intent(lake, "gate", name, {"step": "publish", "plan": plan.to_json(), "suite": gate.suite.digest})
    return _publish(gate, plan)


def _publish(gate: Gate, plan: Plan) -> BatchResult:
    """Commit the plan table by table, each once; then forget intent and candidate."""
    lake, name = gate.settings.lake, gate.fact.name
    for table in plan.files:
        if table in _BEFORE:
            faultpoint(_BEFORE[table])
        _commit(gate, plan, table)
        if table in _AFTER:
            faultpoint(_AFTER[table])
    clear_intent(lake, "gate", name)
    for path in work_folder(lake, "gate").glob(f"{name}-*.parquet"):
        path.unlink()
    shown = {field: plan.record[field] for field in BatchResult.__dataclass_fields__}
    return BatchResult(**shown)


def _commit(gate: Gate, plan: Plan, table: str) -> None:
    """One table's part of the plan, unless its number says that it stands."""
    adds, removes = plan.files[table]
    if not adds and not removes:
        return
    ref, txn = _target(gate, table)
    snapshot = open_snapshot(gate.settings.lake, ref)
    if (snapshot.txn(txn) or 0) < plan.batch:
        commit(gate.settings.lake, ref, snapshot, adds=adds, removes=removes, txns={txn: plan.batch})


def _target(gate: Gate, table: str) -> tuple[TableRef, str]:
    """A table of the plan, and the name of the number that its commits carry."""
    if table == "trusted":
        return trusted(gate.fact.name), "gate"
    shared = {"quarantine": QUARANTINE, "gaps": GAPS, "seen": SEEN, "batches": BATCHES}
    return shared[table], f"gate/{gate.fact.name}"


def _next_batch(gate: Gate) -> int:
    return (open_snapshot(gate.settings.lake, BATCHES).txn(f"gate/{gate.fact.name}") or 0) + 1


def _batches(gate: Gate) -> str:
    scan = gate.duck.scan(open_snapshot(gate.settings.lake, BATCHES))
    return f"(SELECT * FROM {scan} WHERE fact = {text_literal(gate.fact.name)})"
