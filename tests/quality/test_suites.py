"""Suites and verdicts: what may be declared, and what follows from a failed expectation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

import quality.suites
from lake.errors import FleetcubeError
from lake.facts import load_facts
from lake.own import use_own
from quality.suites import BatchRule, Suite, load_suite
from quality.verdict import Finding, Measured, batch_findings, verdict

NOW = datetime(2026, 11, 10, tzinfo=UTC)


def measured(**figures: object) -> Measured:
    facts = {"received": 2000, "judged": 1000, "quarantined": 500, "newest": NOW, "received_at": NOW}
    return Measured(**{**facts, "columns": ("ts",), "wanted": ("ts",), **figures})  # type: ignore[arg-type]


def test_every_shipped_fact_has_a_suite_that_digests() -> None:
    suites = [load_suite(fact) for fact in load_facts()]
    assert len({suite.digest for suite in suites}) == len(suites)
    assert all(
        any(rule.rule == "quarantined_share" and rule.severity == "critical" for rule in it.batch) for it in suites
    )
    changed = suites[0].model_copy(update={"description": "other"})
    assert changed.digest != suites[0].digest


RULES = [
    ({"rule": "quarantined_share", "max": Decimal("0.5")}, {}, True),
    ({"rule": "quarantined_share", "max": Decimal("0.5")}, {"quarantined": 501}, False),
    ({"rule": "quarantined_share", "max": Decimal("0.5")}, {"judged": 0, "quarantined": 0}, True),
    ({"rule": "rows", "min": 2001}, {}, False),
    ({"rule": "newest_age_s", "max": 60}, {"received_at": NOW + timedelta(seconds=61)}, False),
    ({"rule": "newest_age_s", "max": 60}, {"newest": None}, True),
    ({"rule": "columns"}, {"wanted": ("ts", "host")}, False),
]


@pytest.mark.parametrize(("declared", "figures", "success"), RULES)
def test_batch_rules(declared: dict[str, object], figures: dict[str, object], success: bool) -> None:
    rule = BatchRule(name="r", severity="critical", **declared)  # type: ignore[arg-type]
    suite = Suite(fact="samples", description="", rows=(), batch=(rule,))
    assert [finding.success for finding in batch_findings(suite, measured(**figures))] == [success]
    silent = suite.model_copy(update={"batch": (rule.model_copy(update={"from_rows": 2001}),)})
    assert batch_findings(silent, measured(**figures)) == []


def test_the_worst_failure_is_the_verdict() -> None:
    ends = {"info": "passed", "warning": "warned", "critical": "blocked"}
    findings = [Finding(severity, severity, False, 1) for severity in ends]
    assert verdict([]) == "passed"
    for place, (severity, end) in enumerate(ends.items()):
        assert verdict([Finding(severity, severity, True, 0)]) == "passed"
        assert verdict(findings[: place + 1]) == end


BROKEN = [
    ("rows: [{name: a, column: valu, rule: not_null, severity: info}]\nbatch: []", "valu"),
    ("rows: [{name: a, column: value, rule: between, severity: info}]\nbatch: []", "needs min or max"),
    ("rows: [{name: a, column: value, rule: one_of, severity: info}]\nbatch: []", "values go with"),
    ("rows: []\nbatch: [{name: a, rule: rows, severity: fatal}]", "severity"),
    ("rows: []\nbatch: [{name: a, rule: rows, severity: info}, {name: a, rule: rows, severity: info}]", "there twice"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN)
def test_a_broken_suite_says_where(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "samples.yaml").write_text(f"fact: samples\ndescription: d\n{text}\n")
    with pytest.raises(FleetcubeError, match=message) as raised:
        load_suite("samples", tmp_path)
    assert "samples.yaml:" in str(raised.value)


SAID = [
    ({"rule": "quarantined_share", "max": Decimal("0.2")}, {}, "50 % of the rows (500 of 1,000)", "at most 20 %"),
    # As many decimal places as tell the share from its limit.
    (
        {"rule": "quarantined_share", "max": Decimal("0.5")},
        {"judged": 100_000, "quarantined": 50_001},
        "50.001 % of the rows (50,001 of 100,000)",
        "at most 50 %",
    ),
    ({"rule": "rows", "min": 2001, "max": 4000}, {}, "2,000 rows came", "at least 2,001 and at most 4,000"),
    ({"rule": "newest_age_s", "max": 60}, {"received_at": NOW + timedelta(seconds=61)}, "61 s old", "at most 60 s"),
    ({"rule": "columns"}, {"wanted": ("ts", "host")}, "columns are missing or too many", "host"),
]


@pytest.mark.parametrize(("declared", "figures", "found", "limit"), SAID)
def test_a_failed_batch_rule_says_what_was_found_against_which_limit(
    declared: dict[str, object], figures: dict[str, object], found: str, limit: str
) -> None:
    rule = BatchRule(name="r", severity="critical", **declared)  # type: ignore[arg-type]
    suite = Suite(fact="samples", description="", rows=(), batch=(rule,))
    [finding] = batch_findings(suite, measured(**figures))
    assert found in finding.says
    assert finding.says.endswith(limit)
    holding = suite.model_copy(update={"batch": (BatchRule(name="r", severity="info", rule="rows", min=1),)})
    assert batch_findings(holding, measured())[0].says == ""


def test_ones_own_suite_of_a_shipped_fact_is_taken_in_its_place(tmp_path: Path) -> None:
    shipped = Path(quality.suites.__file__).parent / "suites" / "samples.yaml"
    own = tmp_path / "suites" / "samples.yaml"
    own.parent.mkdir()
    own.write_text(shipped.read_text().replace("description: ", "description: Ours. ", 1))
    try:
        use_own(tmp_path)
        assert load_suite("samples").description.startswith("Ours. ")
        assert not load_suite("requests").description.startswith("Ours. ")
        own.rename(own.with_name("sampels.yaml"))
        use_own(Path(""))
        use_own(tmp_path)
        with pytest.raises(FleetcubeError, match=r"suite of 'samples' lies in sampels\.yaml"):
            load_suite("requests")
    finally:
        use_own(Path(""))
    assert not load_suite("samples").description.startswith("Ours. ")
