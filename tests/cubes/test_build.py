from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cubeoracle import TEXT, cells_of_table, expected, publish, random_rows, small_cube

from cubes.build import build, refresh
from cubes.model import Cube
from cubes.segments import table_of
from cubes.verify import verify
from lake import delta, tables
from lake.duck import Duck, connect
from lake.engines import own_engine
from lake.errors import LakeError
from lake.lease import lease
from lake.settings import Settings

CHILD = """
import sys
from pathlib import Path
from cubes.build import build
from cubes.load import load_cubes
from lake.duck import connect
from lake.settings import Settings
settings = Settings(lake=Path(sys.argv[1]))
build(settings, connect(settings), load_cubes(Path(sys.argv[2]))["small"])
"""


@pytest.fixture
def cube(tmp_path: Path) -> Cube:
    return small_cube(tmp_path)


def test_one_build_equals_the_oracle_and_records_itself(duck: Duck, settings: Settings, cube: Cube) -> None:
    rows = random_rows(1, 400)
    publish(duck, settings, rows, 1)
    told: list[Any] = []
    result = build(settings, duck, cube, progress=lambda *step: told.append(step))
    assert cells_of_table(duck, settings, cube) == expected(rows, cube)
    cells = delta.open_snapshot(settings.lake, table_of(cube))
    assert [cells.txn(name) for name in ("build", "watermark", "source")] == [1, 1, 1]
    assert (result.kind, result.rows, result.cells) == ("build", 400, cells.rows)
    assert told[0] == ("aggregate", 0, 1)
    assert told[-1] == ("commit", 1, 1)
    recorded = duck.sql(
        f"SELECT cube, build, rows_read, cells FROM {duck.scan(delta.open_snapshot(settings.lake, tables.BUILDS))}"
    )
    assert recorded == [("small", 1, 400, result.cells)]
    ledger = delta.open_snapshot(settings.lake, tables.LEDGER)
    assert duck.sql(f"SELECT step, subject, rows FROM {duck.scan(ledger)}") == [("build", "small", 400)]


@pytest.mark.parametrize("seed", [1, 2])
def test_builds_of_random_batches_merge_to_one_build(duck: Duck, settings: Settings, cube: Cube, seed: int) -> None:
    rows = random_rows(seed, 300)  # in random order of time, so that most batches bring late rows
    rng = random.Random(seed)
    done = 0
    for batch in range(1, 6):
        count = rng.randrange(100) if batch < 5 else len(rows)
        publish(duck, settings, rows[done : done + count], batch)
        done += count
        if rng.random() < 0.7 or batch == 5:
            build(settings, duck, cube)
            assert build(settings, duck, cube).kind == "none"
            assert cells_of_table(duck, settings, cube) == expected(rows[:done], cube)


def test_nothing_new_commits_nothing_and_a_batch_without_rows_moves_the_watermark(
    duck: Duck, settings: Settings, cube: Cube
) -> None:
    assert build(settings, duck, cube).kind == "none"
    publish(duck, settings, random_rows(1, 20), 1)
    build(settings, duck, cube)
    before = delta.open_snapshot(settings.lake, table_of(cube))
    assert build(settings, duck, cube).kind == "none"
    assert delta.open_snapshot(settings.lake, table_of(cube)).version == before.version
    publish(duck, settings, [], 2)
    result = build(settings, duck, cube)
    assert (result.kind, result.rows, result.cells, result.watermark_to) == ("build", 0, 0, 2)
    assert delta.open_snapshot(settings.lake, table_of(cube)).txn("watermark") == 2


def test_a_late_row_writes_only_the_cells_it_touches(duck: Duck, settings: Settings, cube: Cube) -> None:
    rows = random_rows(1, 300)
    publish(duck, settings, rows, 1)
    build(settings, duck, cube)
    publish(duck, settings, rows[:1], 2)
    slots = 4 if rows[0]["value"] is not None else 0  # two cuboids without host, at two grains
    hashes = 4 if rows[0]["pod"] is not None else 0
    assert build(settings, duck, cube).cells == 3 * 4 + slots + hashes


def test_refresh_of_unchanged_days_changes_no_cell(duck: Duck, settings: Settings, cube: Cube) -> None:
    rows = random_rows(4, 200)
    publish(duck, settings, rows[:150], 1)
    build(settings, duck, cube)
    before = verify(settings, duck, cube).digests
    publish(duck, settings, rows[150:], 2)  # not built yet: a refresh must not take it up
    result = refresh(settings, duck, cube, [date(2026, 1, 1), date(2025, 12, 31)])
    assert (result.kind, result.build, result.watermark_to) == ("refresh", 2, 1)
    assert verify(settings, duck, cube).digests == before
    assert cells_of_table(duck, settings, cube) == expected(rows[:150], cube)
    build(settings, duck, cube)
    assert cells_of_table(duck, settings, cube) == expected(rows, cube)
    assert refresh(settings, duck, cube, []).kind == "none"


def test_refresh_repairs_damaged_cells(duck: Duck, settings: Settings, cube: Cube) -> None:
    rows = random_rows(5, 200)
    publish(duck, settings, rows, 1)
    build(settings, duck, cube)
    cells = delta.open_snapshot(settings.lake, table_of(cube))
    lost = [file for file in cells.files if file.partition["segment"] in ("2026-01-01", "2026-01")]
    delta.commit(settings.lake, cells.ref, cells, removes=lost, txns={"build": 2})
    assert verify(settings, duck, cube).differences > 0
    refresh(settings, duck, cube, [date(2026, 1, 1), date(2026, 1, 2)])
    assert cells_of_table(duck, settings, cube) == expected(rows, cube)


@pytest.mark.parametrize("fresh", [30])
def test_withdrawn_rows_refresh_their_days(duck: Duck, settings: Settings, cube: Cube, fresh: int) -> None:
    rows = random_rows(6, 240)
    publish(duck, settings, rows, 1)
    build(settings, duck, cube)
    trusted = delta.open_snapshot(settings.lake, tables.trusted("samples"))
    touched = [file for file in trusted.files if file.partition["day"] == "2026-01-01"]
    stay = [{**row, "batch": 1} for row in rows if row["ts"].date() == date(2026, 1, 1)][5:]
    news = random_rows(7, fresh)
    publish(duck, settings, [*stay, *news], 2, removes=touched)
    result = build(settings, duck, cube)
    assert result.refreshed == (date(2026, 1, 1),)
    left = [row for row in rows if row["ts"].date() != date(2026, 1, 1)] + stay + news
    assert cells_of_table(duck, settings, cube) == expected(left, cube)
    assert verify(settings, duck, cube).holds


def test_a_day_may_be_withdrawn_whole(duck: Duck, settings: Settings, cube: Cube) -> None:
    rows = random_rows(6, 90)
    trusted = publish(duck, settings, rows, 1)
    build(settings, duck, cube)
    gone = [file for file in trusted.files if file.partition["day"] == "2025-12-31"]
    publish(duck, settings, [], 2, removes=gone)
    assert build(settings, duck, cube).refreshed == (date(2025, 12, 31),)
    assert cells_of_table(duck, settings, cube) == expected(
        [row for row in rows if row["ts"].date() != date(2025, 12, 31)], cube
    )


def test_rewritten_files_without_a_loss_make_no_day_stale(duck: Duck, settings: Settings, cube: Cube) -> None:
    rows = random_rows(8, 120)
    trusted = publish(duck, settings, rows, 1)
    build(settings, duck, cube)
    publish(duck, settings, [{**row, "batch": 1} for row in rows], 2, removes=trusted.files)
    result = build(settings, duck, cube)
    assert (result.refreshed, result.rows) == ((), 0)
    assert cells_of_table(duck, settings, cube) == expected(rows, cube)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", ["builder.scan.after", "builder.cells.after", "builder.commit.before", "builder.commit.after"]
)
def test_a_killed_build_shows_nothing_and_the_next_one_completes(
    duck: Duck, settings: Settings, cube: Cube, tmp_path: Path, fault: str
) -> None:
    rows = random_rows(9, 200)
    publish(duck, settings, rows[:120], 1)
    build(settings, duck, cube)
    publish(duck, settings, rows[120:], 2)
    command = [sys.executable, "-c", CHILD, str(settings.lake), str(tmp_path / "definitions")]
    root = Path(__file__).parents[2]
    killed = subprocess.run(command, env={**os.environ, "FLEETCUBE_FAULT": fault, "PYTHONPATH": str(root)})
    assert killed.returncode == -9
    published = rows if fault == "builder.commit.after" else rows[:120]
    assert cells_of_table(duck, settings, cube) == expected(published, cube)
    assert build(settings, duck, cube).kind == ("none" if fault == "builder.commit.after" else "build")
    assert cells_of_table(duck, settings, cube) == expected(rows, cube)
    named = {str(Path(file.path)) for file in delta.open_snapshot(settings.lake, table_of(cube)).files}
    root = table_of(cube).path(settings.lake)
    assert {str(path.relative_to(root)) for path in root.rglob("*.parquet")} == named


def test_order_of_rows_files_and_threads_change_no_cell(tmp_path: Path, cube: Cube) -> None:
    rows = random_rows(10, 300)
    digests = set()
    for threads in (1, 2):
        settings = Settings(lake=tmp_path / f"lake{threads}", threads=threads)
        settings.lake.mkdir()
        duck = connect(settings)
        shuffled = random.Random(threads).sample(rows, len(rows))
        for batch in range(1, 1 + threads):
            publish(duck, settings, shuffled[batch - 1 :: threads], batch)
        build(settings, duck, cube)
        digests.add(verify(settings, duck, cube).digests)
        duck.connection.close()
    assert len(digests) == 1


def test_chunks_of_days_give_the_same_cells(
    duck: Duck, settings: Settings, cube: Cube, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(11, 200)
    publish(duck, settings, rows, 1)
    monkeypatch.setattr("cubes.source._CHUNK_ROWS", 10)
    build(settings, duck, cube)
    assert cells_of_table(duck, settings, cube) == expected(rows, cube)
    cells = delta.open_snapshot(settings.lake, table_of(cube))
    assert cells.version == 1  # made, then one commit
    assert {Path(file.path).stem for file in cells.files} == {f"build-00000001-000{place}" for place in range(3)}


def test_a_chunk_too_large_for_its_share_of_memory_gets_all_of_it(
    duck: Duck, settings: Settings, cube: Cube, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_rows(13, 3000)
    publish(duck, settings, rows, 1)
    monkeypatch.setattr("cubes.source._CHUNK_ROWS", 10)
    monkeypatch.setattr("cubes.source._LEAST_ROWS", 1)
    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr("lake.engines.own_engine", lambda of, **share: own_engine(of, **{**share, "memory_mib": 1}))
        build(replace(settings, threads=2), duck, cube, progress=lambda step, done, of: told.append(step))
    assert told.count("aggregate with all of the memory") == 3
    assert cells_of_table(duck, settings, cube) == expected(rows, cube)
    assert build(settings, duck, replace(cube, digest="1" * 12)).cells > 0


def test_a_filter_limits_the_rows(duck: Duck, settings: Settings, tmp_path: Path) -> None:
    cube = small_cube(tmp_path, TEXT + "where: site = 'eu' AND value IS NOT NULL\n")
    rows = random_rows(12, 150)
    publish(duck, settings, rows, 1)
    build(settings, duck, cube)
    kept = [row for row in rows if row["site"] == "eu" and row["value"] is not None]
    assert cells_of_table(duck, settings, cube) == expected(kept, cube)


def test_refusals_say_what_to_do(duck: Duck, settings: Settings, cube: Cube) -> None:
    with pytest.raises(LakeError, match=r"has not been built.*fleetcube build small"):
        refresh(settings, duck, cube, [date(2026, 1, 1)])
    publish(duck, settings, random_rows(1, 5), 1)
    with (
        lease(settings.lake, table_of(cube).key),
        pytest.raises(LakeError, match="Another process is writing"),
    ):
        build(settings, duck, cube)
    with (
        lease(settings.lake, table_of(cube).key),
        pytest.raises(LakeError, match="Another process is writing"),
    ):
        # One writer at a time, whichever engine: Spark isn't even started.
        build(replace(settings, engine="spark"), duck, cube)
    build(settings, duck, cube)
    other = replace(cube, digest="0" * 12)  # another definition has cells of its own
    assert build(settings, duck, other).watermark_from == 0
