"""The newest lines of logs that are written by days or months: as many as some bytes hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path


def tail_lines(paths: Sequence[Path], most_bytes: int) -> Iterator[bytes]:
    """The last lines of files, oldest file first, without a line that the bound cuts."""
    left, pieces = most_bytes, []
    for path in reversed(paths):
        with path.open("rb") as file:
            start = max(0, file.seek(0, 2) - left)
            file.seek(start)
            data = file.read(left)
        pieces.append(data.partition(b"\n")[2] if start else data)
        left -= len(data)
        if left <= 0:
            break
    for piece in reversed(pieces):
        yield from piece.split(b"\n")
