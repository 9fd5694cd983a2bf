"""A lake's life at random: any order of its steps, killed at random points, ends with books and cubes that hold."""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lifelake import KEEP, NOW, Life, child
from s3server import S3Server

from cubes.session import Session
from fleetcube.upkeep import compact_tables
from lake.delta import open_snapshot
from lake.duck import Duck
from lake.tables import QUARANTINE, landing, trusted

FAULTS = {
    "gate": ("gate.intent.after", "gate.quarantine.after", "gate.trusted.after", "gate.progress.before"),
    "build": ("builder.cells.after", "builder.commit.after"),
    "compact": ("compact.write.after", "compact.commit.after"),
    "undo": ("correct.intent.after", "gate.trusted.before"),
    "release": ("correct.intent.after", "gate.quarantine.after"),
    "erase": ("correct.intent.after", "gate.landing.after", "gate.progress.before"),
    "retain": ("retain.intent.after", "retain.record.after", "retain.delete.after"),
    "vacuum": ("vacuum.delete.before",),
}
CODE = {
    "gate": "life.gate()",
    "build": "life.build()",
    "compact": "life.compact()",
    "undo": "life.undo()",
    "release": "life.release()",
    "erase": "life.erase()",
    "retain": "life.retire()",
    "vacuum": "life.vacuum()",
}
# Hours of September need not tell the host in November.
AGES = "age_out: {host: 40d}\n"
STEPS = st.one_of(
    st.tuples(st.just("land"), st.lists(st.sampled_from((1, 2, 33, 34, 45, 50)), min_size=1, max_size=4),
              st.sampled_from(("1", "2", "bad"))),
    st.tuples(st.sampled_from(sorted(CODE)), st.just([]), st.just("")),
)  # fmt: skip


@pytest.mark.slow
@given(st.lists(STEPS, min_size=4, max_size=10), st.integers(0, 10**6))
@settings(max_examples=6, suppress_health_check=list(HealthCheck))
def test_any_life_ends_with_books_and_cubes_that_hold(steps: list[tuple[str, list[int], str]], chance: int) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        lead(Life(folder, KEEP + AGES), steps, chance)
    finally:
        shutil.rmtree(folder)


@pytest.mark.s3
@pytest.mark.slow
@pytest.mark.timeout(900)
@given(st.lists(STEPS, min_size=4, max_size=10), st.integers(0, 10**6))
@settings(max_examples=3, suppress_health_check=list(HealthCheck))
def test_any_life_in_an_object_store_does_too(
    s3: S3Server, steps: list[tuple[str, list[int], str]], chance: int
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        lead(Life(folder, place=s3.new_bucket()), steps, chance)
    finally:
        shutil.rmtree(folder)


def lead(life: Life, steps: list[tuple[str, list[int], str]], chance: int) -> None:
    """Take the steps, some of them killed on the way, and look at what comes out."""
    for place, (step, ages, value) in enumerate(steps):
        if step == "land":
            life.land(*ages, value=value, host="ann" if chance % (place + 2) == 0 else "bob")
            continue
        points = FAULTS[step]
        kill = (chance >> place) % 4 == 0
        if kill:
            code = child(life, CODE[step], fault=points[(chance + place) % len(points)])
            assert code in (0, 1, -signal.SIGKILL), f"{step} ended with {code}"
        elif step != "vacuum":
            life.try_step(step)
    life.finish()
    life.holds()
    assert life.counted() == life.told()


def test_a_life_by_hand(tmp_path: Path) -> None:
    """Every step once, with what must come out."""
    life = Life(tmp_path)
    for _ in range(4):
        life.land(1, 33, 50, host="bob")
        life.gate()
        life.build()
    life.land(1, 50, value="bad")
    life.land(1, 34, host="ann")
    life.gate()
    life.build()
    life.holds()
    done, left = compact_tables(life.settings, life.duck)
    assert left == []
    assert {one.table for one in done} >= {"landing/samples", "trusted/samples", "seen", "batches"}
    life.compact()
    life.holds()
    before = life.ask("SELECT host, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1")
    assert before == [{"host": "ann", "n": 2}, {"host": "bob", "n": 12}]
    life.undo()
    life.build()
    life.holds()
    assert life.ask("SELECT count(*) AS n FROM samples") == [{"n": 11}], "batch 1 had three rows"
    life.release()
    life.erase()
    life.build()
    life.holds()
    assert life.ask("SELECT host, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1") == [{"host": "bob", "n": 12}]
    life.retire()
    assert life.ask("SELECT host, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1") == [{"host": "bob", "n": 12}]
    life.holds()
    for ref in (landing("samples"), trusted("samples"), QUARANTINE):
        rows = life.duck.sql(f"SELECT * FROM {life.duck.scan(open_snapshot(life.settings.lake, ref))}")
        assert "ann" not in str(rows), ref.key
    assert life.counted() == life.told()


def test_erased_rows_leave_the_disk_with_the_vacuum(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.land(1, host="ann")
    life.land(1, host="bob")
    life.gate()
    life.build()
    assert holders(life.duck, life.settings.lake, "ann")
    life.erase()
    life.build()
    life.land(1, host="bob")
    life.gate()
    life.build()
    life.age(100)
    life.land(2, host="bob")  # a commit of now
    life.vacuum(apply=True)
    assert holders(life.duck, life.settings.lake, "ann") == []
    life.gate()
    life.build()
    life.holds()


def holders(duck: Duck, lake: Path, text: str) -> list[str]:
    """Every Parquet file of the lake in which the text stands, whatever version names it."""
    found = []
    for path in sorted(lake.rglob("*.parquet")):
        if "_delta_log" in path.parts:
            continue
        rows = duck.sql(f"SELECT * FROM read_parquet('{path}', hive_partitioning = false)")
        found += [str(path)] if text in str(rows) else []
    return found


def test_sessions_read_on_while_files_are_merged_and_expire(tmp_path: Path) -> None:
    life = Life(tmp_path)
    for _ in range(3):
        life.land(1, 50)
        life.gate()
        life.build()
    with Session(life.settings, cubes=[life.cube], clock=lambda: NOW) as session:
        sql = "SELECT count(*) AS n, min(host) AS h FROM samples"
        answers = [session.query(sql).table.to_pylist()]
        for step in (life.compact, lambda: compact_tables(life.settings, life.duck), life.retire, life.vacuum):
            step()
            answer = session.query(sql)
            answers.append(answer.table.to_pylist())
            assert answer.path == "cube"
        assert answers == [[{"n": 6, "h": "a"}]] * 5
