"""Landing: numbered batches, exact totals, and what a crash at any point leaves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion.frames import Frame
from ingestion.inbox import land_inbox
from ingestion.land import Landed, Member, land_batch, landing_select
from ingestion.sample import Record, encode_record
from ingestion.spool import Spool, list_segments
from lake.delta import open_snapshot
from lake.duck import Duck
from lake.errors import LakeError
from lake.intents import read_intents
from lake.lease import lease
from lake.settings import Settings
from lake.tables import landing

ROOT = Path(__file__).parents[2]
MEMBERS = [Member("made by hand", "0")]


def rows(count: int, first: int = 1) -> str:
    columns = {"agent": "'a'", "seq": f"i + {first}", "ts": "'2026-01-01T00:00:00Z'", "received_at": "now()"}
    return landing_select("events", columns, f"range({count}) AS t(i)")


def gap(seq: int, lost: int) -> str:
    columns = {"agent": "'a'", "seq": f"{seq}", "lost": f"{lost}", "problem": "'gap'", "raw": "'why'"}
    return landing_select("events", columns, "(SELECT 1)")


def test_batches_are_numbered_and_totals_grow(settings: Settings, duck: Duck) -> None:
    lake = settings.lake
    first = land_batch(duck, lake, "events", [rows(3), rows(2, 4)], members=MEMBERS)
    second = land_batch(duck, lake, "events", [rows(1, 6), gap(7, 10)], members=MEMBERS, txns={"other": 5})
    assert first == Landed("events", 1, 5, 5, {})
    assert second == Landed("events", 2, 2, 11, {"gap": 1})
    snapshot = open_snapshot(lake, landing("events"))
    assert [snapshot.txn(name) for name in ("land", "received", "other")] == [2, 16, 5]
    assert snapshot.rows == 7
    found = duck.sql(
        f"SELECT landed, count(*), min(idx), min(reading) FROM {duck.scan(snapshot)} GROUP BY 1 ORDER BY 1"
    )
    assert found == [(1, 5, 0, "{}"), (2, 2, 0, "{}")]


def test_no_rows_are_no_batch(settings: Settings, duck: Duck) -> None:
    assert land_batch(duck, settings.lake, "events", [rows(0)], members=MEMBERS) is None
    assert not open_snapshot(settings.lake, landing("events")).exists
    assert read_intents(settings.lake, "land") == {}


def test_a_member_number_lands_once(settings: Settings, duck: Duck) -> None:
    land_batch(duck, settings.lake, "events", [rows(1)], members=MEMBERS, txns={"file:x": 1})
    with pytest.raises(LakeError, match="file:x"):
        land_batch(duck, settings.lake, "events", [rows(1)], members=MEMBERS, txns={"file:x": 1})
    assert open_snapshot(settings.lake, landing("events")).rows == 1


def test_a_held_lease_is_told(settings: Settings, duck: Duck) -> None:
    with lease(settings.lake, "landing/events"), pytest.raises(LakeError, match="Another process"):
        land_batch(duck, settings.lake, "events", [rows(1)], members=MEMBERS)


def test_a_batch_that_failed_leaves_its_number_and_no_files(settings: Settings, duck: Duck) -> None:
    def breaks() -> Iterator[str]:
        yield rows(2)
        raise OSError("the source went away")

    with pytest.raises(OSError, match="went away"):
        land_batch(duck, settings.lake, "events", breaks(), members=MEMBERS)
    folder = landing("events").path(settings.lake)
    assert len(list(folder.glob("*.parquet"))) == 1
    landed = land_batch(duck, settings.lake, "events", [rows(3)], members=MEMBERS)
    assert landed is not None
    assert (landed.batch, landed.rows) == (1, 3)
    assert len(list(folder.glob("*.parquet"))) == 1


def journal_of(folder: Path) -> Path:
    """A journal of two segments: samples and events, a gap, an unknown column, an unreadable and a malformed frame."""
    spool = Spool(folder)
    row = {"ts": "2026-01-01T00:00:00Z", "metric": "cpu.utilization", "value": "0.5"}
    records = [Record("h1", "b", seq, "samples", "t", (row, {**row, "value": "0.6"})) for seq in (1, 2)]
    records += [Record("h1", "b", 3, "samples", "t", ({**row, "colour": "red"},))]
    records += [Record("h1", "b", 4, "samples", "t", lost=5, reason="dropped")]
    records += [Record("h1", "e", 1, "events", "t", ({"ts": row["ts"], "kind": "state", "text": "nul \0 inside"},))]
    frames = [_frame(record) for record in records]
    spool.append(frames[:3])
    spool.seal()
    spool.append([*frames[3:], Frame("h1", "b", 9, "samples", 5, b"not { json", "malformed")])
    spool.append([Frame("h1", "b", 10, "no such fact", 6, b"{}")])
    spool.close()
    return folder


def _frame(record: Record) -> Frame:
    return Frame(record.agent, record.boot, record.seq, record.fact, 1_700_000_000_000_000, encode_record(record))


EXPECTED = {"samples": (8, 12), "events": (1, 1)}


def totals(settings: Settings) -> dict[str, tuple[int, int | None]]:
    found = {fact: open_snapshot(settings.lake, landing(fact)) for fact in EXPECTED}
    return {fact: (snapshot.rows, snapshot.txn("received")) for fact, snapshot in found.items()}


def test_the_inbox_lands_everything_and_is_empty_then(settings: Settings, duck: Duck, tmp_path: Path) -> None:
    journal = journal_of(tmp_path / "journal")
    landed = land_inbox(duck, settings.lake, journal)
    assert {batch.fact: (batch.rows, batch.received) for batch in landed} == EXPECTED
    assert list_segments(journal) == ()
    assert land_inbox(duck, settings.lake, journal) == []
    samples = duck.scan(open_snapshot(settings.lake, landing("samples")))
    found = duck.sql(
        f"SELECT seq, idx, problem, raw, lost, value, epoch_us(received_at) FROM {samples} ORDER BY seq, idx"
    )
    at = 1_700_000_000_000_000
    assert found[:4] == [(seq, idx, None, None, 1, f"0.{5 + idx}", at) for seq in (1, 2) for idx in (0, 1)]
    assert found[4][:3] == (3, 0, "unknown_column")
    assert '"colour": "red"' in found[4][3]
    assert found[5][:5] == (4, 0, "gap", "dropped", 5)
    assert found[6][:4] == (9, 0, "malformed", "not { json")
    assert found[7][:4] == (10, 0, "malformed", "{}")
    assert totals(settings) == EXPECTED


CRASH = """
import sys
from pathlib import Path
from ingestion.frames import Frame
from ingestion.inbox import land_inbox
from lake.duck import connect
from lake.settings import Settings
lake = Path(sys.argv[1])
land_inbox(connect(Settings(lake=lake, threads=1)), lake, Path(sys.argv[2]))
"""


@pytest.mark.parametrize(
    "point",
    [
        "lander.intent.after",
        "lander.parquet.after:2",
        "lander.commit.before:2",
        "lander.commit.after",
        "lander.drop.before",
    ],
)
def test_a_killed_lander_lands_once(settings: Settings, duck: Duck, tmp_path: Path, point: str) -> None:
    journal = journal_of(tmp_path / "journal")
    command = [sys.executable, "-c", CRASH, str(settings.lake), str(journal)]
    environ = {"FLEETCUBE_FAULT": point, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=environ, cwd=ROOT, check=False).returncode == -9
    # Somebody else's batch may take the number that the killed one had in mind.
    other = land_batch(duck, settings.lake, "events", [rows(1)], members=MEMBERS)
    assert other is not None
    land_inbox(duck, settings.lake, journal)
    assert totals(settings) == EXPECTED | {"events": (2, 2)}
    assert list_segments(journal) == ()
    assert read_intents(settings.lake, "inbox") == read_intents(settings.lake, "land") == {}
    for fact in EXPECTED:
        snapshot = open_snapshot(settings.lake, landing(fact))
        assert sorted(map(str, snapshot.root.glob("*.parquet"))) == snapshot.paths()
