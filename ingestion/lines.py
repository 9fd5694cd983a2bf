"""Lines of a file: decompressed, numbered, digested and checked for encoding, in chunks that bound the memory.

A line is what ends in LF (or CR LF), or what stands at the end of the file. Nothing is dropped: a line that is not
UTF-8 text comes back marked and escaped, and a stream that ends in the middle says so.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lake.errors import TransportError

# Stands before a line that can't be read as text. It is no character (Unicode reserves it), so no honest line has it.
BAD_LINE: Final = "\uffff"
_GZIP: Final = b"\x1f\x8b"
_OTHERS: Final = {b"\x28\xb5\x2f\xfd": "zstd", b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"PK\x03\x04": "zip"}
_BOM: Final = b"\xef\xbb\xbf"
_READ_BYTES: Final = 1 << 16
CHUNK_BYTES: Final = 16 << 20
_LINE_BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True)
class Chunk:
    """Whole lines, LF between them, without the last LF; `first` is the 1-based number of the first of them.

    `torn` tells why the stream ended in the middle; its last line is then what was left of a torn one.
    """

    first: int
    text: str
    lines: int
    torn: str = ""


def digest(path: Path) -> str:
    """SHA-256, in hexadecimal, of the decompressed content as far as it can be read."""
    found = hashlib.sha256()
    for piece, _ in _pieces(path):
        found.update(piece)
    return found.hexdigest()


def chunks(path: Path, size_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """The file's lines in order, about `size_bytes` at a time."""
    first, rest, torn = 1, bytearray(), ""
    start = True
    for piece, trouble in _pieces(path):
        torn = torn or trouble
        rest += piece
        if start and len(rest) >= len(_BOM):
            start = False
            if rest.startswith(_BOM):
                del rest[: len(_BOM)]
        if len(rest) >= size_bytes and (cut := rest.rfind(b"\n")) >= 0:
            chunk = _chunk(bytes(rest[:cut]), first)
            yield chunk
            first += chunk.lines
            del rest[: cut + 1]
        elif len(rest) > _LINE_BYTES_MAX:
            raise TransportError(
                "A line is longer than 64 MiB.", where=f"{path}:{first}", todo="This is no log of lines."
            )
    if torn:
        yield _chunk(bytes(rest), first, torn)
    elif rest:
        yield _chunk(bytes(rest.removesuffix(b"\n")), first)


def _chunk(content: bytes, first: int, torn: str = "") -> Chunk:
    lines = content.count(b"\n") + 1
    try:
        text = content.decode("utf-8")
        if "\0" not in text and "\r" not in text:
            return Chunk(first, text, lines, torn)
    except UnicodeDecodeError:
        pass
    return Chunk(first, "\n".join(_line(line) for line in content.split(b"\n")), lines, torn)


def _line(line: bytes) -> str:
    """One line as text; a NUL (what a power cut leaves in a log) counts as broken too."""
    line = line.removesuffix(b"\r")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        return BAD_LINE + line.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
    return text if "\0" not in text else BAD_LINE + text.replace("\0", "\\x00")


def _pieces(path: Path) -> Iterator[tuple[bytes, str]]:
    """Decompressed bytes, and with the last of them what was wrong with the stream, if anything was."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            file.seek(0)
            for magic, name in _OTHERS.items():
                if head.startswith(magic):
                    raise TransportError(
                        f"{name} files can't be read.", where=str(path), todo="Decompress it, or use gzip."
                    )
            raw = iter(lambda: file.read(_READ_BYTES), b"")
            if head.startswith(_GZIP):
                yield from _gunzip(raw)
            else:
                yield from ((piece, "") for piece in raw)
    except OSError as error:
        raise TransportError(
            f"The file can't be read: {error.strerror}.", where=str(path), todo="Check the path."
        ) from error


def _gunzip(raw: Iterator[bytes]) -> Iterator[tuple[bytes, str]]:
    """The members of a gzip stream; on damage, every byte before it and then the reason."""
    stream = zlib.decompressobj(wbits=31)
    for piece in raw:
        while piece:
            if stream.eof:
                if not piece.strip(b"\0"):  # padding after the last member
                    break
                stream = zlib.decompressobj(wbits=31)
            before = stream.copy()
            try:
                out = stream.decompress(piece)
            except zlib.error as error:
                yield from _until_error(before, piece)
                yield b"", f"the compressed stream is damaged: {error}"
                return
            yield out, ""
            piece = stream.unused_data
    if not stream.eof:
        yield b"", "the compressed stream ends in the middle"


def _until_error(stream: zlib._Decompress, piece: bytes) -> Iterator[tuple[bytes, str]]:
    """Feed byte by byte, since zlib gives nothing of the piece in which it meets an error."""
    for position in range(len(piece)):
        try:
            yield stream.decompress(piece[position : position + 1]), ""
        except zlib.error:
            return
