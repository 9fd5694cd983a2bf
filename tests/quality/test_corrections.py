"""Release, undo and erasure: rows move, accounts add up, repeats stay repeats, and a kill anywhere changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import corrections
import gating
import pytest
from gating import TS, gate, rows_of, sample
from landed import land

from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.errors import DefinitionError, LakeError, QueryError
from lake.holds import add_hold, remove_hold
from lake.lease import lease
from lake.settings import Settings
from lake.tables import BATCHES, LEDGER, QUARANTINE, landing, trusted
from quality.accounts import accounts, unbalanced
from quality.erase import erase, facts_with, parse_person
from quality.release import release
from quality.suites import load_suite
from quality.undo import undo_batch


def figures(settings: Settings, duck: Duck, fact: str = "samples") -> tuple[int, ...]:
    """(received, duplicates, trusted, quarantine), after checking that everything adds up."""
    assert unbalanced(settings.lake, duck) == []
    found = accounts(settings.lake, duck)[fact]
    return tuple(found[name] for name in ("received", "duplicates", "trusted", "quarantine"))


def let_go(settings: Settings, duck: Duck, fact: str = "samples", **filters: str) -> list[Any]:
    return release(settings, duck, fact, filters, clean=clean, catalogue=load_catalogue())


def values(settings: Settings, duck: Duck) -> list[tuple[Any, ...]]:
    return rows_of(settings.lake, duck, trusted("samples"), "seq, value, batch", "seq")


def call(user: str, seq: int, **more: Any) -> dict[str, Any]:
    return {"ts": TS, "status": "ok", "user_hash": user, "seq": seq, "model": "m", "e2e_ms": "1.5", **more}


def test_an_undone_batch_lies_in_quarantine_and_can_come_back(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("1", seq=1), sample("0.000000001", seq=2, row_key="k")])
    gate(settings, duck)
    land(settings, duck, "samples", [sample("5", seq=3, ts="2026-11-09T23:59:59.999999Z")])
    gate(settings, duck)
    before = rows_of(settings.lake, duck, trusted("samples"), "* EXCLUDE batch")
    done = undo_batch(settings, duck, "samples", 1, reason="clock was wrong")
    assert (done.batch, done.rows, done.days) == (3, {"trusted": 2, "stayed": 0}, (date(2026, 11, 10),))
    assert figures(settings, duck) == (3, 0, 1, 2)
    kept = rows_of(settings.lake, duck, QUARANTINE, 'seq, "check", reason', "seq")
    assert kept == [(seq, "undone", "batch 1 was undone: clock was wrong") for seq in (1, 2)]
    assert undo_batch(settings, duck, "samples", 1, reason="again").batch == 0, "nothing is left to undo"
    [back] = let_go(settings, duck, check="undone")
    assert back.rows == {"released": 2, "trusted": 2, "duplicates": 0, "withdrawn": 0, "quarantine": 0}
    assert figures(settings, duck) == (3, 0, 3, 0)
    assert rows_of(settings.lake, duck, trusted("samples"), "* EXCLUDE batch") == before
    assert let_go(settings, duck, check="undone") == []


def test_every_correction_is_in_the_ledger(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("1", seq=1, host="ann"), sample("2", seq=2, host="bob")])
    gate(settings, duck)
    undo_batch(settings, duck, "samples", 1, reason="clock was wrong")
    let_go(settings, duck, check="undone")
    erase(settings, duck, "samples", {"host": "ann"}, reason="asked")
    erase(settings, duck, "samples", {"host": "nobody"}, reason="asked")
    columns = "step, subject, outcome, rows, seconds > 0, detail"
    told = [
        (*row[:5], json.loads(row[5]))
        for row in rows_of(settings.lake, duck, LEDGER, columns, '"at"')
        if row[0] in ("undo", "release", "erase")
    ]
    undone, released, erased = told
    assert undone[:5] == ("undo", "samples", "done", 2, True)
    assert undone[5] == {"batch": 2, "undone": 1, "reason": "clock was wrong", "stayed": 0, "days": ["2026-11-10"]}
    assert released[:5] == ("release", "samples", "done", 2, True)
    assert {name: released[5][name] for name in ("batch", "trusted", "quarantine")} == {
        "batch": 3, "trusted": 2, "quarantine": 0,
    }  # fmt: skip
    assert erased[:5] == ("erase", "samples", "done", 2, True), "one of trusted, one of landing"
    assert (erased[5]["columns"], erased[5]["reason"], "ann" in str(erased)) == (["host"], "asked", False)


def test_an_undone_row_sent_again_is_a_repeat_and_its_key_is_free(settings: Settings, duck: Duck) -> None:
    rows = [sample("1", seq=1, row_key="k"), sample("2", seq=1, idx=1)]
    land(settings, duck, "samples", rows)
    gate(settings, duck)
    undo_batch(settings, duck, "samples", 1, reason="wrong")
    land(settings, duck, "samples", [*rows, sample("9", agent="mended", seq=1, row_key="k")])
    gate(settings, duck)
    assert figures(settings, duck) == (5, 2, 1, 2)
    assert [row[1] for row in values(settings, duck)] == [9]


def test_released_rows_are_judged_by_the_rules_of_now(settings: Settings, duck: Duck) -> None:
    rows = [sample("1", seq=1), sample("2", seq=2, metric="new.metric"), sample("bad", seq=3)]
    land(settings, duck, "samples", rows)
    gate(settings, duck)
    assert figures(settings, duck) == (3, 0, 1, 2)
    [same] = let_go(settings, duck, check="unknown_metric")
    assert (same.rows["trusted"], same.rows["quarantine"]) == (0, 1)
    accepting = Settings(lake=settings.lake, unknown_metrics="accept")
    [now] = let_go(accepting, duck)
    assert (now.rows["released"], now.rows["trusted"], now.rows["quarantine"]) == (2, 1, 1)
    assert figures(settings, duck) == (3, 0, 2, 1)
    assert [row[:2] for row in values(settings, duck)] == [(1, 1), (2, 2)]
    [(check,)] = rows_of(settings.lake, duck, QUARANTINE, '"check"')
    assert check == "bad_number"
    land(settings, duck, "samples", rows)
    gate(accepting, duck)
    assert figures(settings, duck) == (6, 3, 2, 1)


def test_a_released_row_whose_key_is_taken_is_a_conflict(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("2", seq=1, metric="new.metric", row_key="k")])
    land(settings, duck, "samples", [sample("3", seq=2, row_key="k")])
    gate(settings, duck)
    assert figures(settings, duck) == (2, 0, 1, 1)
    let_go(Settings(lake=settings.lake, unknown_metrics="accept"), duck)
    assert figures(settings, duck) == (2, 0, 0, 2)
    with pytest.raises(QueryError, match="conflict' can't be released"):
        let_go(settings, duck, check="conflict")


def test_an_erased_person_is_nowhere_and_everywhere_counted(settings: Settings, duck: Duck) -> None:
    rows = [call("ann", 1), call("bob", 2), call("ann", 3, status="odd"), call("bob", 4, e2e_ms="x")]
    broken = {"problem": "malformed", "raw": "user=ann-of-oslo ???", "seq": 5}
    land(settings, duck, "requests", [*rows, broken])
    gate(settings, duck, "requests")
    land(settings, duck, "requests", [call("ann", 6)])  # not judged yet
    before = figures(settings, duck, "requests")
    assert before == (6, 0, 2, 3)
    person = parse_person("user_hash = 'ann'")
    done = erase(settings, duck, "requests", person, reason="asked on 1 November")
    assert done.rows == {"trusted": 1, "quarantine": 2, "landing": 4}
    assert figures(settings, duck, "requests") == (6, 0, 1, 4)
    gate(settings, duck, "requests")
    assert figures(settings, duck, "requests") == (6, 0, 1, 5)
    assert erase(settings, duck, "requests", person, reason="again").batch == 0
    for ref in (landing("requests"), trusted("requests"), QUARANTINE, BATCHES):
        assert "ann" not in str(rows_of(settings.lake, duck, ref, "*")), ref.key
    assert "bob" in str(rows_of(settings.lake, duck, landing("requests"), "*"))
    land(settings, duck, "requests", [call("ann", 1), call("ann", 3), call("ann", 6)])
    gate(settings, duck, "requests")
    assert figures(settings, duck, "requests") == (9, 3, 1, 5)
    assert "ann" not in str(rows_of(settings.lake, duck, QUARANTINE, "*"))


def test_a_hold_keeps_rows_from_erasure_until_it_is_lifted(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "requests", [call("ann", 1)])
    gate(settings, duck, "requests")
    day = date(2026, 11, 10)
    hold = add_hold(settings.lake, duck, "requests", first=day, last=day, site=None, reason="case 7")
    with pytest.raises(LakeError, match=r"hold 1 \(case 7\).*hold remove 1"):
        erase(settings, duck, "requests", {"user_hash": "ann"}, reason="asked")
    remove_hold(settings.lake, duck, hold.hold, reason="settled")
    assert erase(settings, duck, "requests", {"user_hash": "ann"}, reason="asked").rows["trusted"] == 1


def test_refusals_say_what_to_do(settings: Settings, duck: Duck) -> None:
    with pytest.raises(DefinitionError, match=r"no fact 'sample'.*samples"):
        undo_batch(settings, duck, "sample", 1, reason="x")
    with pytest.raises(LakeError, match="no batch 4 of samples"):
        undo_batch(settings, duck, "samples", 4, reason="x")
    with pytest.raises(LakeError, match="needs a reason"):
        undo_batch(settings, duck, "samples", 4, reason=" ")
    with lease(settings.lake, "gate/samples"), pytest.raises(LakeError, match="Another process"):
        undo_batch(settings, duck, "samples", 1, reason="x")
    with pytest.raises(QueryError, match="no filter 'fakt'"):
        let_go(settings, duck, fakt="x")
    for text in ("user_hash = ann", "user_hash <> 'a'", "user_hash = 'a' OR true", "1=1", ""):
        with pytest.raises(QueryError, match="doesn't name rows to erase"):
            parse_person(text)
    assert parse_person("user_hash = 'a AND b''s' and tenant='t'") == {"user_hash": "a AND b's", "tenant": "t"}
    assert facts_with({"user_hash": "a"}) == ["events", "requests"]
    with pytest.raises(QueryError, match=r"No fact has user_hsh.*user_hash"):
        facts_with({"user_hsh": "a"})
    land(settings, duck, "samples", [sample("1")])
    environ = {**os.environ, "FLEETCUBE_FAULT": "gate.intent.after", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, gating.__file__, str(settings.lake)], env=environ)
    with pytest.raises(LakeError, match="Run `fleetcube gate samples`"):
        undo_batch(settings, duck, "samples", 1, reason="x")


def state(lake: Path) -> dict[str, Any]:
    """Everything that a correction may write, less times."""
    duck = connect(Settings(lake=lake))
    found: dict[str, Any] = {
        ref.key: rows_of(lake, duck, ref, f"* EXCLUDE ({', '.join(times)})" if times else "*")
        for ref, times in (
            (landing("requests"), ()),
            (trusted("requests"), ()),
            (QUARANTINE, ("received_at",)),
            (BATCHES, ("started_at", "ended_at")),
        )
    }
    found["accounts"], found["wrong"] = accounts(lake, duck), unbalanced(lake, duck)
    duck.connection.close()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("what", ["undo", "erase", "release"])
def test_a_kill_at_every_point_ends_as_if_there_were_none(
    settings: Settings, duck: Duck, tmp_path: Path, what: str
) -> None:
    rows = [call("ann", 1), call("bob", 2), call("ann", 3, status="odd"), call("ann", 4, model="new")]
    land(settings, duck, "requests", rows)
    gate(settings, duck, "requests")
    points = ["correct.intent.after", "gate.quarantine.after", "gate.trusted.before", "gate.progress.before"]
    points += ["gate.landing.after"] if what == "erase" else []
    clean_lake = tmp_path / "clean"
    shutil.copytree(settings.lake, clean_lake)
    corrections.run(clean_lake, what)
    want = state(clean_lake)
    assert want["wrong"] == []
    for point in points:
        killed = tmp_path / point
        shutil.copytree(settings.lake, killed)
        assert corrections.child(killed, what, fault=point) == -signal.SIGKILL, f"{what} passed {point} alive"
        assert corrections.child(killed, what) == 0
        assert state(killed) == want, point


def test_a_suite_is_part_of_the_record(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("bad", seq=1)])
    gate(settings, duck)
    let_go(settings, duck)
    verdicts = rows_of(settings.lake, duck, BATCHES, "batch, verdict, suite", "batch")
    assert verdicts[1] == (2, "released", load_suite("samples").digest)
    assert open_snapshot(settings.lake, BATCHES).txn("gate/samples") == 2
