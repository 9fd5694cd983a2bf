"""Files that must survive a crash: whole writes, synced folders, and one writer per folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from lake.errors import TransportError


def write_file(path: Path, data: bytes) -> None:
    """Make the new file `path`, readable by its owner only, with `data` in it, durably; OSError if it exists."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(file, data)
        os.fsync(file)
    finally:
        os.close(file)
    sync_folder(path.parent)


def write_all(file: int, data: bytes) -> None:
    """All of `data`, however little a single write takes; OSError from the kernel as it is."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable: a file's own fsync does not cover the name under which it is found."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def lock_folder(folder: Path) -> int:
    """The file that locks `folder` for this process until it is closed; TransportError names who has it."""
    path = folder / ".lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise disk_trouble("open the folder's lock", path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(file)
        todo = "End that process, or give this one a folder of its own."
        raise TransportError(f"The spool is in use by process {holder}.", where=str(folder), todo=todo) from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file


def disk_trouble(action: str, path: Path, error: OSError) -> TransportError:
    """What to raise when the disk refused an action such as 'begin a segment'."""
    what = f"Can't {action}: {error.strerror}."
    return TransportError(what, where=str(path), todo="Check space, permissions and the disk's health.")
