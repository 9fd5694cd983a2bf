"""Leases: one writer of a table at a time. They save wasted work; the fence of a commit is what keeps it right.

Among the processes of a host a lease is a lock, which the kernel drops when its holder dies. Of a lake in an object
store it is a claim there as well, for the home folder that holds it: a killed step's claim stays until that home takes
it up again, as nobody else can tell a killed host from a slow one, and steps of several commits are one home's to end.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake.errors import LakeError
from lake.places import is_remote


class Busy(LakeError):
    """Another process holds the lease: nothing is wrong, and the same step may be tried again later."""

    exit_code = 4


@contextmanager
def lease(lake: Path, name: str) -> Iterator[None]:
    """Hold the lease `name` of the lake, or raise Busy that names the holder's process.

    The kernel drops the lock when the holder dies, so a killed writer never blocks the next one.
    """
    folder = lake / "_leases"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name.replace("/", "__") + ".lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(
                f"Another process is writing '{name}'{_holder(path)}.",
                where=str(lake),
                todo="Wait for it to end, then try again.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        if is_remote(lake):
            from lake.claims import claim

            with claim(lake, name):
                yield
        else:
            yield
    finally:
        os.close(descriptor)


def _holder(path: Path) -> str:
    try:
        return f" (process {json.loads(path.read_text())['pid']})"
    except (OSError, ValueError, KeyError):
        return ""
