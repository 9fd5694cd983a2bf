"""Great Expectations and SQL count the same bad rows for every rule that a suite may hold."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import pytest
from landed import landing_table

from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.duck import Duck
from lake.facts import load_facts
from lake.settings import Settings
from quality.candidate import VIEW, chunks, write_candidate
from quality.checks import Policy
from quality.suites import RowRule, Suite, load_suite

pytestmark = pytest.mark.slow  # importing Great Expectations takes seconds
EXTRA = (
    RowRule(
        name="known_model", column="model", rule="one_of", values=("a", "it's"), severity="info", mostly=Decimal("0.5")
    ),
    RowRule(name="short_host", column="host", rule="length", min=2, max=5, severity="critical"),
    RowRule(name="has_tenant", column="tenant", rule="not_null", severity="warning", mostly=Decimal("0.9")),
    RowRule(name="quick", column="e2e_ms", rule="between", max=Decimal("100.5"), severity="info", quarantine=False),
)


def requests(count: int) -> list[dict[str, Any]]:
    """Requests of which some break each rule, some say nothing, and some are no lines at all."""
    rng = random.Random(7)
    rows: list[dict[str, Any]] = [{"problem": "malformed", "raw": "?"}]
    for _ in range(count):
        row = {
            "ts": rng.choice(["2026-11-10T11:00:00Z"] * 9 + ["never"]),
            "status": "ok",
            "model": rng.choice(["a", "it's", "b", None]),
            "host": rng.choice(["h", "host1", "a-long-host", None, "é€"]),
            "tenant": rng.choice(["t", None]),
            "e2e_ms": rng.choice(["100.5", "100.500001", "-1", "86400000", "90000000", None, "x"]),
            "prompt_tokens": rng.choice(["0", "5", "-1", "100000001", None]),
        }
        rows.append(row)
    return rows


def test_both_count_the_same(settings: Settings, duck: Duck) -> None:
    from quality.expectations import Judge

    fact = load_facts()["requests"]
    shipped = load_suite("requests")
    suite = Suite(fact="requests", description="all rules", rows=(*shipped.rows, *EXTRA), batch=shipped.batch)
    duck.register("landed", landing_table("requests", requests(400)))
    cleaned = clean(duck, fact, "landed", catalogue=load_catalogue())
    path = settings.lake / "candidate.parquet"
    write_candidate(duck, fact, cleaned, catalogue=load_catalogue(), policy=Policy(), suite=suite, path=path)
    judge = Judge(suite)
    findings = judge.judge(chunks(duck, fact, judge.columns, 150))
    for rule, finding in zip(suite.rows, findings, strict=True):
        bad = rule.as_check().bad
        spoken = "true" if rule.rule == "not_null" else f'"{rule.column}" IS NOT NULL'
        counts = f"SELECT count(*) FILTER ({spoken}), count(*) FILTER ({bad}) FROM {VIEW}"
        [(count, broken)] = duck.sql(f"{counts} WHERE _check IS DISTINCT FROM 'malformed'")
        assert (finding.name, finding.unexpected) == (rule.name, broken)
        assert finding.success == (broken <= count * (1 - Decimal(rule.mostly)))
    assert {finding.name for finding in findings if finding.unexpected} >= {rule.name for rule in EXTRA}
    held = dict(duck.sql(f"SELECT _check, count(*) FROM {VIEW} GROUP BY 1"))
    assert "quick" not in held
    assert {"malformed", "bad_time", "bad_number", "prompt_tokens_in_reach", "short_host"} <= set(held)


def test_no_rows_break_no_rule(duck: Duck) -> None:
    from quality.expectations import Judge

    assert all(finding.success and finding.unexpected == 0 for finding in Judge(load_suite("events")).judge([]))
