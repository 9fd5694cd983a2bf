"""The audit of one batch: write the candidate, judge it, count it. Readers see nothing of it until it is published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from lake.delta import open_snapshot
from lake.duck import Duck
from lake.faults import faultpoint
from lake.intents import work_folder
from lake.tables import GAPS, QUARANTINE, SEEN, landing, trusted
from lake.times import iso, utc_now
from quality.candidate import VIEW, chunks, write_candidate
from quality.gaps import Gap, new_gaps
from quality.job import Gate, Job
from quality.plan import BAD, FATED, GOOD, Plan, lay_out
from quality.reasons import find_reasons, undeclared
from quality.repeats import Published, judge_repeats
from quality.verdict import Finding, Measured, batch_findings, verdict


def audit(gate: Gate, job: Job) -> Plan:
    """Judge the job's rows; the plan of a blocked batch changes nothing but `batches`."""
    started = utc_now()
    duck, fact, lake = gate.duck, gate.fact, gate.settings.lake
    source = open_snapshot(lake, landing(fact.name))
    paths = source.paths(lambda file: file.may_hold("landed", job.landed_from, job.landed_to))
    rows = f"(SELECT * FROM {duck.scan(source, paths)} WHERE landed BETWEEN {job.landed_from} AND {job.landed_to})"
    cleaned = gate.clean(duck, fact, rows, catalogue=gate.catalogue)
    path = work_folder(lake, "gate") / f"{fact.name}-{job.batch}.parquet"
    write_candidate(duck, fact, cleaned, catalogue=gate.catalogue, policy=gate.policy, suite=gate.suite, path=path)
    faultpoint("gate.candidate.after")
    before = Published(*(open_snapshot(lake, ref) for ref in (trusted(fact.name), QUARANTINE, SEEN)))
    judge_repeats(duck, fact, before)
    gaps, known_gaps = new_gaps(duck, fact, rows, seen=before.seen, gaps=open_snapshot(lake, GAPS))
    record = count_batch(gate, job, rows, gaps, known_gaps)
    findings = _judge(gate, record)
    record["verdict"] = verdict(findings)
    record["checks"]["expectations"] = [asdict(finding) for finding in findings]
    blocked = record["verdict"] == "blocked"
    # Counted for the few batches that somebody will look at.
    reasons = () if record["verdict"] == "passed" else find_reasons(duck, fact, f"{FATED} WHERE {BAD}")
    if names := undeclared(reasons):
        record["checks"]["undeclared"] = names
    if blocked:
        _hold_back(record, job)
    record["started_at"], record["ended_at"] = iso(started), iso(utc_now())
    return replace(lay_out(gate, job, record, None if blocked else before, gaps), reasons=reasons)


def count_batch(gate: Gate, job: Job, rows: str, gaps: Sequence[Gap], known_gaps: int) -> dict[str, Any]:
    """The batch's row as far as counting gives it; internal figures start with `_`."""
    duck = gate.duck
    [(received, received_at)] = duck.sql(f"SELECT coalesce(sum(lost), 0)::BIGINT, max(received_at) FROM {rows}")
    [counted] = duck.sql(
        f"SELECT count(*) FILTER (fate = 'duplicate'), count(*) FILTER ({GOOD}), count(*) FILTER ({BAD}), "
        f"min(ts) FILTER ({GOOD}), max(ts) FILTER ({GOOD}), (SELECT count(*) FROM fc_withdrawn), "
        f"coalesce(sum(_rounded) FILTER ({GOOD}), 0)::BIGINT, count(*) FILTER ({GOOD} AND _truncated_ts), "
        f"count(*) FILTER ({GOOD} AND _converted_unit), count(*) FILTER ({GOOD} AND _noticed) FROM {FATED}"
    )
    duplicates, good, bad, first, last, withdrawn, *noticed = counted
    notices = dict(zip(("rounded", "truncated_ts", "converted_unit", "unknown_metric"), noticed, strict=True))
    return {
        "fact": gate.fact.name,
        "batch": job.batch,
        "landed_from": job.landed_from,
        "landed_to": job.landed_to,
        "received": 0 if job.retried else received,
        "duplicates": duplicates + known_gaps,
        "trusted": good,
        "quarantine": bad + withdrawn,
        "gaps": sum(gap.rows for gap in gaps),
        "blocked": -job.retried,
        "withdrawn": withdrawn,
        "suite": gate.suite.digest,
        "checks": {"quarantined": _by_check(gate), "notices": notices, "withdrawn": _by_day(duck)},
        "first_ts": _iso(first),
        "last_ts": _iso(last),
        "_rows": received,
        "_received_at": _iso(received_at),
        "_bad": bad,
    }


def _by_check(gate: Gate) -> list[dict[str, Any]]:
    """Rows that go to quarantine, by check, site and day; withdrawn rows are counted by day alone."""
    site = "site" if any(column.name == "site" for column in gate.fact.columns) else "NULL"
    rows = gate.duck.sql(
        f"SELECT coalesce(_check, 'conflict'), {site}, CAST(CAST(ts AS DATE) AS VARCHAR), count(*) "
        f"FROM {FATED} WHERE {BAD} GROUP BY ALL ORDER BY ALL"
    )
    return [dict(zip(("check", "site", "day", "rows"), row, strict=True)) for row in rows]


def _by_day(duck: Duck) -> list[dict[str, Any]]:
    rows = duck.sql("SELECT CAST(day AS VARCHAR), count(*) FROM fc_withdrawn GROUP BY ALL ORDER BY ALL")
    return [{"day": day, "rows": count} for day, count in rows]


def _judge(gate: Gate, record: dict[str, Any]) -> list[Finding]:
    """The suite's outcomes; takes the internal figures out of the record."""
    received, received_at, bad = (record.pop(name) for name in ("_rows", "_received_at", "_bad"))
    judge = gate.judge()
    findings = judge.judge(chunks(gate.duck, gate.fact, judge.columns))
    wanted = tuple(column.name for column in gate.fact.columns)
    present = {row[0] for row in gate.duck.sql(f"SELECT column_name FROM (DESCRIBE {VIEW})")}
    measured = Measured(
        received=received,
        judged=record["trusted"] + bad,
        quarantined=bad,
        newest=_time(record["last_ts"]),
        received_at=_time(received_at),
        columns=tuple(name for name in wanted if name in present),
        wanted=wanted,
    )
    return findings + batch_findings(gate.suite, measured)


def _hold_back(record: dict[str, Any], job: Job) -> None:
    """Turn the record into that of a blocked batch: nothing but `blocked` counts; a repeated block changes no total."""
    record["blocked"] = 0 if job.retried else record["received"]
    for name in ("duplicates", "trusted", "quarantine", "gaps", "withdrawn"):
        record[name] = 0
    record["first_ts"] = record["last_ts"] = None


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
