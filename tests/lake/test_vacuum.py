"""Vacuum: what nobody needs goes; what a version, a reader, a writer or an intent may need stays."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta

import pytest

from lake import delta, tables
from lake.compact import Layout, compact
from lake.duck import Duck
from lake.errors import LakeError
from lake.intents import clear_intent, write_intent
from lake.lease import lease
from lake.settings import Settings
from lake.times import utc_now
from lake.vacuum import Waste, vacuum

HOUR = timedelta(hours=1)


def append(duck: Duck, settings: Settings, number: int) -> None:
    row = f"SELECT 'a' AS agent, 'b' AS boot, {number} AS seq_from, {number} AS seq_to, 'samples' AS fact, 1 AS batch"
    files = duck.write(row, settings.lake, tables.SEEN, f"seen-{number}", stats=("batch",))
    snapshot = delta.open_snapshot(settings.lake, tables.SEEN)
    delta.commit(settings.lake, tables.SEEN, snapshot, adds=files, txns={"n": number})


def aged(settings: Settings, hours: float) -> None:
    """Set every file and commit that far back, as if the lake had been written then."""
    at = time.time() - hours * 3600
    for path in (settings.lake / "seen").rglob("*"):
        os.utime(path, (at, at))
    for path in (settings.lake / "seen" / "_delta_log").glob("*.json"):
        lines = path.read_text().splitlines()
        kept = [line for line in lines if "commitInfo" not in line]
        path.write_text("\n".join(kept) + "\n")
        os.utime(path, (at, at))


def sweep(settings: Settings, *, apply: bool = True, grace: timedelta = HOUR, now: datetime | None = None,
          keep: tuple[int, ...] = ()) -> list[Waste]:  # fmt: skip
    return vacuum(settings.lake, [(tables.SEEN, keep, ["writer"])], grace=grace, now=now or utc_now(), apply=apply)


def held(settings: Settings) -> set[str]:
    return {path.name for path in (settings.lake / "seen").glob("*.parquet")}


def test_files_go_after_the_grace_period_and_live_ones_never(duck: Duck, settings: Settings) -> None:
    append(duck, settings, 1)
    append(duck, settings, 2)
    reader = delta.open_snapshot(settings.lake, tables.SEEN)
    compact(duck, settings.lake, tables.SEEN, Layout(), most=1)
    aged(settings, 5)
    append(duck, settings, 3)  # the lake goes on: its newest commit is of now
    assert sweep(settings, grace=6 * HOUR) == [], "a reader that began before the compaction may still read"
    assert len(duck.sql(f"SELECT * FROM {duck.scan(reader)}")) == 2
    [waste] = sweep(settings, apply=False)
    assert (waste.table, waste.files) == ("seen", ("seen-1.parquet", "seen-2.parquet"))
    assert waste.size_bytes > 0
    assert len(held(settings)) == 4, "a dry run removes nothing"
    assert sweep(settings) == [waste]
    assert sweep(settings) == []
    newest = delta.open_snapshot(settings.lake, tables.SEEN)
    assert duck.sql(f"SELECT seq_from FROM {duck.scan(newest)} ORDER BY 1") == [(1,), (2,), (3,)]


def test_a_version_that_a_cube_stands_on_stays(duck: Duck, settings: Settings) -> None:
    append(duck, settings, 1)
    append(duck, settings, 2)
    stands_on = delta.open_snapshot(settings.lake, tables.SEEN).version
    compact(duck, settings.lake, tables.SEEN, Layout(), most=1)
    aged(settings, 99)
    append(duck, settings, 3)
    assert sweep(settings, keep=(stands_on,)) == []
    assert delta.open_snapshot(settings.lake, tables.SEEN, stands_on).rows == 2
    assert [waste.files for waste in sweep(settings)] == [("seen-1.parquet", "seen-2.parquet")]


def test_files_of_a_writer_stay_while_it_may_commit_them(duck: Duck, settings: Settings) -> None:
    append(duck, settings, 1)
    aged(settings, 50)
    orphan = settings.lake / "seen" / "killed.parquet"
    orphan.write_bytes((settings.lake / "seen" / "seen-1.parquet").read_bytes())
    append(duck, settings, 2)
    assert sweep(settings) == [], "written just now: its commit may be next"
    os.utime(orphan, (0, time.time() - 9 * 3600))
    write_intent(settings.lake, "gate", "samples", {"plan": {"files": ["killed.parquet"]}})
    assert sweep(settings) == [], "an intent will have it committed"
    clear_intent(settings.lake, "gate", "samples")
    with lease(settings.lake, "writer"):
        [busy] = sweep(settings)
    assert "Another process is writing 'writer'" in busy.left
    assert orphan.exists()
    [waste] = sweep(settings)
    assert waste.files == ("killed.parquet",)
    assert held(settings) == {"seen-1.parquet", "seen-2.parquet"}


def test_a_clock_that_jumps_removes_nothing(duck: Duck, settings: Settings) -> None:
    append(duck, settings, 1)
    append(duck, settings, 2)
    compact(duck, settings.lake, tables.SEEN, Layout(), most=1)
    assert sweep(settings, now=utc_now() + timedelta(days=8)) == []
    with pytest.raises(LakeError, match=r"newest commit is of .* Set the clock right"):
        sweep(settings, now=utc_now() - timedelta(days=1))
    with pytest.raises(LakeError, match="more than the log keeps"):
        sweep(settings, grace=timedelta(days=40))


def test_other_files_are_never_touched(duck: Duck, settings: Settings) -> None:
    append(duck, settings, 1)
    root = settings.lake / "seen"
    names = ("notes.txt", "_staged/x.parquet", ".hidden.parquet", "_delta_log/y.parquet")
    others = [root / name for name in names]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    aged(settings, 50)
    append(duck, settings, 2)
    assert sweep(settings) == []
    assert all(path.exists() for path in others)
