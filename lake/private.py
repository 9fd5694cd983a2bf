"""Files of secrets: mode 0600, replaced whole, changed by one process at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake.errors import ConfigError
from lake.intents import sync_folder


@contextmanager
def changing(path: Path) -> Iterator[None]:
    """Keep other processes from changing a secret file."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def stamp(path: Path, of: str) -> tuple[int, int, int] | None:
    """What changes when a secret file does; None where there is none. Errors: ConfigError where others may read it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        what = f"The file of {of} can't be read: {error.strerror}."
        raise ConfigError(what, where=str(path), todo="Correct its folder's permissions.") from error
    if found.st_mode & 0o077:
        what = f"The file of {of} may be read by others (mode {found.st_mode & 0o777:04o})."
        raise ConfigError(what, where=str(path), todo=f"Run: chmod 600 {path}")
    return found.st_ino, found.st_mtime_ns, found.st_size


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file whole and durably; a reader sees the old text or the new one."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(file, "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
