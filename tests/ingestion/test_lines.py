"""Lines of a file: numbers, encoding, chunks, torn and damaged gzip streams."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from ingestion.lines import BAD_LINE, Chunk, chunks, digest
from lake.errors import TransportError

LINES = [f"{number},{number * 37 % 1009}" for number in range(4000)]
CONTENT = ("\n".join(LINES) + "\n").encode()


def read(path: Path, size_bytes: int = 1 << 20) -> list[Chunk]:
    return list(chunks(path, size_bytes))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size_bytes", [100, 5000, 1 << 20])
def test_chunks_hold_every_line_once(tmp_path: Path, packed: bool, size_bytes: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(gzip.compress(CONTENT) if packed else CONTENT)
    found = read(path, size_bytes)
    assert [line for chunk in found for line in chunk.text.split("\n")] == LINES
    assert [chunk.first for chunk in found] == [1 + sum(c.lines for c in found[:at]) for at in range(len(found))]
    assert digest(path) == hashlib.sha256(CONTENT).hexdigest()


def test_two_gzip_members_are_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(CONTENT[:1000]) + gzip.compress(CONTENT[1000:]) + b"\0" * 512)
    assert digest(path) == hashlib.sha256(CONTENT).hexdigest()


def test_broken_lines_come_back_marked_under_their_number(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\r\nb\xff\nc\0d\n\xc3\xa6")
    (chunk,) = read(path)
    assert chunk.text.split("\n") == ["a", "", f"{BAD_LINE}b\\xff", f"{BAD_LINE}c\\x00d", "æ"]
    assert chunk.lines == 5


@pytest.mark.parametrize("keep", [0.2, 0.9, 0.999])
def test_a_cut_stream_gives_what_was_before_the_cut(tmp_path: Path, keep: float) -> None:
    packed = gzip.compress(CONTENT)
    path = tmp_path / "log.gz"
    path.write_bytes(packed[: int(len(packed) * keep)])
    (chunk,) = read(path)
    whole = chunk.text.split("\n")[:-1]
    assert "ends in the middle" in chunk.torn
    assert whole == LINES[: len(whole)]
    assert len(whole) > 0.8 * keep * len(LINES) - 400


def test_a_wrong_checksum_loses_no_line(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(CONTENT))
    packed[-6] ^= 0xFF
    path = tmp_path / "log.gz"
    path.write_bytes(bytes(packed))
    (chunk,) = read(path)
    assert "damaged" in chunk.torn
    assert chunk.text.split("\n") == [*LINES, ""]


def test_other_compressions_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfdxxxx")
    with pytest.raises(TransportError, match="zstd"):
        read(path)
    with pytest.raises(TransportError, match="can't be read"):
        digest(tmp_path / "absent")
    path.write_bytes(b"")
    assert read(path) == []
