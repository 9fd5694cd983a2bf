"""A spool: a bounded folder of crash-safe segment files, written by one process and emptied by another or by itself.

    <folder>/.lock                              held by the writer; a second writer is told who holds it
    <folder>/<started µs>-<random>.open         being written; nobody else reads it
    <folder>/<started µs>-<random>-<count>.seg  sealed: never written again, read by anybody, deleted when acknowledged
    <folder>/<...>.dropped                      being dropped by policy, until its gap is written down
    <folder>/refused/                           what a receiver will never take, kept for a person

`append` returns when its frames are on the disk (fsync of file and folder). After a failed write or fsync the kernel
may have thrown the pages away, so the file is never touched again: the next append begins a new one. The agent's outbox
and the receiver's journal are both spools; the lander reads the journal with `list_segments`, `read_segment` and
`drop_segment`, and `seal_abandoned` seals what a receiver that died has left open.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from ingestion.durable import disk_trouble, lock_folder, sync_folder, write_all, write_file
from ingestion.frames import Frame, Gap, count_frames, encode_footer, encode_frame, read_frames
from ingestion.sample import Record, decode_record, encode_record, time_text
from lake.errors import TransportError
from lake.faults import faultpoint

_MIB = 1024 * 1024


class SpoolFull(TransportError):
    """The spool has reached its bound and its policy is to block: nothing was written."""


@dataclass
class _Open:
    """The segment being written."""

    path: Path
    file: int
    started_s: float
    bytes: int = 0
    frames: list[Frame] = field(default_factory=list)  # without payloads


def list_segments(folder: Path) -> tuple[Path, ...]:
    """The sealed segments of a spool's folder, oldest first; none if the folder does not exist."""
    return tuple(sorted(folder.glob("*.seg")))


def read_segment(segment: Path) -> Iterator[Frame | Gap]:
    """The frames of a sealed segment in order, then the gaps that damage has left in it.

    Damage is never an exception; TransportError means that the file itself could not be read.
    """
    try:
        data = segment.read_bytes()
    except OSError as error:
        todo = "Check the disk; the segment is tried again."
        raise TransportError(f"Can't read the segment: {error.strerror}.", where=str(segment), todo=todo) from error
    yield from read_frames(data, where=segment.name, count=_count_of(segment))


def drop_segment(segment: Path) -> None:
    """Delete an acknowledged segment; one that is already gone is no error."""
    segment.unlink(missing_ok=True)


def seal_abandoned(folder: Path) -> int:
    """Seal what a dead writer left open, and return how many segments that were; 0 while a writer lives."""
    if not any(folder.glob("*.open")):
        return 0
    try:
        lock = lock_folder(folder)
    except TransportError:
        return 0
    try:
        return len([_seal_left_open(path) for path in sorted(folder.glob("*.open"))])
    finally:
        os.close(lock)


class Spool:
    """The writer's side of a spool; its methods may be called from several threads.

    `policy` says what a full spool does: 'block' refuses (`SpoolFull`), 'drop_oldest' deletes the oldest sealed segment
    after writing down, as gap records, which sequence numbers went with it. `lost` counts the records dropped so.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 256 * _MIB,
        policy: Literal["block", "drop_oldest"] = "block",
        roll_bytes: int = 8 * _MIB,
        deflate: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the folder (made if missing) and seal what a crash left open; TransportError if it is in use."""
        self.folder, self.max_bytes, self.policy = folder, max_bytes, policy
        self.lost = 0
        self._roll_bytes, self._deflate, self._clock = roll_bytes, deflate, clock
        self._guard = threading.RLock()
        self._open: _Open | None = None
        self._held: Path | None = None
        self._abandoned: list[tuple[Path, int]] = []
        try:
            (folder / "refused").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_trouble("make the spool's folder", folder, error) from error
        self._lock = lock_folder(folder)
        for path in sorted(folder.glob("*.open")):
            _seal_left_open(path)
        self._bytes = self._measure()
        for path in sorted(folder.glob("*.dropped")):
            self._declare(path)

    def append(self, frames: Sequence[Frame]) -> None:
        """Write `frames` and return when they are durable.

        SpoolFull: nothing was written, try again when something was acknowledged. TransportError: the disk failed;
        some of `frames` may be on it, so append the same ones again (their identity makes a copy harmless).
        """
        data = b"".join(encode_frame(frame, deflate=self._deflate) for frame in frames)
        with self._guard:
            self._require_open()
            self._make_room(len(data))
            self._write(data, frames)

    def seal(self, *, older_than_s: float = 0.0) -> Path | None:
        """Close the open segment if it was begun at least `older_than_s` ago, so that it can be read; its new path."""
        with self._guard:
            self._retry_abandoned()
            current = self._open
            if current is None or self._clock() - current.started_s < older_than_s:
                return None
            faultpoint("spool.roll.before")
            return self._seal(current)

    def take(self) -> Path | None:
        """The oldest sealed segment, kept from being dropped by policy until `drop` or the next `take`."""
        with self._guard:
            self._held = next(iter(self.segments()), None)
            return self._held

    def segments(self) -> tuple[Path, ...]:
        """The sealed segments, oldest first."""
        return list_segments(self.folder)

    def read(self, segment: Path) -> Iterator[Frame | Gap]:
        """As `read_segment`."""
        return read_segment(segment)

    def drop(self, segment: Path) -> None:
        """Delete an acknowledged segment."""
        with self._guard:
            drop_segment(segment)
            self._held = None if self._held == segment else self._held
            self._bytes = self._measure()

    def put_aside(self, name: str, lines: Sequence[bytes], reason: str) -> Path:
        """Keep lines that will never be accepted in `refused/`, durably, the reason beside them; the file's path."""
        path = self.folder / "refused" / f"{name}-{os.urandom(4).hex()}.ndjson"
        try:
            write_file(path.with_suffix(".reason"), reason.encode())
            write_file(path, b"\n".join(lines) + b"\n")
        except OSError as error:
            raise disk_trouble("keep refused records", path, error) from error
        with self._guard:
            self._bytes = self._measure()
        return path

    def usage(self) -> tuple[int, float]:
        """Bytes in the folder, and the age in seconds of the oldest segment (0.0 if there is none)."""
        with self._guard:
            self._bytes = self._measure()
            started = [int(path.name.split("-")[0]) / 1e6 for path in self.segments()[:1]]
            started += [self._open.started_s] if self._open else []
            return self._bytes, max(self._clock() - min(started), 0.0) if started else 0.0

    def close(self) -> None:
        """Seal, and give the folder up. A second call does nothing."""
        with self._guard:
            if self._lock != -1:
                try:
                    self.seal()
                finally:
                    os.close(self._lock)
                    self._lock = -1

    def _require_open(self) -> None:
        if self._lock == -1:
            raise TransportError("The spool is closed.", where=str(self.folder), todo="Open it again.")

    def _write(self, data: bytes, frames: Sequence[Frame]) -> None:
        self._retry_abandoned()
        current = self._open or self._begin()
        done = False
        try:
            write_all(current.file, data)
            os.fsync(current.file)
            done = True
        except OSError as error:
            raise disk_trouble("write to the spool", current.path, error) from error
        finally:
            if not done:  # whatever ended the write: this file is never written again
                self._abandon(current)
        current.bytes += len(data)
        current.frames.extend(replace(frame, payload=b"") for frame in frames)
        self._bytes += len(data)
        if current.bytes >= self._roll_bytes:
            self.seal()

    def _begin(self) -> _Open:
        started_s = self._clock()
        # Unique for ever, also when a clock steps back: a lander remembers segments by name.
        path = self.folder / f"{int(started_s * 1e6):020d}-{os.urandom(4).hex()}.open"
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            raise disk_trouble("begin a segment", path, error) from error
        self._open = _Open(path, file, started_s)
        try:
            sync_folder(self.folder)
        except OSError as error:
            self._abandon(self._open)
            raise disk_trouble("begin a segment", path, error) from error
        return self._open

    def _seal(self, current: _Open) -> Path | None:
        try:
            write_all(current.file, encode_footer(current.frames, int(self._clock() * 1e6)))
            os.fsync(current.file)
        except OSError:
            self._abandon(current)  # sealed without a footer: its frames were durable before
            return None
        os.close(current.file)
        self._open = None
        return self._rename(current.path, len(current.frames))

    def _abandon(self, current: _Open) -> None:
        """Give up a file after a failure: what was durable in it before is kept and sealed."""
        with contextlib.suppress(OSError):  # its data were synced before, or are reported as not written
            os.close(current.file)
        self._open = None
        self._rename(current.path, len(current.frames))

    def _rename(self, path: Path, count: int) -> Path | None:
        """Publish a finished file; one that can't be renamed now is tried again at the next write or seal."""
        try:
            sealed = _publish(path, count)
            self._bytes = self._measure()
        except OSError:
            self._abandoned.append((path, count))
            return None
        return sealed

    def _retry_abandoned(self) -> None:
        waiting, self._abandoned = self._abandoned, []
        for path, count in waiting:
            self._rename(path, count)

    def _make_room(self, need: int) -> None:
        if self._bytes + need <= self.max_bytes:
            return
        self._bytes = self._measure()  # another process may have emptied it
        for _ in range(len(self.segments()) + 2 if self.policy == "drop_oldest" else 0):
            if self._bytes + need <= self.max_bytes or not self._drop_oldest():
                break
        if self._bytes + need > self.max_bytes:
            raise SpoolFull(
                f"The spool is full: {self._bytes} of {self.max_bytes} bytes.",
                where=str(self.folder),
                todo="Let its reader catch up (is the receiver reachable? look into 'refused'), or allow it more.",
            )

    def _drop_oldest(self) -> bool:
        unfinished = next(self.folder.glob("*.dropped"), None)
        if unfinished is not None:
            self._declare(unfinished)
            return True
        victim = next((path for path in self.segments() if path != self._held), None)
        if victim is None:
            return self.seal() is not None
        try:
            dropped = victim.rename(victim.with_suffix(".dropped"))  # from here on it is not sent any more
        except OSError as error:
            raise disk_trouble("drop the oldest segment", victim, error) from error
        self._declare(dropped)
        return True

    def _declare(self, dropped: Path) -> None:
        """Write down as gaps what a dropped segment held, then delete it; in this order, so no loss is silent."""
        gaps = list(_all_as_gaps(dropped))
        frames = [_gap_frame(gap, self._clock()) for gap in gaps if gap.agent]
        if frames:
            self._write(b"".join(encode_frame(frame, deflate=self._deflate) for frame in frames), frames)
        self.lost += sum(gap.seq_to - gap.seq_from + 1 for gap in gaps)
        dropped.unlink(missing_ok=True)
        self._bytes = self._measure()

    def _measure(self) -> int:
        total = 0
        for folder in (self.folder, self.folder / "refused"):
            with os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(FileNotFoundError):  # deleted by the reader meanwhile
                        total += entry.stat().st_size if entry.is_file() else 0
        return total


def _publish(path: Path, count: int) -> Path:
    sealed = path.with_name(f"{path.stem}-{count}.seg")
    path.rename(sealed)
    sync_folder(path.parent)
    return sealed


def _seal_left_open(path: Path) -> Path:
    """Seal the file of a writer that died; a torn end in it was never promised to anybody and stays uncounted."""
    try:
        return _publish(path, count_frames(path.read_bytes()))
    except OSError as error:
        raise disk_trouble("seal what a crash left open", path, error) from error


def _count_of(segment: Path) -> int | None:
    parts = segment.stem.split("-")
    return int(parts[2]) if len(parts) == 3 and parts[2].isdigit() else None


def _all_as_gaps(segment: Path) -> Iterator[Gap]:
    """What a segment holds or has lost, as runs of sequence numbers."""
    run: Gap | None = None
    gaps = [item if isinstance(item, Gap) else _as_gap(item) for item in read_segment(segment)]
    for gap in sorted(gaps, key=lambda gap: (_source(gap), gap.seq_from)):
        if run is not None and run.seq_to + 1 == gap.seq_from and _source(run) == _source(gap):
            run = replace(run, seq_to=gap.seq_to)
            continue
        if run is not None:
            yield run
        run = gap
    if run is not None:
        yield run


def _source(gap: Gap) -> tuple[str, str, str, str]:
    return gap.agent, gap.boot, gap.fact, gap.reason


def _as_gap(frame: Frame) -> Gap:
    lost, reason = 1, "dropped: the spool was full"
    if frame.kind == "gap":
        record = decode_record(frame.payload)
        lost, reason = record.lost, record.reason
    return Gap(frame.agent, frame.boot, frame.fact, frame.seq, frame.seq + lost - 1, reason, frame.at_us)


def _gap_frame(gap: Gap, now_s: float) -> Frame:
    """The frame that declares `gap`; its identity is the first lost number, so that declaring it twice is harmless."""
    sent_at, lost = time_text(datetime.fromtimestamp(now_s, UTC)), gap.seq_to - gap.seq_from + 1
    record = Record(gap.agent, gap.boot, gap.seq_from, gap.fact, sent_at, lost=lost, reason=gap.reason)
    payload = encode_record(record)
    return Frame(gap.agent, gap.boot, gap.seq_from, gap.fact, int(now_s * 1e6), payload, "gap")
