"""The spool: what it promises under crashes, damage and full disks."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.frames import Frame, Gap, count_frames, read_frames
from ingestion.sample import Record, decode_record, encode_record
from ingestion.spool import Spool, SpoolFull, list_segments, read_segment, seal_abandoned
from lake.errors import TransportError

ROOT = Path(__file__).parents[2]


def _frame(seq: int, *, agent: str = "a", size: int = 20) -> Frame:
    row = {"metric": "cpu.utilization", "value": "x" * size}
    return Frame(
        agent, "boot1", seq, "samples", seq, encode_record(Record(agent, "boot1", seq, "samples", "t", (row,)))
    )


def _split(items: Iterable[Frame | Gap]) -> tuple[list[Frame], list[Gap]]:
    listed = list(items)
    return [x for x in listed if isinstance(x, Frame)], [x for x in listed if isinstance(x, Gap)]


def _numbers(gaps: Iterable[Gap]) -> list[int]:
    return [seq for gap in gaps for seq in range(gap.seq_from, gap.seq_to + 1)]


def _sealed(folder: Path, count: int = 3, *, deflate: bool = False) -> Path:
    with_spool = Spool(folder, deflate=deflate)
    with_spool.append([_frame(seq) for seq in range(1, count + 1)])
    with_spool.close()
    return list_segments(folder)[0]


@pytest.mark.parametrize("deflate", [False, True])
def test_what_is_appended_is_read_back(tmp_path: Path, deflate: bool) -> None:
    spool = Spool(tmp_path, deflate=deflate)
    spool.append([_frame(1), _frame(2)])
    spool.append([_frame(3, agent="b")])
    assert spool.segments() == ()  # nothing is readable before it is sealed
    sealed = spool.seal()
    assert sealed is not None
    assert spool.segments() == (sealed,)
    assert list(spool.read(sealed)) == [_frame(1), _frame(2), _frame(3, agent="b")]
    spool.drop(sealed)
    assert spool.segments() == ()
    assert spool.seal() is None
    spool.close()


def test_segments_roll_at_a_size_and_at_an_age(tmp_path: Path) -> None:
    now = [1000.0]
    spool = Spool(tmp_path, roll_bytes=600, clock=lambda: now[0])
    for seq in range(1, 7):
        spool.append([_frame(seq)])
    assert len(spool.segments()) == 2
    spool.append([_frame(7)])
    assert spool.seal(older_than_s=5) is None
    now[0] += 5
    assert spool.usage()[1] == 5.0
    assert spool.seal(older_than_s=5) is not None
    frames, gaps = _split(item for path in spool.segments() for item in spool.read(path))
    assert (sorted(frame.seq for frame in frames), gaps) == ([1, 2, 3, 4, 5, 6, 7], [])
    spool.close()


def test_a_second_writer_is_told_who_holds_the_spool(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    script = f"from pathlib import Path; from ingestion.spool import Spool; Spool(Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"in use by process {os.getpid()}." in done.stderr
    spool.close()
    Spool(tmp_path).close()


@pytest.mark.parametrize("deflate", [False, True])
def test_one_damaged_byte_costs_at_most_its_record_and_is_reported(tmp_path: Path, deflate: bool) -> None:
    segment = _sealed(tmp_path, deflate=deflate)
    whole = segment.read_bytes()
    for at in range(len(whole)):
        damaged = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        frames, gaps = _split(read_frames(damaged, where="x", count=3))
        assert all(frame == _frame(frame.seq) for frame in frames)
        assert len(gaps) <= 1
        assert sorted([frame.seq for frame in frames] + _numbers(gaps)) == [1, 2, 3], at


def test_a_truncated_segment_names_what_is_gone(tmp_path: Path) -> None:
    segment = _sealed(tmp_path)
    whole = segment.read_bytes()
    for size in range(len(whole)):
        frames, gaps = _split(read_frames(whole[:size], where="x", count=3))
        assert [frame.seq for frame in frames] == list(range(1, len(frames) + 1))
        if frames:
            assert [frame.seq for frame in frames] + _numbers(gaps) == [1, 2, 3], size
        else:
            assert sum(gap.seq_to - gap.seq_from + 1 for gap in gaps) == 3, size


def test_a_zeroed_page_anywhere_is_reported_by_number(tmp_path: Path) -> None:
    segment = _sealed(tmp_path, count=12)
    whole = segment.read_bytes()
    for at in range(0, len(whole), 7):
        zeroed = (whole[:at] + bytes(512) + whole[at + 512 :])[: len(whole)]
        frames, gaps = _split(read_frames(zeroed, where="x", count=12))
        assert sorted([frame.seq for frame in frames] + _numbers(gaps)) == list(range(1, 13)), at
        assert len(frames) >= 12 - 4, at


def test_a_torn_end_is_cut_and_is_no_gap(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "first")
    spool.append([_frame(1), _frame(2)])
    left_open = next((tmp_path / "first").glob("*.open"))
    whole, first = left_open.read_bytes(), len(left_open.read_bytes()) // 2
    for size in range(len(whole)):
        frames, gaps = _split(read_frames(whole[:size], where="x"))
        assert ([frame.seq for frame in frames], gaps) == ([1, 2][: count_frames(whole[:size])], []), size
    for size in range(0, len(whole) + 1, 23):
        folder = tmp_path / f"cut{size}"
        folder.mkdir()
        (folder / left_open.name).write_bytes(whole[:size])
        again = Spool(folder)
        frames, gaps = _split(item for path in again.segments() for item in again.read(path))
        assert gaps == []
        assert [frame.seq for frame in frames] == [1, 2][: len(frames)]
        assert len(frames) >= size // first
        again.close()
    spool.close()


def test_damage_within_what_a_crash_left_open_is_a_gap(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([_frame(1), _frame(2), _frame(3)])
    left_open = next(tmp_path.glob("*.open"))
    whole = left_open.read_bytes()
    os.close(spool._lock)  # as the kernel does when a process dies
    third = len(whole) // 3
    left_open.write_bytes(whole[: third + 4] + bytes(third) + whole[2 * third + 4 :])
    assert seal_abandoned(tmp_path) == 1
    assert seal_abandoned(tmp_path) == 0
    frames, gaps = _split(read_segment(list_segments(tmp_path)[0]))
    assert [frame.seq for frame in frames] == [1, 3]
    assert _numbers(gaps) == [2]


def test_what_a_living_writer_has_open_is_left_alone(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append([_frame(1)])
    assert seal_abandoned(tmp_path) == 0
    assert list_segments(tmp_path) == ()
    spool.close()
    assert seal_abandoned(tmp_path / "missing") == 0


@pytest.mark.parametrize("call", ["write", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_after_a_failed_write_a_new_segment_is_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    real = getattr(os, call)
    for failing in range(1, 10):
        calls = [0]

        def broken(*arguments: object, failing: int = failing, calls: list[int] = calls) -> object:
            calls[0] += 1
            if calls[0] == failing:
                raise OSError(code, os.strerror(code))
            return real(*arguments)

        spool = Spool(tmp_path / f"{failing}")
        monkeypatch.setattr(os, call, broken)
        acknowledged, said = [], list[str]()
        for seq in range(1, 7):
            try:
                spool.append([_frame(seq)])
                acknowledged.append(seq)
            except TransportError as error:
                said.append(str(error))
            if seq % 2 == 0:
                spool.seal()
        spool.close()
        monkeypatch.undo()
        frames, gaps = _split(item for path in spool.segments() for item in read_segment(path))
        assert all(os.strerror(code) in text for text in said)
        assert set(acknowledged) <= {frame.seq for frame in frames}
        assert gaps == []
        assert not list((tmp_path / f"{failing}").glob("*.open"))


def test_a_full_spool_blocks(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=1500)
    written = 1500 // 300
    for seq in range(1, written):
        spool.append([_frame(seq)])
    with pytest.raises(SpoolFull, match=r"The spool is full: \d+ of 1500 bytes"):
        spool.append([_frame(written, size=600)])
    sealed = spool.seal()
    assert sealed is not None
    spool.drop(sealed)
    spool.append([_frame(written)])
    assert spool.usage()[0] < 1500
    spool.close()


def test_dropping_the_oldest_is_declared(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=20000, roll_bytes=4000, policy="drop_oldest")
    for seq in range(1, 81):
        spool.append([_frame(seq, size=400)])
        assert spool.usage()[0] <= 20000
    spool.close()
    frames, gaps = _split(item for path in spool.segments() for item in spool.read(path))
    kept = {frame.seq for frame in frames if frame.kind == "record"}
    declared = [decode_record(frame.payload) for frame in frames if frame.kind == "gap"]
    dropped = {seq for record in declared for seq in range(record.seq, record.seq + record.lost)}
    assert gaps == []
    assert kept | dropped == set(range(1, 81))
    assert kept & dropped == set()
    assert spool.lost >= len(dropped) > 0
    assert all(record.reason == "dropped: the spool was full" for record in declared)


def test_the_segment_in_flight_is_not_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=20000, roll_bytes=4000, policy="drop_oldest")
    for seq in range(1, 9):
        spool.append([_frame(seq, size=400)])
    held = spool.take()
    assert held is not None
    for seq in range(9, 60):
        spool.append([_frame(seq, size=400)])
    assert held in spool.segments()
    spool.close()


def test_a_drop_that_was_interrupted_is_declared_at_the_next_start(tmp_path: Path) -> None:
    segment = _sealed(tmp_path)
    segment.rename(segment.with_suffix(".dropped"))
    spool = Spool(tmp_path)
    spool.close()
    frames, _ = _split(item for path in spool.segments() for item in spool.read(path))
    assert [(frame.kind, decode_record(frame.payload).lost) for frame in frames] == [("gap", 3)]
    assert not list(tmp_path.glob("*.dropped"))


def test_what_is_refused_is_kept_with_its_reason(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    path = spool.put_aside("x", [b"one", b"two"], "400: no")
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.with_suffix(".reason").read_text() == "400: no"
    assert path.stat().st_mode & 0o077 == 0
    assert spool.usage()[0] >= 8
    spool.close()
    with pytest.raises(TransportError, match="closed"):
        spool.append([_frame(1)])


def test_a_marker_in_a_payload_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    with pytest.raises(TransportError, match="marker"):
        spool.append([Frame("a", "b", 1, "samples", 0, bytes.fromhex("fff8fb9de5a1c8fe"))])
    spool.close()


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12),
    crash_after=st.integers(0, 12),
    seed=st.integers(0, 2**32 - 1),
    deflate=st.booleans(),
)
def test_any_write_crash_and_damage(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], crash_after: int, seed: int, deflate: bool
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    chance = random.Random(seed)
    spool = Spool(folder, deflate=deflate, roll_bytes=600)
    written = [_frame(seq, size=size) for seq, size in enumerate(sizes, start=1)]
    for frame in written[:crash_after]:
        spool.append([frame])
    os.close(spool._lock)  # a crash: nothing is sealed or closed in order
    spool = Spool(folder, deflate=deflate, roll_bytes=600)
    for frame in written[crash_after:]:
        spool.append([frame])
    spool.close()
    for segment in spool.segments():
        data = bytearray(segment.read_bytes())
        at = chance.randrange(len(data))
        length = min(chance.choice([0, 1, 2, 40]), len(data) - at)
        data[at : at + length] = chance.randbytes(length)
        segment.write_bytes(bytes(data))
    frames, gaps = _split(item for segment in spool.segments() for item in spool.read(segment))
    by_seq = {frame.seq: frame for frame in written}
    assert all(frame == by_seq[frame.seq] for frame in frames)
    named = [gap for gap in gaps if gap.agent]
    unnamed = sum(gap.seq_to for gap in gaps if not gap.agent)
    found = sorted([frame.seq for frame in frames] + _numbers(named))
    assert len(found) == len(set(found))
    assert len(found) + unnamed == len(written)
