"""The format of a spool segment: framed payloads that outlive a damaged page, and a reader that never raises.

    segment = frame* footer?
    frame   = BEGIN header crc(header) payload END header crc(header)
    header  = version, kind, stored length, crc(payload), seq, at_us, agent, boot, fact
    footer  = a frame whose payload lists which (agent, boot, fact, seq) the segment holds

The header stands on both sides of its payload, so that one damaged spot never hides *whose* record was hit: a spot in a
header costs nothing, a spot in a payload costs that record and names it. The footer (written when a segment is sealed)
names what a larger hole swallowed. Payloads are UTF-8 or deflated; they never contain a marker, so that a search for
the next frame can't be led astray by what somebody sent.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from lake.errors import TransportError

_Kind = Literal["record", "gap", "malformed"]

# Every byte is above 0x7F, so a marker can't begin inside the length-prefixed numbers of a header; 0xFF is never UTF-8.
_BEGIN = bytes.fromhex("fff8fb9de5a1c8fe")
_END = bytes.fromhex("fff8fb9de5a1c8fd")
_STEM = _BEGIN[:-1]
_HEADER = struct.Struct(">BBIIqqHHH")
_CRC = struct.Struct(">I")
_VERSION = 1
_KINDS: tuple[_Kind, ...] = ("record", "gap", "malformed")
_FOOTER_CODE = 0x40
_DEFLATED_FLAG = 0x80
_NAME_BYTES_MAX = 1024


@dataclass(frozen=True)
class Frame:
    """One numbered payload. Kinds 'record' and 'gap' hold the line of a `sample.Record`; 'malformed' the sender's text.

    `at_us` is when it was written down, in microseconds since 1970 (in a receiver's journal: when it was received).
    """

    agent: str
    boot: str
    seq: int
    fact: str
    at_us: int
    payload: bytes
    kind: _Kind = "record"


@dataclass(frozen=True)
class Gap:
    """Sequence numbers that a damaged segment has lost: `seq_from` to `seq_to`, both included.

    `agent` is empty where the damage also took the names; then the two numbers only say how many were lost.
    """

    agent: str
    boot: str
    fact: str
    seq_from: int
    seq_to: int
    reason: str
    at_us: int = 0


class _Header(NamedTuple):
    frame: Frame  # with an empty payload
    code: int
    length: int
    crc: int
    size: int  # bytes from the marker up to the payload


def encode_frame(frame: Frame, *, deflate: bool = False) -> bytes:
    """The bytes of one frame; TransportError if the payload holds a marker or a name is too long for the format."""
    return _encode(frame, _KINDS.index(frame.kind), deflate=deflate)


def encode_footer(frames: Sequence[Frame], at_us: int) -> bytes:
    """The footer of a segment with these frames (their payloads don't matter): runs of sequence numbers."""
    runs: list[list[str | int]] = []
    for frame in frames:
        source = [frame.agent, frame.boot, frame.fact]
        if runs and runs[-1][:3] == source and runs[-1][4] == frame.seq - 1:
            runs[-1][4] = frame.seq
        else:
            runs.append([*source, frame.seq, frame.seq])
    payload = json.dumps(runs).encode()
    return _encode(Frame("", "", 0, "", at_us, payload), _FOOTER_CODE, deflate=len(payload) > 512)


def _encode(frame: Frame, code: int, *, deflate: bool) -> bytes:
    stored = frame.payload
    if deflate:
        deflated = zlib.compress(stored, 1)
        if _STEM not in deflated:
            stored, code = deflated, code | _DEFLATED_FLAG
    if _STEM in stored:
        raise TransportError("The payload holds the spool's marker bytes.", todo="Send UTF-8 text.")
    names = [name.encode("utf-8", "replace") for name in (frame.agent, frame.boot, frame.fact)]
    if max(map(len, names)) > _NAME_BYTES_MAX:
        raise TransportError(f"A name is longer than {_NAME_BYTES_MAX} bytes.", todo="Shorten agent, boot and fact.")
    numbers = (_VERSION, code, len(stored), zlib.crc32(stored), frame.seq, frame.at_us, *map(len, names))
    header = _HEADER.pack(*numbers) + b"".join(names)
    header += _CRC.pack(zlib.crc32(header))
    return b"".join((_BEGIN, header, stored, _END, header))


def _parse(data: bytes, marker: bytes, at: int) -> _Header | None:
    """The header behind `marker` at `at`, or None if there is none that its checksum vouches for."""
    start = at + len(marker)
    if data[at:start] != marker or start + _HEADER.size > len(data):
        return None
    version, code, length, crc, seq, at_us, *sizes = _HEADER.unpack_from(data, start)
    names_at = start + _HEADER.size
    end = names_at + sum(sizes)
    if max(sizes) > _NAME_BYTES_MAX or end + _CRC.size > len(data):
        return None
    if _CRC.unpack_from(data, end)[0] != zlib.crc32(data[start:end]) or version != _VERSION:
        return None
    names: list[str] = []
    for size in sizes:
        names.append(data[names_at : names_at + size].decode("utf-8", "replace"))
        names_at += size
    kind: _Kind = _KINDS[code & 0x3F] if code & 0x3F < len(_KINDS) else "malformed"
    frame = Frame(names[0], names[1], seq, names[2], at_us, b"", kind)
    return _Header(frame, code, length, crc, end + _CRC.size - at)


def _payload(data: bytes, header: _Header, start: int) -> bytes | None:
    """The payload that `header` promises at `start`, or None if it is damaged."""
    stored = data[max(start, 0) : start + header.length]
    if start < 0 or len(stored) < header.length or zlib.crc32(stored) != header.crc:
        return None
    try:
        return zlib.decompress(stored) if header.code & _DEFLATED_FLAG else stored
    except zlib.error:
        return None


class _Found(NamedTuple):
    header: _Header | None  # None: bytes that nothing vouches for
    payload: bytes | None
    whole: bool  # the frame reached the disk to its end
    end: int


def _walk(data: bytes) -> Iterator[_Found]:
    """Every frame of `data` in order, and every stretch of bytes that belongs to none."""
    at = 0
    while at < len(data):
        found = _at_begin(data, at)
        if found is None:
            found = _resynchronise(data, at)
        yield found
        at = found.end


def _at_begin(data: bytes, at: int) -> _Found | None:
    header = _parse(data, _BEGIN, at)
    if header is None:
        return None
    start = at + header.size
    payload = _payload(data, header, start)
    trailer = _parse(data, _END, start + header.length)
    if payload is not None or trailer is not None:
        return _Found(header, payload, True, start + header.length + header.size)
    # Neither payload nor trailer: the write was torn here, or a hole spans both. The next frame, if any, tells.
    follower = _next_marker(data, _BEGIN, start)
    return _Found(header, None, follower < len(data), follower)


def _resynchronise(data: bytes, at: int) -> _Found:
    """From a place that begins no frame: a trailer may save the record before it; else skip to the next beginning."""
    follower = _next_marker(data, _BEGIN, at + 1)
    end = data.find(_END, at, follower)
    while end != -1:
        trailer = _parse(data, _END, end)
        if trailer is not None:
            start = end - trailer.length - trailer.size
            if start > at:  # another frame stood before this one
                return _Found(None, None, False, start)
            payload = _payload(data, trailer, end - trailer.length) if end - trailer.length >= at else None
            return _Found(trailer, payload, True, end + trailer.size)
        end = data.find(_END, end + 1, follower)
    return _Found(None, None, False, follower)


def _next_marker(data: bytes, marker: bytes, at: int) -> int:
    """Where the next valid header behind `marker` begins, at or after `at`; the length of `data` if there is none."""
    found = data.find(marker, at)
    while found != -1 and _parse(data, marker, found) is None:
        found = data.find(marker, found + 1)
    return len(data) if found == -1 else found


def read_frames(data: bytes, *, where: str, count: int | None = None) -> Iterator[Frame | Gap]:
    """The frames of a segment's bytes, then what is lost of it; damage is reported and never raised.

    `count` is the number of frames that the segment is known to hold. Without it and without a footer, a torn end
    counts as never written: so a crash in the middle of a write leaves no gap.
    """
    intact: list[Frame] = []
    lost: list[Frame] = []
    torn: list[Frame] = []
    footer: Frame | None = None
    for found in _walk(data):
        header = found.header
        if header is None:
            continue
        if header.code & _FOOTER_CODE:
            footer = None if found.payload is None else replace(header.frame, payload=found.payload)
        elif found.payload is None:
            (lost if found.whole else torn).append(header.frame)
        else:
            intact.append(header.frame)
            yield replace(header.frame, payload=found.payload)
    missing = 0 if count is None else max(count - len(intact) - len(lost), 0)
    known = {_key(frame) for frame in intact}
    if footer is not None:
        yield from _gaps(_from_footer(footer, known), where)
        return
    lost += torn[:missing]
    missing -= len(torn[:missing])
    inferred = _inferred(intact + lost, missing)
    yield from _gaps([frame for frame in lost if _key(frame) not in known] + inferred, where)
    if missing > len(inferred):
        unnamed, at_us = missing - len(inferred), max((frame.at_us for frame in intact), default=0)
        yield Gap("", "", "", 1, unnamed, f"{where}: {unnamed} records are damaged beyond naming", at_us)


def count_frames(data: bytes) -> int:
    """How many frames the segment of a writer that died held: all but a torn end."""
    found = list(_walk(data))
    while found and (found[-1].header is None or not found[-1].whole):
        found.pop()  # the torn end
    return sum(1 for item in found if item.header is None or not item.header.code & _FOOTER_CODE)


def _key(frame: Frame) -> tuple[str, str, int]:
    return (frame.agent, frame.boot, frame.seq)


def _from_footer(footer: Frame, known: set[tuple[str, str, int]]) -> list[Frame]:
    runs = [
        (agent, boot, fact, range(first, last + 1)) for agent, boot, fact, first, last in json.loads(footer.payload)
    ]
    listed = [Frame(agent, boot, seq, fact, footer.at_us, b"") for agent, boot, fact, seqs in runs for seq in seqs]
    return [frame for frame in listed if _key(frame) not in known]


def _inferred(seen: Sequence[Frame], missing: int) -> list[Frame]:
    """Names for `missing` frames of a segment that holds a single source, which numbers without holes; else none."""
    if missing <= 0 or len({(frame.agent, frame.boot, frame.fact) for frame in seen}) != 1:
        return []
    numbers = {frame.seq for frame in seen}
    absent = [seq for seq in range(min(numbers), max(numbers) + missing + 1) if seq not in numbers]
    return [replace(seen[0], seq=seq) for seq in absent[:missing]]


def _gaps(frames: Sequence[Frame], where: str) -> Iterator[Gap]:
    """Neighbouring lost numbers of one source become one gap."""
    run: Gap | None = None
    for frame in sorted(frames, key=lambda frame: (frame.agent, frame.boot, frame.fact, frame.seq)):
        source = (frame.agent, frame.boot, frame.fact)
        if run is not None and (run.agent, run.boot, run.fact) == source and run.seq_to == frame.seq - 1:
            run = replace(run, seq_to=frame.seq)
            continue
        if run is not None:
            yield run
        run = Gap(*source, frame.seq, frame.seq, f"{where}: damaged on disk", frame.at_us)
    if run is not None:
        yield run
