"""The watch of data quality: what is wrong with a lake now, as findings; functions over its tables that change nothing.

Blocked and warned batches (`gate`), lost rows (`gap`), silent hosts (`host`), facts without new rows (`fact`), steps
that failed (`step`; a failed verification is a `verify`). Rules over cubes are no part of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from lake.delta import open_snapshot
from lake.duck import Duck, text_literal
from lake.durations import told
from lake.facts import load_facts
from lake.findings import Finding
from lake.ledger import ERROR
from lake.tables import BATCHES, GAPS, LEDGER, lookup, trusted
from lake.times import iso
from quality.reasons import mostly
from quality.verdict_page import page_path, page_place

# A loss is a thing that was, so it is over when none has come for a day.
_GAPS_LAST: Final = timedelta(days=1)
# Steps that run by themselves. What a person tries by hand tells that person, and may never be tried again.
_STEPS: Final = ("land", "gate", "build", "verify", "upkeep", "retain", "vacuum", "audit")


def gate_findings(duck: Duck, lake: Path, link: str = "") -> list[Finding]:
    """Facts with blocked batches (critical), or whose newest batch was warned (warning)."""
    names = ("fact", "batch", "landed_from", "landed_to", "blocked", "quarantine", "verdict", "started_at")
    # Of the whole history only counts are read, and only what is wrong leaves the engine: never all the rows' checks.
    scan = f"{duck.scan(open_snapshot(lake, BATCHES), columns=names)} WHERE verdict IN ('passed', 'warned', 'blocked')"
    blocked = duck.sql(
        "SELECT fact, sum(blocked)::BIGINT, max(batch), arg_max(started_at, batch) "
        f"FROM {scan} GROUP BY fact, landed_from, landed_to HAVING sum(blocked) > 0"
    )
    warned = duck.sql(
        "SELECT fact, arg_max(quarantine, batch), max(batch), arg_max(started_at, batch) "
        f"FROM {scan} GROUP BY fact HAVING arg_max(verdict, batch) = 'warned'"
    )
    found = []
    for fact in load_facts():
        if held := [row for row in blocked if row[0] == fact]:
            found.append(_blocked(duck, lake, held, link))
        elif held := [row for row in warned if row[0] == fact]:
            found.append(_warned(duck, lake, held[0], link))
    return found


def gap_findings(duck: Duck, lake: Path, now: datetime) -> list[Finding]:
    """Senders that lost rows within the last day."""
    rows = duck.sql(
        "SELECT agent, sum(rows)::BIGINT, min(received_at), arg_max(reason, received_at), arg_max(fact, received_at) "
        f"FROM {duck.scan(open_snapshot(lake, GAPS))} WHERE received_at >= TIMESTAMPTZ '{iso(now - _GAPS_LAST)}' "
        "GROUP BY agent ORDER BY agent"
    )
    look = ("fleet.gaps on the SQL endpoint", "the agent's log, and its spool's size (spool_mib)")
    return [
        Finding(
            "gap",
            "warning",
            f"agent/{agent}",
            f"{count:,} rows of {fact} are lost: {why}",
            count,
            _utc(since),
            look,
        )
        for agent, count, since, why, fact in rows
    ]


def host_findings(duck: Duck, lake: Path, now: datetime, *, silent_s: int, memory_s: int) -> list[Finding]:
    """Hosts of the roster, or seen within the memory, of which no sample is newer than `silent_s` seconds."""
    seen, known = _seen(duck, lake, now - timedelta(seconds=memory_s)), _roster(duck, lake, now)
    found = []
    for site, host in sorted({*seen, *known}):
        newest = seen.get((site, host))
        if newest is not None and (now - newest).total_seconds() <= silent_s:
            continue
        since = f"no sample for {told((now - newest).total_seconds())}" if newest else "no sample lately"
        where = "it is in the roster" if (site, host) in known else "it was heard of before"
        text = f"Host {host} of site {site or '-'} is silent: {since}; {where}."
        look = ("the host's agent: `systemctl status fleetcube-agent` there, and the receiver's log",)
        found.append(Finding("host", "warning", f"host/{site or '-'}/{host}", text, since=newest, look=look))
    return found


def fact_findings(lake: Path, now: datetime, limits_s: Mapping[str, int]) -> list[Finding]:
    """Facts that have rows, and none newer than the limit."""
    found = []
    for fact, limit_s in sorted(limits_s.items()):
        times = [file.maximum["ts"] for file in open_snapshot(lake, trusted(fact)).files if "ts" in file.maximum]
        newest = max(times, default=None)
        if newest is not None and (now - newest).total_seconds() > limit_s:
            age = told((now - newest).total_seconds())
            text = f"The newest row of {fact} is {age} old; {told(limit_s)} is the limit."
            look = ("fleetcube status", "the receiver, and the step that lands and gates")
            found.append(Finding("fact", "warning", f"fact/{fact}", text, since=newest, look=look))
    return found


def step_findings(duck: Duck, lake: Path) -> list[Finding]:
    """Steps that run by themselves (verb and subject) whose newest row in the ledger says that they failed."""
    rows = duck.sql(
        'SELECT step, subject, arg_max(outcome, "at"), max("at"), arg_max(detail, "at"), arg_max(rows, "at") '
        f"FROM {duck.scan(open_snapshot(lake, LEDGER))} GROUP BY step, subject ORDER BY step, subject"
    )
    found = []
    for verb, subject, outcome, at, detail, count in rows:
        if outcome != "failed" or verb not in _STEPS:
            continue
        why = json.loads(detail or "{}").get(ERROR, "")
        if verb == "verify":
            text, look = f"Cube {subject} differs from its rows: {why}", (f"fleetcube cube verify {subject}",)
            found.append(Finding("verify", "critical", f"cube/{subject}", text, count, _utc(at), look))
            continue
        text = f"{verb} of {subject} failed{f': {why}' if why else '.'}"
        look = (f"run `fleetcube {verb}` again; fleetcube status",)
        found.append(Finding("step", "critical", f"step/{verb}/{subject}", text, since=_utc(at), look=look))
    return found


def _blocked(duck: Duck, lake: Path, rows: list[tuple[Any, ...]], link: str) -> Finding:
    """Of the ranges of a fact that are blocked: fact, rows, newest batch and when that was judged."""
    fact, count, last = rows[0][0], sum(row[1] for row in rows), max(row[2] for row in rows)
    why = _failed(duck, lake, fact, last, "critical")
    several = f"{len(rows)} batches of {fact} are blocked, the last is {last}"
    text = f"{several if len(rows) > 1 else f'Batch {last} of {fact} is blocked'}: {why}"
    look = (*_page(lake, fact, last, link), f"fleetcube gate {fact} --retry-blocked")
    return Finding("gate", "critical", f"fact/{fact}", text, count, _utc(min(row[3] for row in rows)), look)


def _warned(duck: Duck, lake: Path, row: tuple[Any, ...], link: str) -> Finding:
    fact, count, last, at = row
    text = f"Batch {last} of {fact} was published with a warning: {_failed(duck, lake, fact, last, 'warning')}"
    look = _page(lake, fact, last, link) or (f"fleetcube quarantine list --fact {fact} --batch {last}",)
    return Finding("gate", "warning", f"fact/{fact}", text, count, _utc(at), look)


def _page(lake: Path, fact: str, batch: int, link: str) -> tuple[str, ...]:
    return (page_place(lake, fact, batch, link),) if page_path(lake, fact, batch).exists() else ()


def _failed(duck: Duck, lake: Path, fact: str, batch: int, severity: str) -> str:
    """The checks of that severity that a batch failed, and what most of its bad rows failed.

    A correction's row of the same number has none.
    """
    snapshot = open_snapshot(lake, BATCHES)
    paths = snapshot.paths(lambda file: file.may_hold("batch", batch, batch))
    rows = duck.sql(
        f"SELECT checks FROM {duck.scan(snapshot, paths, columns=('fact', 'batch', 'verdict', 'checks'))} "
        f"WHERE fact = {text_literal(fact)} AND batch = {batch} AND verdict IN ('warned', 'blocked')"
    )
    checks = [json.loads(row[0] or "{}") for row in rows]
    found = [one for held in checks for one in held.get("expectations", [])]
    worst = [one for one in found if not one["success"] and one["severity"] == severity]
    told = [f"{one['name']} ({one['unexpected']})" for one in worst]
    return ", ".join([*told, *filter(None, map(mostly, checks))]) or "see its checks"


def _seen(duck: Duck, lake: Path, since: datetime) -> dict[tuple[str, str], datetime]:
    snapshot = open_snapshot(lake, trusted("samples"))
    paths = snapshot.paths(lambda file: file.may_hold("ts", at_least=since))
    scan = duck.scan(snapshot, paths, columns=("site", "host", "ts"))
    rows = duck.sql(
        f"SELECT coalesce(site, ''), host, max(ts) FROM {scan} WHERE host IS NOT NULL "
        f"AND ts >= TIMESTAMPTZ '{iso(since)}' GROUP BY ALL"
    )
    return {(site, host): at.astimezone(UTC) for site, host, at in rows}


def _roster(duck: Duck, lake: Path, now: datetime) -> set[tuple[str, str]]:
    at = f"TIMESTAMPTZ {text_literal(iso(now))}"
    rows = duck.sql(
        f"SELECT DISTINCT coalesce(site, ''), host FROM {duck.scan(open_snapshot(lake, lookup('roster')))} "
        f"WHERE host IS NOT NULL AND coalesce(valid_from <= {at}, true) AND coalesce(valid_to > {at}, true)"
    )
    return {(site, host) for site, host in rows}


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)
