"""The audit log: no edit goes unseen, writers share one chain, crashes are told, old months go only when covered."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake import audit_chain as log
from lake.audit import Audit, digest_of, note_settings
from lake.audit_chain import event_of
from lake.audit_check import Checkpoint, add_checkpoint, make_checkpoint, read_checkpoints, verify
from lake.audit_keep import copy_log, events, keep, trim
from lake.errors import LakeError
from lake.settings import Settings

_NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def _at(monkeypatch: pytest.MonkeyPatch, *moment: int) -> None:
    for module in ("lake.audit", "lake.audit_chain"):
        monkeypatch.setattr(f"{module}.utc_now", lambda: datetime(*moment, tzinfo=UTC))  # type: ignore[arg-type]


def _written(lake: Path, count: int = 12) -> Path:
    audit = Audit(lake, who="ada", origin="127.0.0.1:5")
    for number in range(count):
        audit.append("query", f"requests {number}", detail={"text": f"SELECT {number}", "rows": number})
    [path] = log.months(lake / log.FOLDER)
    return path


def test_an_event_holds_who_when_where_what_and_result(tmp_path: Path) -> None:
    audit = Audit(tmp_path, who="ada", origin="10.0.0.1:443")
    audit.append("query", "requests", result="42P01", policy="abc", detail={"text": "SELECT\n'ä'", "rows": 3})
    Audit(tmp_path).append("verb", "erase")
    first, second = events(tmp_path)
    assert first | {"at": "", "hash": ""} == {
        "number": 1,
        "at": "",
        "who": "ada",
        "origin": "10.0.0.1:443",
        "operation": "query",
        "resource": "requests",
        "result": "42P01",
        "policy": "abc",
        "detail": {"text": "SELECT\n'ä'", "rows": 3},
        "before": "0" * 64,
        "hash": "",
    }
    assert second["before"] == first["hash"]
    assert second["who"]
    assert second["origin"] == f"pid {os.getpid()}"
    [path] = log.months(tmp_path / log.FOLDER)
    assert len(path.read_bytes().splitlines()) == 2  # one event, one line, whatever a text holds
    assert path.stat().st_mode & 0o777 == 0o600
    assert verify(tmp_path).holds


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lake = tmp_path_factory.mktemp("original")
    _written(lake)
    return lake


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(min_value=0, max_value=10**9))
def test_any_edit_of_the_file_is_found(original: Path, seed: int) -> None:
    rng = random.Random(seed)
    lake = original.parent / f"edited{seed}"
    shutil.copytree(original, lake)
    [path] = log.months(lake / log.FOLDER)
    data = path.read_bytes()
    end = make_checkpoint(lake)
    lines = data.splitlines(keepends=True)
    a, b = sorted(rng.sample(range(len(lines)), 2))
    place = rng.randrange(len(data))
    kinds = {
        "flip a bit": lambda: data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :],
        "drop a byte": lambda: data[:place] + data[place + 1 :],
        "put in a byte": lambda: data[:place] + bytes([rng.randrange(256)]) + data[place:],
        "drop a line": lambda: b"".join(lines[:a] + lines[a + 1 :]),
        "swap two lines": lambda: b"".join([*lines[:a], lines[b], *lines[a + 1 : b], lines[a], *lines[b + 1 :]]),
        "repeat a line": lambda: b"".join([*lines[:b], lines[a], *lines[b:]]),
        "cut the tail": lambda: data[:place],
        "empty it": lambda: b"",
        "write a line anew": lambda: b"".join([*lines[:a], _forged(lines[a]), *lines[a + 1 :]]),
        "write the tail anew": lambda: b"".join(lines[:a] + _forged_tail(lines[a:])),
        "a blank line": lambda: b"".join([*lines[:a], b"\n", *lines[a:]]),
    }
    kind = rng.choice(sorted(kinds))
    made = kinds[kind]()
    path.write_bytes(made)
    # That only the very last end of line is missing says nothing else, and the next event mends it.
    same = made in (data, data[:-1])
    report = verify(lake, [end])
    shutil.rmtree(lake)
    assert report.holds == same, f"seed {seed}: {kind}"


def _forged(line: bytes) -> bytes:
    event = json.loads(line)
    body = {name: value for name, value in event.items() if name not in ("hash", "number", "before")}
    return log.line_of({**body, "who": "nobody"}, event["number"], event["before"])[0] + b"\n"


def _forged_tail(lines: list[bytes]) -> list[bytes]:
    made, before = [], json.loads(lines[0])["before"]
    for line in lines:
        event = json.loads(line)
        body = {name: value for name, value in event.items() if name not in ("hash", "number", "before")}
        text, before = log.line_of({**body, "who": "nobody"}, event["number"], before)
        made.append(text + b"\n")
    return made


def test_problems_name_file_and_line(tmp_path: Path) -> None:
    path = _written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4] + lines[5:]))
    [problem] = verify(tmp_path).problems
    assert problem.startswith(f"_audit/{path.name}:5: line 6 does not go on from line 4")


def test_a_tail_that_was_cut_or_written_anew_is_found_by_a_checkpoint_only(tmp_path: Path) -> None:
    path = _written(tmp_path)
    end = make_checkpoint(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    assert verify(tmp_path).holds
    assert "a tail was cut" in verify(tmp_path, [end]).problems[0]
    path.write_bytes(b"".join(lines[:3] + _forged_tail(lines[3:])))
    assert verify(tmp_path).holds
    assert "is not the one of the checkpoint" in verify(tmp_path, [end]).problems[0]
    shutil.rmtree(tmp_path / log.FOLDER)
    assert "the log is gone" in verify(tmp_path, [end]).problems[0]


def test_a_crash_at_any_byte_leaves_a_chain_that_the_next_event_closes(tmp_path: Path) -> None:
    path = _written(tmp_path, 3)
    data = path.read_bytes()
    first = data.index(b"\n") + 1
    for cut in range(first, len(data)):
        path.write_bytes(data[:cut])
        whole = data[:cut].endswith(b"\n") or data[cut : cut + 1] == b"\n"
        assert verify(tmp_path).holds == whole, cut
        Audit(tmp_path).append("login", "fleet")
        report = verify(tmp_path)
        assert report.holds, (cut, report.problems)
        assert report.torn == (0 if whole else 1)
        # What was torn stays to be read.
        assert path.read_bytes().startswith(data[:cut])


def test_two_crashes_in_a_row_are_closed_as_one(tmp_path: Path) -> None:
    path = _written(tmp_path, 3)
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    torn = path.read_bytes()
    Audit(tmp_path).append("login")
    again = path.read_bytes()
    # Right behind the mark that ends the first it would look like an edit, and is told so: the safe side.
    for cut in range(len(torn) + 2, len(again)):
        path.write_bytes(again[:cut])
        Audit(tmp_path).append("login")
        assert verify(tmp_path).holds, cut


def test_whole_lines_that_are_none_are_told_as_an_edit(tmp_path: Path) -> None:
    path = _written(tmp_path, 5)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4].replace(b'"ada"', b'"eve"'))
    Audit(tmp_path).append("login")
    assert "no crash leaves it so" in verify(tmp_path).problems[0]


def _append_many(lake: Path, who: str, count: int) -> None:
    audit = Audit(lake, who=who)
    for number in range(count):
        audit.append("query", str(number), durable=number % 3 == 0)
    audit.close()


def test_processes_that_write_at_once_keep_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=_append_many, args=(tmp_path, f"w{n}", 40)) for n in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    report = verify(tmp_path)
    assert report.holds, report.problems
    assert report.lines == 120
    for who in ("w0", "w1", "w2"):
        # Of one writer in its own order.
        assert [event["resource"] for event in events(tmp_path) if event["who"] == who] == [str(n) for n in range(40)]


def test_killed_writers_leave_a_chain_that_holds_after_the_next_event(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        process = context.Process(target=_append_many, args=(tmp_path, "victim", 10**6))
        process.start()
        deadline = time.monotonic() + 60
        while not log.months(tmp_path / log.FOLDER) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        Audit(tmp_path).append("login")
        report = verify(tmp_path)
        assert report.holds, report.problems


def test_queries_wait_for_a_second_at_most(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    audit.append("query", "one", durable=False)
    assert not (tmp_path / log.FOLDER).exists()
    deadline = time.monotonic() + 10
    while not log.months(tmp_path / log.FOLDER) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [event["resource"] for event in events(tmp_path)] == ["one"]
    audit.append("query", "two", durable=False)
    audit.append("login", "three")
    assert [event["resource"] for event in events(tmp_path)] == ["one", "two", "three"]
    audit.append("query", "four", durable=False)
    audit.close()
    assert verify(tmp_path).lines == 4


def test_what_cannot_be_written_is_an_error_and_is_not_done(tmp_path: Path) -> None:
    (tmp_path / log.FOLDER).write_text("not a folder")
    audit = Audit(tmp_path)
    audit.append("query", "waits", durable=False)
    with pytest.raises(LakeError, match="audit log can't be written"):
        audit.append("erase", "requests")
    (tmp_path / log.FOLDER).unlink()
    audit.append("login")
    assert [event["operation"] for event in events(tmp_path)] == ["query", "login"]


def test_a_long_text_is_cut_and_says_so(tmp_path: Path) -> None:
    Audit(tmp_path).append("query", detail={"text": "x" * 100_000})
    [event] = events(tmp_path)
    assert event["detail"]["text"].endswith("... (100000 characters)")
    assert len(event["detail"]["text"]) < 9000


def test_a_clock_that_goes_back_moves_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _at(monkeypatch, 2026, 11, 1)
    Audit(tmp_path).append("login")
    _at(monkeypatch, 2026, 10, 31)
    Audit(tmp_path).append("login")
    assert [path.name for path in log.months(tmp_path / log.FOLDER)] == ["2026-11.jsonl"]
    assert verify(tmp_path).holds


def _three_months(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for month in (9, 10, 11):
        _at(monkeypatch, 2026, month, 5)
        for number in range(4):
            Audit(lake).append("login", f"{month}.{number}")


def test_old_months_go_behind_a_checkpoint_and_the_chain_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = tmp_path / "lake"
    _three_months(lake, monkeypatch)
    with pytest.raises(LakeError, match="No checkpoint lies behind line 4"):
        trim(lake, 2, [], now=_NOW)
    end = make_checkpoint(lake)
    assert trim(lake, 2, [end], now=_NOW) == ["2026-09.jsonl"]
    report = verify(lake, [end])
    assert report.holds, report.problems
    assert report.first == 5
    assert report.lines == 9  # two months and the cut itself
    assert trim(lake, 2, [end], now=_NOW) == []
    Audit(lake).append("login")
    assert verify(lake, [end]).holds


def test_months_that_went_without_being_told_are_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = tmp_path / "lake"
    _three_months(lake, monkeypatch)
    last = [event for event in events(lake) if event["at"].startswith("2026-09")][-1]
    (lake / log.FOLDER / "2026-09.jsonl").unlink()
    assert not verify(lake).holds
    (lake / log.FOLDER / log.START).write_text(json.dumps({"number": last["number"], "hash": last["hash"]}))
    assert "no line does" in verify(lake).problems[0]


def test_a_kill_in_the_middle_of_a_cut_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = tmp_path / "lake"
    _three_months(lake, monkeypatch)
    end = make_checkpoint(lake)
    old = (lake / log.FOLDER / "2026-09.jsonl").read_bytes()
    trim(lake, 2, [end], now=_NOW)
    (lake / log.FOLDER / "2026-09.jsonl").write_bytes(old)  # as if it had been killed before this file went
    assert verify(lake, [end]).holds
    assert trim(lake, 2, [end], now=_NOW) == ["2026-09.jsonl"]
    assert verify(lake, [end]).holds


def test_the_settings_keep_a_copy_checkpoints_and_months(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = tmp_path / "lake"
    _three_months(lake, monkeypatch)
    made = Settings(
        lake=lake,
        audit_copy=tmp_path / "copy",
        audit_checkpoints=tmp_path / "elsewhere" / "checkpoints.jsonl",
        audit_keep_months=1,
    )
    monkeypatch.setattr("lake.audit_keep.utc_now", lambda: _NOW)
    assert len(keep(made)) == 3
    assert [path.name for path in log.months(lake / log.FOLDER)] == ["2026-11.jsonl"]
    assert sorted(path.name for path in made.audit_copy.iterdir()) == [f"2026-{m}.jsonl" for m in ("09", "10", "11")]
    known = read_checkpoints(made.audit_checkpoints)
    assert verify(lake, known).holds
    assert keep(made)
    assert len(read_checkpoints(made.audit_checkpoints)) == 2


def test_a_copy_is_never_written_over_by_an_edited_log(tmp_path: Path) -> None:
    path = _written(tmp_path / "lake")
    assert copy_log(tmp_path / "lake", tmp_path / "copy") == 1
    assert copy_log(tmp_path / "lake", tmp_path / "copy") == 0
    Audit(tmp_path / "lake").append("login")
    assert copy_log(tmp_path / "lake", tmp_path / "copy") == 1
    path.write_bytes(path.read_bytes().replace(b"SELECT 3", b"SELECT 4"))
    with pytest.raises(LakeError, match="not a beginning of the audit log"):
        copy_log(tmp_path / "lake", tmp_path / "copy")


def test_no_checkpoint_of_a_log_that_does_not_hold(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="is empty"):
        make_checkpoint(tmp_path)
    path = _written(tmp_path)
    known = make_checkpoint(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"SELECT 3", b"SELECT 4"))
    with pytest.raises(LakeError, match="_audit/"):
        make_checkpoint(tmp_path, known=[known])


def test_checkpoints_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "a" / "checkpoints"
    made = [Checkpoint(1, "ab", "2026-11-01T00:00:00Z"), Checkpoint(2, "cd", "2026-11-02T00:00:00Z")]
    for one in made:
        add_checkpoint(path, one)
    assert read_checkpoints(path) == made
    path.write_text("{}")
    with pytest.raises(LakeError, match="No checkpoints can be read"):
        read_checkpoints(path)


def test_changed_settings_are_an_event_and_the_same_are_none(tmp_path: Path) -> None:
    audit = Audit(tmp_path)
    assert note_settings(audit, {"port": "1", "access": "aa"}) == ["access", "port"]
    assert note_settings(audit, {"port": "1", "access": "aa"}) == []
    assert note_settings(audit, {"port": "2", "access": "aa"}) == ["port"]
    assert [event["detail"] for event in events(tmp_path)][1] == {"port": "1 -> 2"}


def test_a_digest_does_not_change_with_white_space() -> None:
    assert digest_of("SELECT 1\n  FROM requests") == digest_of("SELECT 1 FROM   requests ")
    assert digest_of("SELECT 1") != digest_of("SELECT 2")


@pytest.mark.parametrize(("point", "lines"), [("audit.append.before", 2), ("audit.append.after", 3)])
def test_a_kill_around_a_write_leaves_the_event_whole_or_not_at_all(tmp_path: Path, point: str, lines: int) -> None:
    code = "import sys; from pathlib import Path; from lake.audit import Audit\n"
    code += "for number in range(9): Audit(Path(sys.argv[1])).append('login', str(number))"
    environ = {**os.environ, "FLEETCUBE_FAULT": f"{point}:3"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environ, check=False)
    assert done.returncode == -signal.SIGKILL
    report = verify(tmp_path)
    assert report.holds
    assert report.lines == lines


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"null", b"\xff", b'{"number":1}', b'{"hash":"","number":1}'])
def test_other_bytes_are_no_event(line: bytes) -> None:
    assert event_of(line) is None
