"""The watch of data quality: each kind of trouble is found with its rows, since when and where to look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from gating import NoJudge, gate, sample
from landed import land

from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.delta import commit, open_snapshot
from lake.duck import Duck
from lake.ledger import ERROR, record
from lake.lookup_store import ensure_lookups, publish_lookup
from lake.lookups import load_lookups
from lake.settings import Settings
from lake.tables import BATCHES, GAPS
from lake.times import iso
from quality.gate import retry_blocked
from quality.suites import Suite, load_suite
from quality.verdict_page import page_path, write_page
from quality.watch import fact_findings, gap_findings, gate_findings, host_findings, step_findings

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)


def strict() -> Suite:
    """The suite of samples, that blocks where more than a tenth of the rows is bad."""
    suite = load_suite("samples")
    [share] = [rule for rule in suite.batch if rule.name == "share_quarantined"]
    return suite.model_copy(update={"batch": (share.model_copy(update={"max": Decimal("0.1"), "from_rows": 1}),)})


def block(settings: Settings, duck: Duck, boot: str) -> None:
    land(settings, duck, "samples", [sample(boot=boot), *[sample("bad", boot=boot)] * 50])
    [judged] = gate(settings, duck, suite=strict())
    assert judged.verdict == "blocked"
    write_page(settings.lake, judged)


def test_blocked_batches_until_they_pass(settings: Settings, duck: Duck) -> None:
    assert gate_findings(duck, settings.lake) == []
    block(settings, duck, "b")
    block(settings, duck, "c")
    land(settings, duck, "samples", [sample("3", boot="d")])
    assert gate(settings, duck)[0].verdict == "passed"
    [found] = gate_findings(duck, settings.lake)
    assert (found.kind, found.severity, found.entity, found.rows) == ("gate", "critical", "fact/samples", 102)
    assert "2 batches of samples are blocked, the last is 2: share_quarantined (50), mostly bad_number" in found.text
    assert found.look == (str(page_path(settings.lake, "samples", 2)), "fleetcube gate samples --retry-blocked")
    assert found.since is not None
    [linked] = gate_findings(duck, settings.lake, "https://lake.example.org/verdicts/")
    assert linked.look[0] == "https://lake.example.org/verdicts/samples-00000002.html"
    loose = {"clean": clean, "catalogue": load_catalogue(), "judge": NoJudge()}
    lax = strict().model_copy(update={"batch": ()})
    assert {one.verdict for one in retry_blocked(settings, duck, "samples", suite=lax, **loose)} == {"passed"}
    assert gate_findings(duck, settings.lake) == []


def test_a_warning_until_a_batch_passes(settings: Settings, duck: Duck) -> None:
    suite = strict()
    mild = suite.model_copy(update={"batch": (suite.batch[0].model_copy(update={"severity": "warning"}),)})
    land(settings, duck, "samples", [sample(), *[sample("bad")] * 50])
    assert gate(settings, duck, suite=mild)[0].verdict == "warned"
    [found] = gate_findings(duck, settings.lake)
    assert (found.severity, found.rows) == ("warning", 50)
    assert found.look == ("fleetcube quarantine list --fact samples --batch 1",), "no page was written"
    land(settings, duck, "samples", [sample("4", boot="c")])
    gate(settings, duck)
    assert gate_findings(duck, settings.lake) == []


def test_a_long_history_of_batches_stays_in_the_engine(
    settings: Settings, duck: Duck, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(settings, duck, "b")
    counts = ("received", "duplicates", "trusted", "quarantine", "gaps", "blocked", "withdrawn")
    zeros = ", ".join(f"0 AS {name}" for name in counts)
    past = (
        f"SELECT 'samples' AS fact, i + 2 AS batch, i + 2 AS landed_from, i + 2 AS landed_to, {zeros}, "
        "'passed' AS verdict, '' AS suite, 'not even JSON' AS checks, "
        "NULL::TIMESTAMPTZ AS first_ts, NULL::TIMESTAMPTZ AS last_ts, "
        "now() AS started_at, now() AS ended_at FROM range(5000) t(i)"
    )
    files = duck.write(past, settings.lake, BATCHES, "past", stats=("batch",))
    commit(settings.lake, BATCHES, open_snapshot(settings.lake, BATCHES), adds=files, txns={})
    taken, run = list[int](), duck.sql

    def counted(statement: str) -> list[tuple[Any, ...]]:
        rows = run(statement)
        taken.append(len(rows))
        return rows

    monkeypatch.setattr(duck, "sql", counted)
    [found] = gate_findings(duck, settings.lake)
    assert "Batch 1 of samples is blocked: share_quarantined (50), mostly bad_number" in found.text
    assert sum(taken) <= 3


def test_silent_hosts(settings: Settings, duck: Duck) -> None:
    ensure_lookups(settings.lake, duck)
    rows = [("oslo", "h1"), ("oslo", "h2"), ("oslo", "h4")]
    columns = [column.name for column in load_lookups()["roster"].columns]
    known = [
        {"site": site, "host": host, "metric": "gpu.temperature", "period_s": "60", "device": "-"}
        for site, host in rows
    ]
    known.append({**known[0], "host": "gone", "valid_to": "2026-11-01T00:00:00Z"})
    publish_lookup(settings.lake, duck, "roster", [tuple(row.get(name) for name in columns) for row in known])
    ages = {"h1": 1, "h2": 20, "h3": 30, "old": 60 * 24 * 9}
    land(
        settings, duck, "samples",
        [sample(str(age), host=host, ts=iso(NOW - timedelta(minutes=age))) for host, age in ages.items()],
    )  # fmt: skip
    gate(settings, duck)
    found = host_findings(duck, settings.lake, NOW, silent_s=900, memory_s=7 * 86_400)
    assert [one.entity for one in found] == ["host/oslo/h2", "host/oslo/h3", "host/oslo/h4"]
    assert found[0].since == NOW - timedelta(minutes=20)
    assert "no sample for 20 min; it is in the roster" in found[0].text
    assert "it was heard of before" in found[1].text
    assert "no sample lately; it is in the roster" in found[2].text
    assert len(host_findings(duck, settings.lake, NOW, silent_s=59, memory_s=600)) == 3


def test_stale_facts(settings: Settings, duck: Duck) -> None:
    limits = {"samples": 900, "requests": 900}
    assert fact_findings(settings.lake, NOW, limits) == [], "a fact without rows is not stale"
    land(settings, duck, "samples", [sample(ts=iso(NOW - timedelta(hours=2)))])
    gate(settings, duck)
    [found] = fact_findings(settings.lake, NOW, limits)
    assert (found.entity, found.since) == ("fact/samples", NOW - timedelta(hours=2))
    assert found.text == "The newest row of samples is 2.0 h old; 15 min is the limit."
    assert fact_findings(settings.lake, NOW, {"samples": 7201}) == []


def test_losses_of_the_last_day(settings: Settings, duck: Duck) -> None:
    values = "'samples' AS fact, 1 AS batch, 'a' AS agent, 'b' AS boot, 1 AS seq_from, 4 AS seq_to, 4 AS rows"
    late = f"SELECT {values}, 'full' AS reason, TIMESTAMPTZ '{iso(NOW - timedelta(hours=30))}' AS received_at"
    new = f"SELECT {values}, 'torn' AS reason, TIMESTAMPTZ '{iso(NOW - timedelta(hours=1))}' AS received_at"
    files = duck.write(f"{late} UNION ALL {new} UNION ALL {new}", settings.lake, GAPS, "lost")
    commit(settings.lake, GAPS, open_snapshot(settings.lake, GAPS), adds=files, txns={})
    [found] = gap_findings(duck, settings.lake, NOW)
    assert (found.entity, found.rows, found.since) == ("agent/a", 8, NOW - timedelta(hours=1))
    assert found.text == "8 rows of samples are lost: torn"
    assert gap_findings(duck, settings.lake, NOW + timedelta(days=1)) == []


def test_failed_steps_until_they_work(settings: Settings, duck: Duck) -> None:
    record(settings, duck, "build", "serving", outcome="failed", detail={ERROR: "disk full"})
    record(settings, duck, "verify", "serving", outcome="failed", rows=3, detail={ERROR: "3 differ"})
    record(settings, duck, "land", "inbox", rows=3)
    record(settings, duck, "replay", "online-log", outcome="failed")
    step, verified = step_findings(duck, settings.lake)
    assert (step.kind, step.entity, step.text) == ("step", "step/build/serving", "build of serving failed: disk full")
    assert (verified.kind, verified.entity, verified.rows) == ("verify", "cube/serving", 3)
    record(settings, duck, "build", "serving", rows=1)
    assert [one.kind for one in step_findings(duck, settings.lake)] == ["verify"]
