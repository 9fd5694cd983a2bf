"""An object store's promises as the lake uses them, and its errors, against a real server."""

from __future__ import annotations

import multiprocessing
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from s3server import S3Server

from lake.delta import DataFile, commit, create_table, open_snapshot
from lake.duck import connect
from lake.errors import ConfigError, LakeError
from lake.objects import place_of, require_one_winner
from lake.places import address, lake_path
from lake.settings import Settings
from lake.shared import drop_table, files_below, folder_names, has_files, has_table, read_texts
from lake.tables import LEDGER, TableRef, trusted

pytestmark = pytest.mark.s3


@pytest.fixture
def lake(s3: S3Server, tmp_path: Path) -> Path:
    return lake_path(s3.url, tmp_path / "home")


def test_one_of_many_puts_wins(lake: Path) -> None:
    place, won = place_of(lake / "one"), []
    start = threading.Barrier(8)

    def race(name: bytes) -> None:
        start.wait()
        won.append(name if place.put_new(name) else b"")

    racers = [threading.Thread(target=race, args=(bytes([65 + one]),)) for one in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(won)[:-1] == [b""] * 7
    assert place.get() == max(won)
    assert place.put_new(max(won)), "the winner whose answer was lost tries again, and is told that it won"


def test_names_texts_and_sizes(lake: Path) -> None:
    for name in ("cubes/a/d1/x.json", "cubes/a/d2/y.json", "cubes/b/z.parquet"):
        place_of(lake / name).put(name.encode())
    assert folder_names(lake / "cubes") == ["a", "b"]
    assert folder_names(lake / "nothing") == []
    found = [one.path for one in files_below(lake / "cubes", ".json")]
    assert found == [lake / "cubes/a/d1/x.json", lake / "cubes/a/d2/y.json"]
    assert read_texts([*found, lake / "gone"]) == {path: str(path.relative_to(lake)) for path in found}
    assert place_of(found[0]).size() == len("cubes/a/d1/x.json")
    assert (place_of(lake / "gone").size(), place_of(lake / "gone").get()) == (None, None)
    assert (has_files(lake / "cubes"), has_files(lake / "cube")) == (True, False), "no prefix of a name"


def ledger_rows(count: int) -> str:
    return f"""SELECT now() AS at, 'x' AS step, '' AS subject, 'done' AS outcome, range AS rows, 1.0 AS seconds,
        repeat(md5(CAST(range AS VARCHAR)), 8) AS detail FROM range({count})"""


def _racing(lake: str, mine: int, barrier: object, told: object) -> None:
    """Try to be the first with each of 15 numbers."""
    path = Path(lake)
    for number in range(1, 16):
        snapshot = open_snapshot(path, LEDGER)
        barrier.wait()  # type: ignore[attr-defined]
        file = DataFile(f"r{mine}-{number}.parquet", 1, 1, {}, {}, {})
        try:
            commit(path, LEDGER, snapshot, adds=[file], txns={"race": number})
        except LakeError as error:
            if "has been committed before" not in str(error):
                raise
        else:
            told.put(number)  # type: ignore[attr-defined]


def test_racing_commits_of_processes_have_one_winner(lake: Path) -> None:
    create_table(lake, LEDGER)
    spawn = multiprocessing.get_context("spawn")
    barrier, told = spawn.Barrier(3), spawn.Queue()
    racers = [spawn.Process(target=_racing, args=(str(lake), mine, barrier, told)) for mine in range(3)]
    for racer in racers:
        racer.start()
    won = sorted(told.get(timeout=120) for _ in range(15))
    for racer in racers:
        racer.join(120)
        assert racer.exitcode == 0
    assert won == list(range(1, 16)), "each number was committed once"
    snapshot = open_snapshot(lake, LEDGER)
    assert (len(snapshot.files), snapshot.txn("race"), snapshot.version) == (15, 15, 15)


def test_a_table_that_several_make_at_once_is_one_table(lake: Path) -> None:
    failed: list[Exception] = []
    for number in range(5):
        ref = TableRef("made", str(number), "", LEDGER.schema)
        start = threading.Barrier(4)

        def make(ref: TableRef = ref, start: threading.Barrier = start) -> None:
            start.wait()
            try:
                create_table(lake, ref)
            except Exception as error:
                failed.append(error)

        makers = [threading.Thread(target=make) for _ in range(4)]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join()
        # A late maker may have described it once more, which is a version without files.
        snapshot = open_snapshot(lake, ref)
        assert (snapshot.exists, snapshot.files) == (True, ())
        after = commit(lake, ref, snapshot, adds=[DataFile("a.parquet", 1, 1, {}, {}, {})], txns={"n": 1})
        assert (len(after.files), after.txn("n")) == (1, 1)
    assert failed == []


def test_written_files_have_names_of_their_own_and_are_read_in_parts(lake: Path) -> None:
    duck = connect(Settings(lake=lake))
    twice = [duck.write(ledger_rows(300_000), lake, LEDGER, "same") for _ in range(2)]
    names = [file.path for files in twice for file in files]
    assert len(set(names)) == 2
    assert all(name.startswith("same-") for name in names)
    assert twice[0][0].size_bytes > 3 << 20, "more than its tail"
    assert place_of(LEDGER.path(lake) / names[0]).size() == twice[0][0].size_bytes
    commit(lake, LEDGER, open_snapshot(lake, LEDGER), adds=twice[0], txns={})
    scan = duck.scan(open_snapshot(lake, LEDGER))
    [(count, total, whole)] = duck.sql(f"SELECT count(*), sum(rows), count(DISTINCT detail) FROM {scan}")
    assert (count, total, whole) == (300_000, 300_000 * 299_999 // 2, 300_000)


def test_a_table_by_days_and_its_dropping(lake: Path) -> None:
    ref = TableRef("cubes", "c/1", "", trusted("samples").schema, ("day",))
    duck = connect(Settings(lake=lake))
    nulls = ", ".join(f'NULL AS "{name}"' for name in ref.schema.names if name != "day")
    select = f"SELECT {nulls}, DATE '2026-01-01' + CAST(range % 3 AS INTEGER) AS day FROM range(9)"
    files = duck.write(select, lake, ref, "some")
    assert sorted(file.partition["day"] or "" for file in files) == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert not has_table(ref.path(lake))
    commit(lake, ref, open_snapshot(lake, ref), adds=files, txns={"build": 1})
    assert has_table(ref.path(lake))
    assert duck.sql(f"SELECT count(*) FROM {duck.scan(open_snapshot(lake, ref))}") == [(9,)]
    drop_table(ref.path(lake))
    assert open_snapshot(lake, ref).version == -1
    assert list(files_below(ref.path(lake), "")) == []


def test_errors_name_the_place_and_the_step(lake: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    duck = connect(Settings(lake=lake))
    files = duck.write(ledger_rows(9), lake, LEDGER, "nine")
    scan = duck.scan(commit(lake, LEDGER, open_snapshot(lake, LEDGER), adds=files, txns={}))
    other = scan.replace("nine-", "unread-")
    elsewhere = lake_path("s3://no-such-bucket/lake", lake)
    for reach in (lambda: open_snapshot(elsewhere, LEDGER), lambda: create_table(elsewhere, LEDGER),
                  lambda: has_files(elsewhere), lambda: place_of(elsewhere / "x").get()):  # fmt: skip
        with pytest.raises(LakeError, match=r"s3://no-such-bucket/lake.*no bucket 'no-such-bucket'. Make the bucket"):
            reach()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    for reach in (lambda: open_snapshot(lake, LEDGER), lambda: has_files(lake)):
        with pytest.raises(ConfigError, match=r"doesn't accept the credentials\. Check AWS_ACCESS_KEY_ID"):
            reach()
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    for reach in (lambda: open_snapshot(lake, LEDGER), lambda: has_files(lake)):
        with pytest.raises(ConfigError, match="no credentials"):
            reach()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.environ["AWS_SECRET_ACCESS_KEY"])
    s3.stop()
    try:
        for reach in (lambda: open_snapshot(lake, LEDGER), lambda: has_files(lake), lambda: duck.sql(f"FROM {other}"),
                      lambda: duck.write(ledger_rows(9), lake, LEDGER, "x")):  # fmt: skip
            with pytest.raises(LakeError, match=rf"{address(lake)}.*doesn't answer. See that AWS_ENDPOINT_URL"):
                reach()
    finally:
        s3.start()
    assert duck.sql(f"SELECT count(*) FROM {scan}") == [(9,)]


class _Careless(BaseHTTPRequestHandler):
    """A clone of S3 that doesn't know If-None-Match."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._done(200)

    def do_POST(self) -> None:
        keys = re.findall(rb"<Key>.*?</Key>", self.rfile.read(int(self.headers["Content-Length"])))
        gone = b"".join(b"<Deleted>" + key + b"</Deleted>" for key in keys)
        self._done(200, b"<DeleteResult>" + gone + b"</DeleteResult>")

    def _done(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def test_a_store_that_ignores_the_condition_is_refused(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_one_winner(lake)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Careless) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(LakeError, match=r"two writers could both win.*nothing was written"):
            create_table(lake, LEDGER)
        server.shutdown()
