"""The retention plan: what would go, why, what must stand first; and that nothing goes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from lake.delta import commit, open_snapshot
from lake.duck import Duck
from lake.errors import DefinitionError
from lake.retention import CubeLife, plan_retention
from lake.retention_rules import load_rules, parse_age
from lake.settings import Settings
from lake.tables import BATCHES, TableRef, cube, landing, trusted

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)


def put(duck: Duck, settings: Settings, ref: TableRef, rows: list[dict[str, str]], stem: str) -> None:
    """Commit rows given as SQL expressions; absent columns are NULL."""
    selects = [
        "SELECT " + ", ".join(f'{row.get(name, "NULL")} AS "{name}"' for name in ref.schema.names) for row in rows
    ]
    stats = [name for name in ("landed", "received_at") if name in ref.schema.names]
    files = duck.write(" UNION ALL ".join(selects), settings.lake, ref, stem, stats=stats)
    commit(settings.lake, ref, open_snapshot(settings.lake, ref), adds=files, txns={})


def test_trusted_days_go_by_age_after_their_cubes(settings: Settings, duck: Duck) -> None:
    days = [date(2026, 5, 30), date(2026, 5, 31), date(2026, 6, 29)]
    put(duck, settings, trusted("requests"), [{"day": f"DATE '{day}'", "batch": "1"} for day in days], "one")
    ref = cube("serving", "d", ["model"], [])
    lives = [CubeLife("serving", "requests", ref, {"5m": 30})]
    plan = plan_retention(settings.lake, duck, load_rules(), lives, NOW)
    assert [(row.layer, row.subject, row.rows) for row in plan] == [("trusted", "requests 2026-05-30", 1)]
    assert "cube serving must hold and reconcile" in plan[0].first
    [alone] = plan_retention(settings.lake, duck, load_rules(), [], NOW)
    assert "a cube over requests must be declared" in alone.first


def test_landing_goes_when_judged_and_old(settings: Settings, duck: Duck) -> None:
    for number, age in ((1, 10), (2, 8), (3, 1), (4, 20)):
        at = NOW - timedelta(days=age)
        row = {"landed": str(number), "received_at": f"TIMESTAMPTZ '{at.isoformat()}'"}
        put(duck, settings, landing("samples"), [row], f"batch{number}")
    put(duck, settings, BATCHES, [{"fact": "'samples'", "landed_to": "3"}], "judged")
    [row] = plan_retention(settings.lake, duck, load_rules(), [], NOW)
    assert (row.layer, row.subject, row.rows) == ("landing", "samples", 2), "batch 4 is old, but was never judged"


def test_the_newest_rounds_of_each_model_stay(settings: Settings, duck: Duck, tmp_path: Path) -> None:
    rows = [
        {"model": f"'{model}'", "run": "'r'", "round": f"'{n}'", "day": "DATE '2026-06-01'",
         "ts": f"TIMESTAMPTZ '2026-06-01 00:{n:02d}:00Z'"}
        for model, rounds in (("a", 5), ("b", 2)) for n in range(rounds) for _ in range(3)
    ]  # fmt: skip
    put(duck, settings, trusted("evaluations"), rows, "one")
    (tmp_path / "retention.yaml").write_text(
        "landing: 7d\nquarantine: 90d\nfacts:\n  evaluations: {newest_rounds: 3, per: [model]}\n"
    )
    [row] = plan_retention(settings.lake, duck, load_rules(tmp_path), [], NOW)
    assert (row.subject, row.rows) == ("evaluations 2026-06-01", 6)
    assert "2 rounds beyond the newest 3 per model" in row.why


def test_fine_grains_wait_for_coarse_ones(settings: Settings, duck: Duck) -> None:
    ref = cube("c", "d", ["model"], [])
    segments = [("5m", "2026-05-01"), ("5m", "2026-06-29"), ("1h", "2024-01"), ("1d", "2026")]
    put(duck, settings, ref, [{"grain": f"'{g}'", "segment": f"'{s}'"} for g, s in segments], "one")
    plan = plan_retention(settings.lake, duck, load_rules(), [CubeLife("c", "x", ref, {"5m": 30, "1h": 400})], NOW)
    assert [(row.subject, row.first) for row in plan] == [
        ("c 5m 2026-05-01", "the 1h cells of the same days must exist and reconcile"),
        ("c 1h 2024-01", ""),
    ]


def test_ages_and_rules_are_checked(tmp_path: Path) -> None:
    assert parse_age("2w") == timedelta(days=14)
    with pytest.raises(ValueError, match="'30' is no age"):
        parse_age("30")
    (tmp_path / "retention.yaml").write_text("landing: 7d\nquarantine: 90d\nfacts:\n  samples: {keep: 3x}\n")
    with pytest.raises(DefinitionError, match=r"retention\.yaml:4.*'3x' is no age"):
        load_rules(tmp_path)
    (tmp_path / "retention.yaml").write_text("landing: 7d\nquarantine: 90d\nfacts:\n  samples: {newest_rounds: 3}\n")
    with pytest.raises(DefinitionError, match="goes with `per`"):
        load_rules(tmp_path)
