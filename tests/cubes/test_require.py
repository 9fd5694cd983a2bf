from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gating import gate, sample
from landed import land

from cubes.access import load_access
from cubes.build import build
from cubes.load import load_cubes
from cubes.require import require
from cubes.session import Answer, Session
from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.duck import Duck
from lake.errors import QueryError
from lake.settings import Settings
from quality.release import release
from quality.suites import BatchRule, load_suite
from quality.undo import undo_batch

SQL = "SELECT metric, avg(value) FROM samples WHERE ts >= '{}' AND ts < '{}' GROUP BY metric"


@pytest.fixture
def session(settings: Settings, duck: Duck) -> Iterator[Session]:
    """Three days of samples: one clean, one with a row kept aside, one with a gap; a batch each."""
    days = [
        [_row(1, "2026-11-01", "1"), _row(2, "2026-11-01", "2")],
        [_row(3, "2026-11-02", "3"), _row(4, "2026-11-02", "bad", site="rome")],
        [_row(5, "2026-11-03", "5"), {"seq": 6, "problem": "gap", "raw": "lost", "lost": 3}],
    ]
    for rows in days:
        land(settings, duck, "samples", rows)
        gate(settings, duck)
    build(settings, duck, load_cubes()["infrastructure"])
    with Session(settings, cubes=[load_cubes()["infrastructure"]]) as made:
        yield made


def _row(seq: int, day: str, value: str, **more: str) -> dict[str, Any]:
    return {"seq": seq, **sample(value, ts=f"{day}T11:00:00Z", **more)}


def ask(session: Session, first: str, after: str, more: str = "", **how: Any) -> Answer:
    return session.query(SQL.format(f"2026-11-{first}", f"2026-11-{after}' {more} AND '1' = '1"), **how)


def test_passed(session: Session) -> None:
    require("passed", ask(session, "01", "02"))
    require("passed", ask(session, "01", "02", raw=True))
    with pytest.raises(QueryError, match=r"passed: samples: 1 rows failed \w+.*require = any, or ask for"):
        require("passed", ask(session, "01", "03"))
    with pytest.raises(QueryError, match="passed: samples: 3 sequence numbers are missing"):
        require("passed", ask(session, "03", "04"))
    # What was kept aside is of another site.
    require("passed", ask(session, "01", "03", "AND site = 'oslo'"))
    for mode in ("any", "cube", "exact"):
        require(mode, ask(session, "01", "04"))


def test_the_receipt_says_what_the_gate_said(session: Session) -> None:
    [block] = ask(session, "01", "04").receipt["blocks"]
    assert block["gate"]["verdicts"] == {"passed": 3}
    assert (block["gate"]["gaps"], block["gate"]["blocked"], block["gate"]["unjudged"]) == (3, 0, 0)
    [kept] = block["gate"]["kept_aside"]
    assert (kept["day"], kept["site"], kept["rows"]) == ("2026-11-02", "rome", 1)
    assert block["quarantined"] == {kept["check"]: 1}


def test_an_earlier_version_had_a_verdict_of_its_own(session: Session) -> None:
    for version, days in ((1, "02"), (2, "03")):
        answer = ask(session, "01", days, as_of=f"samples@{version}")
        assert answer.receipt["blocks"][0]["gate"]["verdicts"] == {"passed": version}
    require("passed", ask(session, "01", "04", as_of="samples@1"))


def test_a_release_is_told(session: Session, settings: Settings, duck: Duck) -> None:
    """Released rows are judged anew: the same fault is not counted twice, and what passes is no longer kept aside."""
    with_unknown = [_row(8, "2026-11-01", "7", metric="gpu.unheard_of")]
    land(settings, duck, "samples", with_unknown)
    gate(settings, duck)
    build(settings, duck, load_cubes()["infrastructure"])
    before = ask(session, "01", "04").receipt["blocks"][0]["quarantined"]
    assert sorted(before.values()) == [1, 1]
    accepting = replace(settings, unknown_metrics="accept")
    [done] = release(accepting, duck, "samples", {}, clean=clean, catalogue=load_catalogue())
    assert (done.rows["released"], done.rows["trusted"], done.rows["quarantine"]) == (2, 1, 1)
    build(settings, duck, load_cubes()["infrastructure"])
    assert ask(session, "01", "04").receipt["blocks"][0]["quarantined"] == {"bad_number": 1}
    require("passed", ask(session, "01", "02"))


def test_what_was_undone_is_kept_aside_until_it_is_released(session: Session, settings: Settings, duck: Duck) -> None:
    cube = load_cubes()["infrastructure"]
    undo_batch(settings, duck, "samples", 1, reason="wrong")
    build(settings, duck, cube)
    assert ask(session, "01", "02").receipt["blocks"][0]["quarantined"] == {"undone": 2}
    with pytest.raises(QueryError, match="2 rows failed undone"):
        require("passed", ask(session, "01", "02"))
    release(settings, duck, "samples", {"check": "undone"}, clean=clean, catalogue=load_catalogue())
    build(settings, duck, cube)
    require("passed", ask(session, "01", "02"))


def test_warned_and_blocked_batches(session: Session, settings: Settings, duck: Duck) -> None:
    for severity, day in (("warning", "05"), ("critical", "06")):
        suite = load_suite("samples")
        rule = BatchRule(name="few", rule="rows", severity=severity, min=100, from_rows=0)
        land(settings, duck, "samples", [_row(10 + int(day), f"2026-11-{day}", "1")])
        gate(settings, duck, suite=suite.model_copy(update={"batch": (rule,)}))
        build(settings, duck, load_cubes()["infrastructure"])
        if severity == "warning":
            require("passed", ask(session, "01", "02"))
            with pytest.raises(QueryError, match="1 batches were warned of"):
                require("passed", ask(session, "05", "06"))
    with pytest.raises(QueryError, match="1 rows are held back by a blocked verdict"):
        require("passed", ask(session, "01", "02"))


def test_cube_and_exact(session: Session) -> None:
    sql = "SELECT {} FROM samples WHERE metric = 'gpu.temperature' AND ts < '2026-11-02'"
    with pytest.raises(QueryError, match=r"cube: .*lacks pod.*see EXPLAIN CUBE"):
        require("cube", session.query(sql.format("count(DISTINCT pod)")))
    percentile = session.query(sql.format("percentile_cont(0.5) WITHIN GROUP (ORDER BY value) AS middle"))
    with pytest.raises(QueryError, match="exact: the answer has approximate columns: middle"):
        require("exact", percentile)
    require("cube", percentile)


def test_what_a_policy_hides_can_not_be_passed(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    rows = "{samples: \"site = 'oslo'\"}"
    path.write_text(f"roles:\n  some: {{facts: [samples], rows: {rows}}}\nusers:\n  u: {{roles: [some]}}\n")
    with pytest.raises(QueryError, match="under a policy on rows it can't be told"):
        require("passed", ask(session, "01", "02", policy=load_access(path).policy("u")))
