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
from typing import Any

from lake.catalogue import Catalogue
from lake.delta import open_snapshot
from lake.duck import Duck, text_literal
from lake.expiry import complete_rows
from lake.facts import load_facts
from lake.faults import faultpoint
from lake.intents import read_intents, write_intent
from lake.lease import lease
from lake.lookups import load_lookups
from lake.settings import Settings
from lake.tables import BATCHES, landing
from quality.audit import audit
from quality.checks import Policy
from quality.job import Clean, Gate, Job, RowJudge
from quality.plan import Plan
from quality.publish import COMPONENT, intend, next_batch, publish
from quality.reasons import Reason
from quality.suites import Suite, load_suite

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class BatchResult:
    """A judged batch as it stands in `batches`; `checks` are the verdict's details.

    `reasons` say why rows are bad, with examples, where the verdict is warned or blocked.
    """

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
    reasons: tuple[Reason, ...] = ()


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
        gate = make_gate(settings, duck, fact_name, clean=clean, catalogue=catalogue, suite=suite, judge=judge)
        complete_rows(duck, settings.lake, fact_name, ("trusted", "quarantine"))
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
        gate = make_gate(settings, duck, fact_name, clean=clean, catalogue=catalogue, suite=suite, judge=judge)
        complete_rows(duck, settings.lake, fact_name, ("trusted", "quarantine"))
        results = _resume(gate)
        blocked = duck.sql(
            f"SELECT landed_from, landed_to, sum(blocked)::BIGINT FROM {_batches(gate)} "
            "GROUP BY ALL HAVING sum(blocked) > 0 ORDER BY ALL"
        )
        return results + [_run(gate, Job(_next_batch(gate), first, last, rows)) for first, last, rows in blocked]


def make_gate(
    settings: Settings,
    duck: Duck,
    fact_name: str,
    *,
    clean: Clean,
    catalogue: Catalogue,
    suite: Suite | None,
    judge: RowJudge | None,
) -> Gate:
    """The gate of one fact with the checks now in force; the judge is made when there are rows for it."""
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
    intent = read_intents(gate.settings.lake, COMPONENT).get(gate.fact.name)
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
    write_intent(lake, COMPONENT, name, {"step": "audit", "job": vars(job), "suite": gate.suite.digest})
    faultpoint("gate.intent.after")
    plan = audit(gate, job)
    intend(lake, name, plan, gate.suite.digest)
    return _publish(gate, plan)


def _publish(gate: Gate, plan: Plan) -> BatchResult:
    record = publish(gate.settings.lake, gate.fact.name, plan)
    fields = (field for field in BatchResult.__dataclass_fields__ if field != "reasons")
    return BatchResult(**{field: record[field] for field in fields}, reasons=plan.reasons)


def _next_batch(gate: Gate) -> int:
    return next_batch(gate.settings.lake, gate.fact.name)


def _batches(gate: Gate) -> str:
    scan = gate.duck.scan(open_snapshot(gate.settings.lake, BATCHES))
    return f"(SELECT * FROM {scan} WHERE fact = {text_literal(gate.fact.name)})"
