"""From the receiver's journal into landing: sealed segments become batches, and go when every fact has them.

A round is one intent (its number, the segments and their digests, its facts), one landing batch for each of the facts,
and only then the removal of the segments. Each batch commits the round number as `inbox`, so after a crash it is known
of every fact by itself whether it has the round; the others get it again from the same segments.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

from ingestion.frames import Frame, Gap
from ingestion.land import Landed, Member, land_batch, landing_select
from ingestion.sample import decode_record
from ingestion.spool import drop_segment, list_segments, read_segment, seal_abandoned
from lake.delta import open_snapshot
from lake.duck import Duck, text_literal
from lake.errors import LakeError, TransportError
from lake.facts import load_facts
from lake.faults import faultpoint
from lake.intents import clear_intent, read_intents, work_folder, write_intent
from lake.lease import lease
from lake.places import is_remote
from lake.tables import landing

_COMPONENT: Final = "inbox"
_ROUND_BYTES: Final = 64 << 20
# Where what names no fact is accounted for: it must be counted somewhere, and most rows are samples.
_FALLBACK: Final = "samples"
_OWN: Final = ("agent", "boot", "source", "problem", "raw")

_Row = dict[str, Any]


def land_inbox(duck: Duck, lake: Path, journal: Path) -> list[Landed]:
    """Land every sealed segment of the journal's folder and delete it; first what a killed lander left unfinished.

    Errors: LakeError if another process lands, or if segments that an unfinished round needs are gone.
    """
    with lease(lake, _COMPONENT):
        landed = _finish(duck, lake, journal)
        seal_abandoned(journal)
        while segments := _some(list_segments(journal)):
            number = 1 + max(_done(lake, fact) for fact in load_facts())
            landed += _round(duck, lake, number, segments)
        return landed


def _some(segments: Iterable[Path]) -> list[Path]:
    """The oldest segments, about as many as may be held in work files at a time."""
    chosen: list[Path] = []
    size = 0
    for segment in segments:
        size += segment.stat().st_size
        if chosen and size > _ROUND_BYTES:
            break
        chosen.append(segment)
    return chosen


def _done(lake: Path, fact: str) -> int:
    """The last round of this inbox that the fact has."""
    return open_snapshot(lake, landing(fact)).txn(_numbers(lake)) or 0


def _numbers(lake: Path) -> str:
    """The name of the rounds' numbers: a lake in an object store may have an inbox on each of several hosts."""
    if not is_remote(lake):
        return "inbox"
    from lake.claims import home_id

    return f"inbox/{home_id(lake)}"


def _round(duck: Duck, lake: Path, number: int, segments: Sequence[Path]) -> list[Landed]:
    members = [Member(segment.name, _digest(segment)) for segment in segments]
    staged = _stage(lake, segments)
    told = [{"name": member.name, "digest": member.digest} for member in members]
    write_intent(lake, _COMPONENT, "round", {"inbox": number, "segments": told, "facts": sorted(staged)})
    return _land(duck, lake, staged, number=number, members=members, segments=segments)


def _finish(duck: Duck, lake: Path, journal: Path) -> list[Landed]:
    """Complete the round whose intent is still open, for the facts that do not have it."""
    intent = read_intents(lake, _COMPONENT).get("round")
    if intent is None:
        return []
    number = int(intent["inbox"])
    members = [Member(told["name"], told["digest"]) for told in intent["segments"]]
    segments = [journal / member.name for member in members]
    waiting = [fact for fact in intent["facts"] if _done(lake, fact) < number]
    staged: dict[str, Path] = {}
    if waiting:
        for member, segment in zip(members, segments, strict=True):
            if not segment.is_file() or _digest(segment) != member.digest:
                raise LakeError(
                    f"Segment {member.name} of the unfinished landing round {number} is gone or has changed.",
                    where=str(journal),
                    todo="Put it back from a copy of the journal, then run `fleetcube land` again.",
                )
        staged = {fact: path for fact, path in _stage(lake, segments).items() if fact in waiting}
    return _land(duck, lake, staged, number=number, members=members, segments=segments)


def _land(
    duck: Duck,
    lake: Path,
    staged: Mapping[str, Path],
    *,
    number: int,
    members: Sequence[Member],
    segments: Sequence[Path],
) -> list[Landed]:
    landed = []
    for fact, path in sorted(staged.items()):
        batch = land_batch(duck, lake, fact, [_select(fact, path)], members=members, txns={_numbers(lake): number})
        landed += [] if batch is None else [batch]
        path.unlink()
    faultpoint("lander.drop.before")
    for segment in segments:
        drop_segment(segment)
    clear_intent(lake, _COMPONENT, "round")
    return landed


def _digest(segment: Path) -> str:
    return hashlib.sha256(segment.read_bytes()).hexdigest()


def _select(fact: str, path: Path) -> str:
    texts = [*_OWN, *(column.name for column in load_facts()[fact].columns)]
    typed = dict.fromkeys(texts, "VARCHAR") | {
        "seq": "BIGINT",
        "idx": "BIGINT",
        "lost": "BIGINT",
        "at_us": "BIGINT",
    }
    listed = ", ".join(f"'{name}': '{kind}'" for name, kind in typed.items())
    columns = {name: f'"{name}"' for name in (*texts, "seq", "idx", "lost")}
    columns["received_at"] = "make_timestamptz(at_us)"
    source = f"read_json({text_literal(str(path))}, format = 'newline_delimited', columns = {{{listed}}})"
    return landing_select(fact, columns, source)


def _stage(lake: Path, segments: Iterable[Path]) -> dict[str, Path]:
    """The segments' rows as one work file of JSON lines for each fact; the same segments give the same files."""
    folder = work_folder(lake, _COMPONENT) / "staged"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    files: dict[str, IO[str]] = {}
    with ExitStack() as stack:
        for segment in segments:
            for item in read_segment(segment):
                fact = item.fact if item.fact in load_facts() else _FALLBACK
                if fact not in files:
                    files[fact] = stack.enter_context((folder / f"{fact}.ndjson").open("w", encoding="utf-8"))
                for row in _rows(item, fact, segment.name):
                    files[fact].write(json.dumps(row, ensure_ascii=False) + "\n")
    return {fact: folder / f"{fact}.ndjson" for fact in files}


def _rows(item: Frame | Gap, fact: str, segment: str) -> Iterator[_Row]:
    """The landing rows of one frame or gap."""
    if isinstance(item, Gap):
        # Damage that took the names too: the segment's name and the count are all that is left to account for.
        agent = item.agent or f"unknown:{segment}"
        lost = item.seq_to - item.seq_from + 1
        yield _gap_row(agent, item.boot, item.seq_from, lost=lost, reason=item.reason, at_us=item.at_us)
        return
    head: _Row = {"agent": item.agent, "boot": item.boot, "seq": item.seq, "idx": 0, "lost": 1, "at_us": item.at_us}
    if item.kind == "malformed" or item.fact != fact:
        yield head | {"source": "agent", "problem": "malformed", "raw": _printable(item.payload)}
        return
    try:
        record = decode_record(item.payload)
    except TransportError:  # accepted by an older receiver, or damaged in a way that no checksum saw
        yield head | {"source": "agent", "problem": "malformed", "raw": _printable(item.payload)}
        return
    if record.lost:
        yield _gap_row(record.agent, record.boot, record.seq, lost=record.lost, reason=record.reason, at_us=item.at_us)
        return
    known = {column.name for column in load_facts()[fact].columns}
    for index, row in enumerate(record.rows):
        yield head | {"idx": index, "source": record.source} | _texts(row, known)


def _texts(row: Mapping[str, str], known: set[str]) -> _Row:
    """A sent row's columns; one with columns that the fact does not have is kept whole in `raw`."""
    if any("\0" in text for text in row.values()):
        return {"problem": "malformed", "raw": json.dumps(row, ensure_ascii=False).replace("\0", "\\u0000")}
    found: _Row = {name: text for name, text in row.items() if name in known}
    if len(found) < len(row):
        found |= {"problem": "unknown_column", "raw": json.dumps(row, ensure_ascii=False)}
    return found


def _gap_row(agent: str, boot: str, seq: int, *, lost: int, reason: str, at_us: int) -> _Row:
    row: _Row = {"agent": agent, "boot": boot, "seq": seq, "idx": 0, "lost": lost, "at_us": at_us, "source": "agent"}
    return row | {"problem": "gap", "raw": reason}


def _printable(payload: bytes) -> str:
    return payload.decode("utf-8", "backslashreplace").replace("\0", "\\x00")
