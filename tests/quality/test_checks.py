"""Row checks: for every check a row that fails it and a row that just does not."""

from __future__ import annotations

from typing import Any

import pytest
from gating import TS, NoJudge, gate, rows_of, sample
from landed import land, landing_table

from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.duck import Duck
from lake.facts import load_facts
from lake.settings import Settings
from lake.tables import trusted
from quality.candidate import VIEW, write_candidate
from quality.checks import Policy, row_checks
from quality.quarantine import list_quarantine, show_quarantine
from quality.suites import load_suite

HISTOGRAM = {"metric": "api.request.duration", "bounds_id": "seconds", "value": "3", "counts": "[1,0,2]"}
STATE = {"metric": "agent.collector.success"}
COUNTER = {"metric": "service.requests"}
CASES: list[tuple[dict[str, Any], str | None]] = [
    (sample("1", metric="no.such.metric"), "unknown_metric"),
    (sample("1", metric="gpu.utilization"), None),
    (sample("1.000000001", metric="gpu.utilization"), "out_of_range"),
    (sample("-0.000000001", metric="gpu.utilization"), "out_of_range"),
    (sample("0", **COUNTER), None),
    (sample("-1", **COUNTER), "negative_increment"),
    (sample("1", **STATE), None),
    (sample("0.5", **STATE), "bad_shape"),
    (sample(None), "missing_value"),  # type: ignore[arg-type]
    (sample("1", counts="[1]"), "bad_shape"),
    ({**sample(), **HISTOGRAM}, None),
    ({**sample(), **HISTOGRAM, "value": None}, None),
    ({**sample(), **HISTOGRAM, "counts": "[1,-1,2]"}, "bad_shape"),
    ({**sample(), **HISTOGRAM, "counts": "[1,2]"}, "bad_shape"),
    ({**sample(), **HISTOGRAM, "bounds_id": None}, "bad_shape"),
    ({**sample(), **HISTOGRAM, "bounds_id": "unlisted", "counts": "[1,2]"}, None),
    (sample(ts="2026-11-10T12:10:00Z"), None),
    (sample(ts="2026-11-10T12:10:01Z"), "future"),
    (sample(ts="2000-01-01T00:00:00Z"), None),
    (sample(ts="1999-12-31T23:59:59.999999Z"), "before_2000"),
    (sample(interval_s="604800"), None),
    (sample(interval_s="0"), "interval_in_reach"),
]


def test_every_check_fails_and_spares(settings: Settings, duck: Duck) -> None:
    fact, catalogue = load_facts()["samples"], load_catalogue()
    duck.register("landed", landing_table("samples", [row for row, _ in CASES]))
    cleaned = clean(duck, fact, "landed", catalogue=catalogue)
    policy = Policy(bounds={"seconds": 2})
    path = settings.lake / "candidate.parquet"
    write_candidate(duck, fact, cleaned, catalogue=catalogue, policy=policy, suite=load_suite("samples"), path=path)
    found = duck.sql(f"SELECT _check, _reason, _content IS NOT NULL FROM {VIEW} ORDER BY seq")
    assert [row[0] for row in found] == [check for _, check in CASES]
    assert all((check is None) == (why is None) == (not content) for check, why, content in found)
    assert {check.name for check in row_checks(fact, policy)} <= {check for _, check in CASES}


@pytest.mark.parametrize(("policy", "verdict"), [("quarantine", 0), ("accept", 1)])
def test_unknown_metrics_follow_the_setting(settings: Settings, duck: Duck, policy: str, verdict: int) -> None:
    chosen = Settings(lake=settings.lake, unknown_metrics=policy)
    land(settings, duck, "samples", [sample("1", metric="my.own")])
    [result] = gate(chosen, duck)
    assert (result.trusted, result.quarantine) == (verdict, 1 - verdict)
    assert result.checks["notices"]["unknown_metric"] == verdict
    assert len(rows_of(settings.lake, duck, trusted("samples"), "metric")) == verdict


def test_quarantine_lists_and_shows_why(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("nan"), sample("x"), sample("y", site="bergen"), sample("1")])
    land(settings, duck, "events", [{"ts": TS, "kind": "deploy", "severity": "bad", "text": "v2"}])
    gate(settings, duck)
    gate(settings, duck, "events", judge=NoJudge())
    groups = [(it.fact, it.check, it.site, str(it.day), it.rows) for it in list_quarantine(settings.lake, duck)]
    assert sorted(groups, key=str) == [
        ("events", "bad_value", None, "2026-11-10", 1),
        ("samples", "bad_number", "bergen", "2026-11-10", 1),
        ("samples", "bad_number", "oslo", "2026-11-10", 1),
        ("samples", "non_finite", "oslo", "2026-11-10", 1),
    ]
    [row] = show_quarantine(settings.lake, duck, {"site": "bergen", "fact": "samples"})
    assert (row.seq, row.reason, row.content["value"]) == (3, "column value: 'y' is not a number", "y")
    assert row.received_at is not None
    of_batch = [list_quarantine(settings.lake, duck, {"fact": "samples", "batch": number}) for number in ("1", "2")]
    assert [sum(it.rows for it in groups) for groups in of_batch] == [3, 0]
