"""Proofs of the audit log: the chain is walked, and its end noted elsewhere.

A checkpoint is the number and hash of a line. Kept where whoever edits the log can't reach, it shows a tail that was
cut or written anew, which no chain can show of itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from lake.audit_chain import EDITED, FOLDER, START, TORN, TRIM, event_of, locked, months, start_of
from lake.errors import LakeError
from lake.times import iso, utc_now

_MOST_PROBLEMS: Final = 100


@dataclass(frozen=True)
class Checkpoint:
    """That the line of this number had this hash, when it was the last one."""

    number: int
    hash: str
    at: str


@dataclass
class Report:
    """What a walk along the chain came to; `torn` counts lines that crashes cut and later lines tell of."""

    lines: int = 0
    first: int = 0
    last: Checkpoint | None = None
    torn: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def problem(self, place: str, what: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append(f"{place}: {what}")


def verify(lake: Path, checkpoints: Sequence[Checkpoint] = ()) -> Report:
    """Walk the whole chain; each problem names file and line. The checkpoints must stand in it."""
    folder = lake / FOLDER
    report = Report()
    if not folder.is_dir():
        for one in checkpoints:
            report.problem(
                str(folder), f"the log is gone; checkpoint {one.number} of {one.at} says that there was one."
            )
        return report
    with locked(folder, shared=True):
        _walk(folder, report, {one.number: one for one in checkpoints})
    return report


def make_checkpoint(lake: Path, *, known: Sequence[Checkpoint] = ()) -> Checkpoint:
    """The end of a log that holds, to be kept elsewhere. Errors: LakeError where it doesn't hold, or is empty."""
    report = verify(lake, known)
    if not report.holds or report.last is None:
        what = report.problems[0] if report.problems else "The audit log is empty."
        raise LakeError(what, where="" if report.problems else str(lake / FOLDER), todo="See `fleetcube audit verify`.")
    return Checkpoint(report.last.number, report.last.hash, iso(utc_now()))


def read_checkpoints(path: Path) -> list[Checkpoint]:
    """The checkpoints of a file of JSON lines, as they were exported. Errors: LakeError for another file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [Checkpoint(**json.loads(line)) for line in lines if line.strip()]
    except (OSError, ValueError, TypeError) as error:
        todo = "Name a file that `fleetcube audit checkpoint` wrote."
        raise LakeError(f"No checkpoints can be read: {error}.", where=str(path), todo=todo) from error


def add_checkpoint(path: Path, one: Checkpoint) -> None:
    """Append a checkpoint to a file, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(one)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _walk(folder: Path, report: Report, wanted: dict[int, Checkpoint]) -> None:
    start = start_of(folder)
    number, before = start
    report.first = number + 1
    torn: list[bytes] = []
    torn_at, trims = "", set()
    seen = {number: before}
    for place, line in _lines(folder):
        event = event_of(line)
        if event is None:
            torn, torn_at = [*torn, line], torn_at or place
            continue
        if event["number"] <= start[0] and not report.lines:
            continue  # a month that is going: the cut is on record below
        if torn or event["operation"] == TORN:
            _check_torn(report, event, torn, torn_at or place)
            torn, torn_at = [], ""
        if event["number"] != number + 1 or event["before"] != before:
            what = f"line {event['number']} does not go on from line {number}"
            report.problem(place, f"{what}: a line was changed, moved, put in or taken out before it.")
        number, before = event["number"], event["hash"]
        seen[number] = before
        report.lines += 1
        report.last = Checkpoint(number, before, event["at"])
        if event["operation"] == TRIM:
            trims.add((event["detail"].get("number"), event["detail"].get("hash")))
    if torn:
        report.problem(
            torn_at, "is no whole line of the log: cut by a crash, which the next event will tell, or edited."
        )
    if start[0] and start not in trims:
        report.problem(f"{folder.name}/{START}", f"says that lines up to {start[0]} were taken away, and no line does.")
    for one in wanted.values():
        if one.number < start[0]:
            continue
        if one.number not in seen:
            report.problem(
                folder.name, f"ends at line {number}; line {one.number} was there at {one.at}: a tail was cut."
            )
        elif seen[one.number] != one.hash:
            report.problem(folder.name, f"line {one.number} is not the one of the checkpoint of {one.at}.")


def _check_torn(report: Report, event: dict[str, Any], torn: list[bytes], place: str) -> None:
    """A torn line must be told by the event after it, and a told one must be there."""
    told = event["detail"].get("sha256") if event["operation"] == TORN else None
    if told != hashlib.sha256(b"\n".join(torn)).hexdigest() or not torn:
        report.problem(place, "is no line of the log, and the line after it tells of no such crash.")
    elif event["result"] == EDITED:
        report.problem(place, "was no line of the log when the next event came, and no crash leaves it so.")
    else:
        report.torn += 1


def _lines(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every line with its place; the empty end of a file is none."""
    for path in months(folder):
        held = path.read_bytes().split(b"\n")
        if held and held[-1] == b"":
            held.pop()
        for number, line in enumerate(held, 1):
            yield f"{folder.name}/{path.name}:{number}", line
