"""Delta tables: one protocol, pinned snapshots, fenced commits; read back by another client where it matters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from lake.delta import commit, create_table, newest_version, open_snapshot
from lake.duck import Duck
from lake.errors import LakeError
from lake.settings import Settings
from lake.tables import BATCHES, GAPS, LEDGER, QUARANTINE, SEEN, TableRef, landing, lookup, trusted

SEEN_ROWS = (
    "SELECT 'a' AS agent, 'b' AS boot, i AS seq_from, i AS seq_to, 'samples' AS fact, {n} AS batch FROM range(3) t(i)"
)
EVERY_TABLE = [
    *(make(fact) for make in (landing, trusted) for fact in ("samples", "requests", "evaluations", "events")),
    QUARANTINE,
    GAPS,
    BATCHES,
    SEEN,
    LEDGER,
    lookup("hardware"),
]


@pytest.mark.parametrize("ref", EVERY_TABLE, ids=lambda ref: ref.key)
def test_every_table_has_the_frozen_protocol_and_describes_its_columns(tmp_path: Path, ref: TableRef) -> None:
    create_table(tmp_path, ref)
    create_table(tmp_path, ref)
    table = DeltaTable(ref.path(tmp_path))
    protocol = table.protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert not protocol.reader_features
    assert not protocol.writer_features
    assert table.metadata().description == ref.description
    for column in table.schema().fields:
        assert column.metadata.get("comment"), f"{ref.key}.{column.name} has no description"


def test_a_unit_is_in_the_metadata(tmp_path: Path) -> None:
    create_table(tmp_path, trusted("requests"))
    columns = {field.name: field for field in DeltaTable(trusted("requests").path(tmp_path)).schema().fields}
    assert columns["e2e_ms"].metadata["unit"] == "ms"
    assert columns["e2e_ms"].metadata["comment"].endswith("[ms]")


def test_an_absent_table_is_an_empty_snapshot(settings: Settings, duck: Duck) -> None:
    snapshot = open_snapshot(settings.lake, SEEN)
    assert (snapshot.version, snapshot.files, snapshot.exists, snapshot.txn("x")) == (-1, (), False, None)
    assert duck.sql(f"SELECT count(*) FROM {duck.scan(snapshot)}") == [(0,)]


def test_commits_carry_numbers_and_statistics(settings: Settings, duck: Duck) -> None:
    files = duck.write(SEEN_ROWS.format(n=1), settings.lake, SEEN, "one", stats=("batch", "seq_from"))
    snapshot = commit(settings.lake, SEEN, open_snapshot(settings.lake, SEEN), adds=files, txns={"gate": 1, "other": 9})
    assert (snapshot.txn("gate"), snapshot.txn("other"), snapshot.rows) == (1, 9, 3)
    assert snapshot.files[0].minimum == {"batch": 1, "seq_from": 0}
    assert not snapshot.files[0].may_hold("seq_from", at_least=3)
    assert snapshot.files[0].may_hold("seq_from", at_least=2)
    assert snapshot.files[0].may_hold("seq_to", at_least=99), "unknown bounds must never prune"
    # Any Delta client reads it.
    assert DeltaTable(SEEN.path(settings.lake)).to_pyarrow_table().num_rows == 3


@pytest.mark.parametrize("number", [0, 1])
def test_a_repeated_number_is_refused(settings: Settings, duck: Duck, number: int) -> None:
    first = open_snapshot(settings.lake, SEEN)
    files = duck.write(SEEN_ROWS.format(n=1), settings.lake, SEEN, "one")
    commit(settings.lake, SEEN, first, adds=files, txns={"gate": 1})
    again = duck.write(SEEN_ROWS.format(n=2), settings.lake, SEEN, "two")
    for snapshot in (open_snapshot(settings.lake, SEEN), open_snapshot(settings.lake, SEEN, 0)):
        with pytest.raises(LakeError, match="has been committed before"):
            commit(settings.lake, SEEN, snapshot, adds=again, txns={"gate": number})
    assert open_snapshot(settings.lake, SEEN).rows == 3


def test_removing_and_adding_is_one_version(settings: Settings, duck: Duck) -> None:
    files = duck.write(SEEN_ROWS.format(n=1), settings.lake, SEEN, "one")
    before = commit(settings.lake, SEEN, open_snapshot(settings.lake, SEEN), adds=files, txns={"gate": 1})
    files = duck.write(SEEN_ROWS.format(n=2), settings.lake, SEEN, "two")
    after = commit(settings.lake, SEEN, before, adds=files, removes=before.files, txns={"gate": 2})
    assert after.version == before.version + 1
    assert duck.sql(f"SELECT DISTINCT batch FROM {duck.scan(after)}") == [(2,)]
    old = open_snapshot(settings.lake, SEEN, before.version)
    assert duck.sql(f"SELECT DISTINCT batch FROM {duck.scan(old)}") == [(1,)]
    assert newest_version(settings.lake, SEEN, 0) == after.version


RACE = """
import sys
from pathlib import Path
from lake.delta import commit, open_snapshot
from lake.duck import connect
from lake.errors import LakeError
from lake.settings import Settings
from lake.tables import SEEN
lake, name = Path(sys.argv[1]), sys.argv[2]
duck = connect(Settings(lake=lake))
won = 0
for number in range(1, 21):
    sql = f"SELECT 'a' agent, '{name}' boot, {number} seq_from, {number} seq_to, 'samples' fact, {number} batch"
    files = duck.write(sql, lake, SEEN, f"{name}-{number}")
    try:
        commit(lake, SEEN, open_snapshot(lake, SEEN), adds=files, txns={"gate": number})
        won += 1
    except LakeError:
        pass
print(won)
"""


def test_of_two_processes_with_one_number_one_wins(settings: Settings, duck: Duck) -> None:
    commands = [[sys.executable, "-c", RACE, str(settings.lake), name] for name in ("x", "y")]
    racers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    wins = [int(racer.communicate(timeout=60)[0]) for racer in racers]
    rows = duck.sql(
        f"SELECT seq_from, count(*) FROM {duck.scan(open_snapshot(settings.lake, SEEN))} GROUP BY 1 ORDER BY 1"
    )
    assert sum(wins) == len(rows)
    assert all(count == 1 for _, count in rows), "a number was committed twice"


def test_a_table_with_reader_features_is_refused(tmp_path: Path) -> None:
    create_table(tmp_path, SEEN)
    log = SEEN.path(tmp_path) / "_delta_log" / f"{1:020d}.json"
    log.write_text(
        '{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],'
        '"writerFeatures":["deletionVectors"]}}\n'
    )
    with pytest.raises(LakeError, match="needs Delta reader version 3"):
        open_snapshot(tmp_path, SEEN)


def test_a_damaged_log_is_an_error_with_the_place(tmp_path: Path) -> None:
    create_table(tmp_path, SEEN)
    (SEEN.path(tmp_path) / "_delta_log" / f"{0:020d}.json").write_text("{not json")
    with pytest.raises(LakeError, match=r"seen: The table can't be read"):
        open_snapshot(tmp_path, SEEN)
