"""The chain of the audit log on disk: a file a month, a line an event, each line bound to the one before it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lake.errors import LakeError
from lake.faults import faultpoint
from lake.intents import sync_folder
from lake.times import iso, utc_now

FOLDER: Final = "_audit"
START: Final = "start.json"
TORN: Final = "audit.torn"
TRIM: Final = "audit.trim"
EDITED: Final = "edited"
_ROOT: Final = "0" * 64
_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}\.jsonl")
_TAIL_BYTES: Final = 1 << 16


@contextmanager
def locked(folder: Path, *, shared: bool = False) -> Iterator[None]:
    """Keep writers of the log (or, `shared`, keep changes) away."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def months(folder: Path) -> list[Path]:
    """The log's files, oldest first."""
    return sorted(path for path in folder.glob("*.jsonl") if _MONTH.fullmatch(path.name))


def start_of(folder: Path) -> tuple[int, str]:
    """Number and hash of the last line that retention took away; (0, zeros) where the log is whole."""
    path = folder / START
    if not path.exists():
        return 0, _ROOT
    held = json.loads(path.read_text(encoding="utf-8"))
    return int(held["number"]), str(held["hash"])


def line_of(event: Mapping[str, Any], number: int, before: str) -> tuple[bytes, str]:
    """An event's line without its end, and its hash."""
    body = {**event, "number": number, "before": before}
    found = hashlib.sha256(_canonical(body)).hexdigest()
    return _canonical({**body, "hash": found}), found


def event_of(line: bytes) -> dict[str, Any] | None:
    """The event of a line that is as it was written, hash and all; None for any other bytes."""
    try:
        event = json.loads(line)
        if not isinstance(event, dict) or _canonical(event) != line:
            return None
        body = {name: value for name, value in event.items() if name != "hash"}
        whole = event["hash"] == hashlib.sha256(_canonical(body)).hexdigest()
        return event if whole and isinstance(event["number"], int) and isinstance(event["before"], str) else None
    except (ValueError, KeyError, RecursionError):
        return None


def append_events(folder: Path, events: list[dict[str, Any]]) -> None:
    """Put events at the end of the chain, in one write; a torn last line is closed and told of first."""
    try:
        with locked(folder):
            path, number, before, torn = _end(folder)
            lines = []
            if torn:
                events = [_told(path, torn, events[0]["who"]), *events]
            for event in events:
                number += 1
                line, before = line_of(event, number, before)
                lines.append(line + b"\n")
            _put(path, b"".join(lines))
    except OSError as error:
        todo = "Make room, or correct its permissions; nothing is done that can't be put on record."
        raise LakeError(f"The audit log can't be written: {error.strerror}.", where=str(folder), todo=todo) from error


def _told(path: Path, torn: bytes, who: str) -> dict[str, Any]:
    """The event that tells of bytes after the last good line; no crash leaves a line that is ended, only an edit."""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        edited = file.read() == b"\n"
    return {
        "at": iso(utc_now()),
        "who": who,
        "origin": f"pid {os.getpid()}",
        "operation": TORN,
        "resource": path.name,
        "result": EDITED if edited else "ok",
        "policy": "",
        "detail": {"bytes": len(torn), "sha256": hashlib.sha256(torn).hexdigest()},
    }


def _put(path: Path, data: bytes) -> None:
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            data = b"\n" + data
        faultpoint("audit.append.before")
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
        faultpoint("audit.append.after")
    finally:
        os.close(file)
    if is_new:
        sync_folder(path.parent)


def _end(folder: Path) -> tuple[Path, int, str, bytes]:
    """The file to write to, number and hash of the last good line, and what of a torn line stands after it."""
    found = months(folder)
    now = f"{utc_now():%Y-%m}.jsonl"
    # A clock that went back must not put new lines before old ones.
    path = max([folder / now, *found[-1:]], key=lambda one: one.name)
    for place in reversed(found):
        lines = _last_lines(place)
        torn = b""
        while lines:
            event = event_of(lines[-1])
            if event is not None:
                # Told already, where a good line follows it.
                return (place if torn else path), event["number"], event["hash"], torn
            torn = lines.pop() + (b"\n" + torn if torn else b"")
        if torn:
            return place, *start_of(folder), torn
    return path, *start_of(folder), b""


def _last_lines(path: Path) -> list[bytes]:
    """The last lines of a file, at least one whole one where there is any."""
    size = path.stat().st_size
    want = _TAIL_BYTES
    with path.open("rb") as file:
        while True:
            file.seek(max(0, size - want))
            lines = file.read().split(b"\n")
            if lines and lines[-1] == b"":
                lines.pop()
            if want >= size:
                return lines
            if any(event_of(line) is not None for line in lines[1:]):
                return lines[1:]
            want *= 4


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
