"""The guided tour: five questions with answers, receipts and milliseconds beside the same on raw rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from textwrap import indent
from typing import Any

from cubes.formats import render
from cubes.session import Answer, Session
from fleetcube.status import lake_status, status_text
from lake.delta import open_snapshot
from lake.duck import connect
from lake.settings import Settings
from lake.tables import trusted
from quality.quarantine import list_quarantine


@dataclass(frozen=True)
class Question:
    """A question of the tour: what is asked, and its SQL with {start}, {end} and {odd} to be filled in."""

    title: str
    sql: str


QUESTIONS = (
    Question(
        "How busy was each kind of GPU over the last day, weighted by time?",
        "SELECT site, hardware, time_avg(value) AS utilization, max(value) AS peak, count(*) AS readings\n"
        "FROM samples WHERE metric = 'gpu.utilization' AND ts >= '{start}' AND ts < '{end}'\n"
        "GROUP BY site, hardware ORDER BY site, hardware",
    ),
    Question(
        "Which GPUs ran hottest this week?",
        "SELECT host, device, max(value) AS hottest_cel, avg(value) AS mean_cel\n"
        "FROM samples WHERE metric = 'gpu.temperature' AND ts < '{end}'\n"
        "GROUP BY host, device ORDER BY hottest_cel DESC, host, device LIMIT 5",
    ),
    Question(
        "How did each model serve over the last day: traffic, errors, latency?",
        "SELECT model, count(*) AS requests, count(*) FILTER (WHERE status <> 'ok') AS failed,\n"
        "  percentile_cont(0.5) WITHIN GROUP (ORDER BY e2e_ms) AS p50_ms,\n"
        "  percentile_cont(0.95) WITHIN GROUP (ORDER BY e2e_ms) AS p95_ms\n"
        "FROM requests WHERE ts >= '{start}' AND ts < '{end}' GROUP BY model ORDER BY model",
    ),
    Question(
        "Tokens an hour over an odd stretch (6 h 17 min): whole buckets from cells, the edges from rows",
        "SELECT date_trunc('hour', ts) AS hour, sum(output_tokens) AS tokens, count(*) AS requests\n"
        "FROM requests WHERE ts >= '{odd}' AND ts < '{end}' GROUP BY 1 ORDER BY 1",
    ),
    Question(
        "How do the models' versions score?",
        "SELECT model, model_version, task, avg(value) AS score, count(*) AS rounds\n"
        "FROM evaluations WHERE metric = 'eval.accuracy' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LIMIT 8",
    ),
)


def tour(settings: Settings) -> Iterator[str]:
    """The tour's lines. Milliseconds are of a second run on either path, so that both read warm files."""
    times = tour_times(settings)
    with Session(settings) as session:
        for number, question in enumerate(QUESTIONS, 1):
            sql = question.sql.format(**times)
            yield f"\n{number}. {question.title}\n"
            yield indent(sql, "   ")
            answer, raw = _twice(session, sql, raw=False), _twice(session, sql, raw=True)
            yield "\n" + indent(render(answer.table, "table").decode().rstrip(), "   ")
            yield "\n   " + _told(answer.receipt, raw.receipt)
    yield from _quarantined(settings)
    yield "\n" + status_text(lake_status(settings))
    yield from _next_steps(settings)


def tour_times(settings: Settings) -> dict[str, str]:
    """The texts for {start}, {end} and {odd}: the newest whole day of the fleet, and 6 h 17 min before its end."""
    end = _newest_day(settings)
    times = {"start": end - timedelta(days=1), "end": end, "odd": end - timedelta(hours=6, minutes=17)}
    return {name: f"{at:%Y-%m-%d %H:%M:%S}+00" for name, at in times.items()}


def _twice(session: Session, sql: str, *, raw: bool) -> Answer:
    session.query(sql, raw=raw)
    return session.query(sql, raw=raw)


def _told(receipt: dict[str, Any], raw: dict[str, Any]) -> str:
    """The receipt in two lines."""
    blocks = receipt["blocks"]
    used = "; ".join(
        json.dumps(block.get("pieces") or block.get("reason"), default=str, ensure_ascii=False) for block in blocks
    )
    ours, theirs = _ms(receipt), _ms(raw)
    return (
        f"answered from {receipt['path']} in {ours:.1f} ms; from {receipt.get('rows', 0):,} raw rows: {theirs:.1f} ms "
        f"({theirs / ours:.1f}×)\n   receipt: {used}"
    )


def _ms(receipt: dict[str, Any]) -> float:
    return max(0.1, float(sum(receipt["latency_ms"].values())))


def _newest_day(settings: Settings) -> datetime:
    """The end of the newest whole day that holds requests of the fleet."""
    duck = connect(settings)
    snapshot = open_snapshot(settings.lake, trusted("requests"))
    [(day,)] = duck.sql(f"SELECT date_trunc('day', max(ts)) + INTERVAL 1 DAY FROM {duck.scan(snapshot)}")
    assert isinstance(day, datetime), "the tour comes after the simulated fleet has been trusted"
    return day


def _quarantined(settings: Settings) -> Iterator[str]:
    yield "\nWhat did not pass the gate, and why:\n"
    totals: dict[tuple[str, str], int] = {}
    for row in list_quarantine(settings.lake, connect(settings)):
        totals[row.fact, row.check] = totals.get((row.fact, row.check), 0) + row.rows
    for (fact, check), rows in sorted(totals.items()):
        yield f"   {fact:<12} {check:<18} {rows:>8,} rows"


def _next_steps(settings: Settings) -> Iterator[str]:
    lake = settings.lake
    yield f"""
Try next:
   fleetcube sql --lake {lake} --receipt "SELECT status, count(*) FROM requests GROUP BY status"
   fleetcube sql --lake {lake} --explain "SELECT host, avg(value) FROM samples WHERE metric = 'gpu.power' GROUP BY host"
   fleetcube cube verify --lake {lake}
   fleetcube quarantine show --lake {lake} --limit 3
   fleetcube status --lake {lake}"""
