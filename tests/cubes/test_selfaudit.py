"""Cells are damaged behind everybody's back: the self-audit finds out, and no reader answers from them any more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from sqllake import START, make_lake

from cubes.build import refresh
from cubes.load import load_cubes
from cubes.segments import table_of
from cubes.selfaudit import SelfAudit
from cubes.session import Session
from cubes.shadow import comparable, difference
from cubes.suspicion import active_marks, clear_held, recheck
from cubes.verify import verify
from fleetcube.status import lake_status, status_text
from lake import delta, tables
from lake.deletions import Deletion, record_deletions
from lake.duck import Duck, connect
from lake.settings import Settings
from lake.suspects import Suspect, record_suspects

CUBE = load_cubes()["serving"]
SQL = "SELECT model, count(*) AS n, sum(output_tokens) FROM requests WHERE ts < '2026-10-07 12:00' GROUP BY 1 LIMIT 50"
DAY = (START + timedelta(days=1)).date()


@pytest.fixture
def made(settings: Settings) -> Iterator[tuple[Settings, Duck]]:
    audited = replace(settings, selfaudit_permille=1000)
    make_lake(audited, rows=200, cubes=[CUBE])
    duck = connect(audited)
    yield audited, duck
    duck.connection.close()


def damage(duck: Duck, settings: Settings, grain: str) -> None:
    """One token more in every cell of a grain's day; at the finest, in the file that holds it."""
    cells = delta.open_snapshot(settings.lake, table_of(CUBE))
    files = [file for file in cells.files if file.partition["grain"] == grain]
    held = duck.scan(cells, cells.paths(lambda file: file in files))
    bad = f"CASE WHEN CAST(bucket AS DATE) = DATE '{DAY}' THEN 1 ELSE 0 END"
    select = f"SELECT * REPLACE (CAST(sum_output_tokens + {bad} AS DECIMAL(38,0)) AS sum_output_tokens) FROM {held}"
    adds = duck.write(select, settings.lake, cells.ref, f"damaged-{grain}", stats=("cuboid", "bucket"))
    delta.commit(
        settings.lake, cells.ref, cells, adds=adds, removes=files, txns={"build": 90 + CUBE.grains.index(grain)}
    )


def audited(settings: Settings, sql: str = SQL) -> SelfAudit:
    """Ask once, with every answer audited; gives the audit when it is through."""
    audit = SelfAudit(settings, Session)
    with Session(settings, audit=audit) as session:
        session.query(sql)
        assert audit.wait(120)
    audit.close()
    return audit


def test_sound_cells_raise_nothing(made: tuple[Settings, Duck]) -> None:
    settings, _ = made
    assert vars(audited(settings).counts) == {"sampled": 1, "dropped": 0, "audited": 1, "skipped": 0, "differing": 0}
    assert not delta.open_snapshot(settings.lake, tables.SUSPECTS).exists
    window = audited(settings, "SELECT n, rank() OVER (ORDER BY n) FROM (SELECT count(*) AS n FROM requests) AS x")
    assert (window.counts.audited, window.counts.skipped) == (0, 1)


def test_damage_is_found_gone_round_and_repaired(made: tuple[Settings, Duck]) -> None:
    settings, duck = made
    with Session(settings) as other:
        right = other.query(SQL, raw=True).table.sort_by("n")
        damage(duck, settings, "1d")
        wrong = other.query(SQL)
        assert not wrong.table.sort_by("n").equals(right)
        assert audited(settings).counts.differing == 1
        # Another reader, that holds what it answered: its marks are part of the versions.
        after = other.query(SQL)
        assert not after.cached
        assert after.table.sort_by("n").equals(right)
        pieces = after.receipt["blocks"][0]["pieces"]
        assert {piece["grain"] for piece in pieces if piece["range"][0] == f"{DAY}T00:00:00Z"} == {"1h"}
        _told(settings, duck)
        refresh(settings, duck, CUBE, [DAY])
        assert other.query(SQL).table.sort_by("n").equals(right)
        [cleared] = recheck(settings, duck, CUBE, [DAY])
        assert (cleared.grain, cleared.first, cleared.last) == ("1d", DAY, DAY)
        back = other.query(SQL)
        assert back.table.sort_by("n").equals(right)
        assert {piece["grain"] for piece in back.receipt["blocks"][0]["pieces"]} == {"1d", "1h"}
        assert lake_status(settings)["suspects"] == []


def _told(settings: Settings, duck: Duck) -> None:
    [mark] = active_marks(settings, duck, CUBE)
    assert (mark.grain, mark.first, mark.last) == ("1d", DAY, DAY)
    rows = duck.table(f"SELECT * FROM {duck.scan(delta.open_snapshot(settings.lake, tables.ALERTS))}").to_pylist()
    [alert] = rows
    assert (alert["kind"], alert["severity"], alert["entity"]) == ("selfaudit", "critical", "cube/serving")
    assert "fleetcube cube refresh serving --since 2026-10-06 --until 2026-10-07" in alert["text"]
    assert json.loads(alert["data"])["statement"] == SQL
    status = lake_status(settings)
    assert status["suspects"][0].startswith("cube serving: 1d cells of 2026-10-06 differ from their rows")
    assert status["suspects"][0] in status_text(status)


def test_where_every_grain_is_wrong_rows_answer(made: tuple[Settings, Duck]) -> None:
    settings, duck = made
    for grain in CUBE.grains:
        damage(duck, settings, grain)
    assert audited(settings).counts.differing == 1
    assert {mark.grain for mark in active_marks(settings, duck, CUBE)} == set(CUBE.grains)
    with Session(settings) as session:
        answer = session.query(SQL)
        assert answer.path == "cube+raw"
        assert answer.table.sort_by("n").equals(session.query(SQL, raw=True).table.sort_by("n"))
        day = session.query(f"SELECT count(*) FROM requests WHERE ts >= '{DAY}' AND ts < '{DAY + timedelta(days=1)}'")
        assert day.path == "raw"
        assert "marked as wrong" in day.notices[0]
        # Those that still differ are not cleared, and marks of an earlier version outlive a repair.
        assert clear_held(settings, duck, CUBE, verify(settings, duck, CUBE)) == []
        then = delta.open_snapshot(settings.lake, tables.trusted("requests")).version
        refresh(settings, duck, CUBE, [DAY])
        assert {one.grain for one in clear_held(settings, duck, CUBE, verify(settings, duck, CUBE))} == set(CUBE.grains)
        assert session.query(SQL, as_of=f"requests@{then}").path == "cube"
        assert session.query(SQL).path == "cube"


def test_what_has_expired_is_never_cleared(made: tuple[Settings, Duck]) -> None:
    settings, duck = made
    mark = Suspect("mark", CUBE.name, CUBE.digest, "1d", DAY, DAY, 1)
    record_suspects(duck, settings.lake, [mark])
    gone = Deletion("trusted", CUBE.fact, 1, "old", segment=str(DAY), proof={"cubes": {CUBE.digest: {}}})
    record_deletions(duck, settings.lake, 1, [gone])
    report = verify(settings, duck, CUBE)
    assert report.holds
    assert clear_held(settings, duck, CUBE, report) == recheck(settings, duck, CUBE, [DAY]) == []
    assert len(active_marks(settings, duck, CUBE)) == 1


def test_the_choice_is_by_seed_and_the_queue_is_short(settings: Settings) -> None:
    def chosen(seed: int, share: int) -> list[int]:
        audit = SelfAudit(replace(settings, selfaudit_permille=share, selfaudit_seed=seed), _never)
        audit._thread = _IDLE
        taken = []
        for number in range(60):
            before = audit.counts.sampled
            audit.offer(lambda: pytest.fail("the queue is full") if len(audit._waiting) >= 16 else _NONE)
            taken += [number] if audit.counts.sampled > before else []
        assert audit.counts.dropped == max(0, len(taken) - 16)
        return taken

    assert chosen(1, 200) == chosen(1, 200) != chosen(2, 200)
    assert (chosen(1, 0), len(chosen(1, 1000))) == ([], 60)


_IDLE: Any = object()
_NONE: Any = object()


def _never(settings: Settings) -> Any:
    pytest.fail(f"no session was wanted of {settings}")


def test_comparisons() -> None:
    one = pa.table({"k": ["a", None], "x": [1.0, 2.0]})
    assert difference(one, one.take([1, 0]), [0.0, 0.0]) == ""
    off = pa.table({"k": [None, "a"], "x": [2.01, 1.0]})
    assert "x is 2.0 by cells, 2.01 by rows" in difference(one, off, [0.0, 0.0])
    assert difference(one, off, [0.0, 0.01]) == ""
    assert difference(one, one.slice(1), [0.0, 0.0]) == "2 rows by cells, 1 by rows"
    assert comparable("SELECT a FROM x ORDER BY 1 LIMIT 3") == "SELECT a FROM x"
    assert comparable("SELECT  a FROM x") == "SELECT  a FROM x"
    assert comparable("SELECT DISTINCT ON (a) b FROM x") is None
    assert comparable("SELECT a FROM (SELECT a FROM x LIMIT 3) AS y") is None
