"""The gate: the same rows end in the same place whatever their order, splits and crashes; and everything adds up."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import gating
import pytest
from gating import gate, rows_of, sample, tables
from landed import land

from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.errors import LakeError
from lake.lease import lease
from lake.settings import Settings
from lake.tables import BATCHES, GAPS, QUARANTINE, trusted
from quality.accounts import FIELDS, accounts, unbalanced
from quality.gate import retry_blocked
from quality.suites import load_suite

FAULTS = (
    "gate.intent.after",
    "gate.candidate.after",
    "gate.quarantine.after",
    "gate.gaps.after",
    "gate.trusted.before",
    "gate.trusted.after",
    "gate.progress.before",
)


def figures(settings: Settings, duck: Duck, fact: str = "samples") -> dict[str, int]:
    """The fact's accounts, after checking that they add up and equal the tables."""
    assert unbalanced(settings.lake, duck) == []
    return accounts(settings.lake, duck)[fact]


def expected(rows: list[dict[str, Any]]) -> tuple[Counter[tuple[str, str]], dict[str, int]]:
    """Plain Python's answer: which (content, key) are trusted, and the totals. Only rows of agent k have keys."""
    groups: defaultdict[tuple[Any, ...], list[str]] = defaultdict(list)
    for row in rows:
        key = ("key", row["row_key"]) if row.get("row_key") else (row["agent"], row["seq"], row["idx"])
        bad = row["value"] == "bad"
        groups[key].append(row["value"] if bad else str(Decimal(row["value"])))
    good: Counter[tuple[str, str]] = Counter()
    totals = dict.fromkeys(FIELDS, 0) | {"received": len(rows)}
    for key, values in groups.items():
        distinct = set(values)
        totals["duplicates"] += len(values) - len(distinct)
        if len(distinct) == 1 and distinct != {"bad"}:
            totals["trusted"] += 1
            good[values[0], key[1] if key[0] == "key" else ""] += 1
        else:
            totals["quarantine"] += len(distinct)
    return good, totals


def random_rows(seed: int) -> list[dict[str, Any]]:
    """Rows with repeats, conflicts and bad numbers, shuffled."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(rng.randint(8, 30)):
        value = rng.choice(["1", "2", "bad"]) if rng.random() < 0.3 else "1"
        rows.append(sample(value, agent=rng.choice("ab"), seq=rng.randint(1, 9), idx=rng.randint(0, 1)))
    for seq in range(rng.randint(0, 8)):
        rows.append(sample(rng.choice("12"), agent="k", seq=seq, idx=0, row_key=rng.choice(["x", "y", "z", "w"])))
    rows += rng.choices(rows, k=rng.randint(0, 12))
    rng.shuffle(rows)
    return rows


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_order_splits_and_repeats_change_nothing(settings: Settings, duck: Duck, seed: int) -> None:
    rows, rng = random_rows(seed), random.Random(seed + 1000)
    small = replace(settings, gate_rows=rng.choice([1, 10, 1000]))
    start = 0
    while start < len(rows):
        size = rng.randint(1, len(rows))
        land(settings, duck, "samples", rows[start : start + size])
        start += size
        if rng.random() < 0.7:
            gate(small, duck)
            figures(settings, duck)
    gate(small, duck)
    good, totals = expected(rows)
    assert figures(settings, duck) == totals
    held = rows_of(settings.lake, duck, trusted("samples"), "value, coalesce(row_key, '')")
    assert Counter((str(value.normalize()), key) for value, key in held) == good


def test_a_conflict_withdraws_what_was_published_and_nothing_else(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("1"), sample("2"), sample("3", ts="2026-11-09T00:00:00Z")])
    land(settings, duck, "samples", [sample("1.00"), sample("7")])
    [first] = gate(replace(settings, gate_rows=3), duck)[:1]
    second = gate(settings, duck)
    assert (first.trusted, second) == (3, [])
    assert figures(settings, duck) == dict(zip(FIELDS, (5, 1, 2, 2, 0, 0, 0), strict=True))
    kept = rows_of(
        settings.lake, duck, QUARANTINE, "\"check\", json_extract_string(content, '$.value'), batch, site, day"
    )
    assert [row[:3] for row in kept] == [("conflict", "2.000000000", 2), ("conflict", "7.000000000", 2)]
    assert rows_of(settings.lake, duck, trusted("samples"), "value, batch") == [(Decimal(1), 1), (Decimal(3), 1)]
    [_, (checks,)] = rows_of(settings.lake, duck, BATCHES, "checks", "batch")
    assert json.loads(checks)["withdrawn"] == [{"day": "2026-11-10", "rows": 1}]


def test_a_repeat_of_expired_rows_is_a_duplicate(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("1"), sample("2")])
    gate(settings, duck)
    shutil.rmtree(trusted("samples").path(settings.lake))
    land(settings, duck, "samples", [sample("1"), sample("5"), sample("6")])
    [result] = gate(settings, duck)
    assert (result.duplicates, result.trusted, result.quarantine) == (2, 1, 0)


def test_gaps_count_lost_numbers_once_and_a_late_row_is_kept(settings: Settings, duck: Duck) -> None:
    gap = {"problem": "gap", "raw": "the spool was cut", "seq": 2, "lost": 4}
    land(settings, duck, "samples", [sample("1", seq=1), gap])
    gate(settings, duck)
    land(settings, duck, "samples", [{**gap, "seq": 1, "lost": 6}, sample("3", seq=3)])
    gate(settings, duck)
    assert rows_of(settings.lake, duck, GAPS, "seq_from, seq_to, rows, reason") == [
        (2, 5, 4, "the spool was cut"),
        (6, 6, 1, "the spool was cut"),
    ]
    assert figures(settings, duck) == dict(zip(FIELDS, (12, 5, 2, 0, 5, 0, 0), strict=True))


def test_a_blocked_batch_publishes_nothing_until_it_is_judged_again(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("1" if seq % 3 else "bad", seq=seq) for seq in range(1200)])
    suite = load_suite("samples")
    [share] = [rule for rule in suite.batch if rule.name == "share_quarantined"]
    strict = suite.model_copy(update={"batch": (share.model_copy(update={"max": Decimal("0.1")}),)})
    [blocked] = gate(settings, duck, suite=strict)
    assert (blocked.verdict, blocked.blocked, blocked.trusted) == ("blocked", 1200, 0)
    land(settings, duck, "samples", [sample("9", seq=5000)])
    options = {"clean": clean, "catalogue": load_catalogue(), "judge": gating.NoJudge()}
    gate(settings, duck, suite=strict)
    again = retry_blocked(settings, duck, "samples", suite=strict, **options)
    assert [it.blocked for it in again] == [0]
    assert figures(settings, duck) == dict(zip(FIELDS, (1201, 0, 1, 0, 0, 0, 1200), strict=True))
    [passed] = retry_blocked(settings, duck, "samples", **options)
    assert (passed.verdict, passed.trusted, passed.blocked) == ("warned", 800, -1200)
    assert figures(settings, duck) == dict(zip(FIELDS, (1201, 0, 801, 400, 0, 0, 0), strict=True))
    assert retry_blocked(settings, duck, "samples", **options) == []


def test_nothing_landed_is_nothing_judged(settings: Settings, duck: Duck) -> None:
    assert gate(settings, duck, "events") == []
    assert open_snapshot(settings.lake, BATCHES).exists is False


def test_one_gate_at_a_time(settings: Settings, duck: Duck) -> None:
    with lease(settings.lake, "gate/samples"), pytest.raises(LakeError, match="Another process"):
        gate(settings, duck)


@pytest.mark.slow
def test_a_kill_at_every_point_ends_as_if_there_were_none(settings: Settings, duck: Duck, tmp_path: Path) -> None:
    land(
        settings, duck, "samples", [sample(str(seq), seq=seq, ts=f"2026-11-{seq:02}T00:00:00Z") for seq in range(1, 10)]
    )
    gate(settings, duck)
    late = [sample("77", seq=2, ts="2026-11-02T00:00:00Z"), sample("3", seq=3, ts="2026-11-03T00:00:00Z")]
    gap = {"problem": "gap", "seq": 20, "lost": 3}
    land(settings, duck, "samples", [*late, gap, sample("bad", seq=30), sample("5", seq=31)])
    lakes = {fault: tmp_path / f"lake.{fault}" for fault in ("", *FAULTS)}
    for lake in lakes.values():
        shutil.copytree(settings.lake, lake)
    children = {
        fault: subprocess.Popen(
            [sys.executable, gating.__file__, str(lake)],
            env={**os.environ, "FLEETCUBE_FAULT": fault, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for fault, lake in lakes.items()
    }
    ends = {fault: child.wait() for fault, child in children.items()}
    assert ends == {fault: -signal.SIGKILL if fault else 0 for fault in lakes}
    want = tables(lakes[""], duck)
    assert len(want["trusted/samples"]) == 9
    for fault in FAULTS:
        own = replace(settings, lake=lakes[fault])
        gate(own, connect(own))
        assert tables(lakes[fault], duck) == want, fault
        assert unbalanced(lakes[fault], duck) == []
        assert not list((lakes[fault] / "_work" / "gate").glob("*"))
