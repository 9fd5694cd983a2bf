"""Who is left of a session: the processes that one has started, whatever became of itself."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def alive_in(session: int) -> list[int]:
    """The processes of a session that are not dead."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = path.read_text().rpartition(")")[2].split()
            found += [int(path.parent.name)] if fields[3] == str(session) and fields[0] != "Z" else []
    return found
