"""Care of the audit log: its events read, its files copied, old months cut.

Months go only behind a checkpoint and a told cut: the chain then goes on from the last line that went.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from lake.audit import Audit
from lake.audit_chain import FOLDER, START, TRIM, event_of, locked, months, start_of
from lake.audit_check import Checkpoint, add_checkpoint, make_checkpoint, read_checkpoints, verify
from lake.errors import LakeError
from lake.private import write_private
from lake.settings import Settings
from lake.times import utc_now


def events(lake: Path, *, since: datetime | None = None, until: datetime | None = None) -> Iterator[dict[str, Any]]:
    """The events at or after `since` and before `until`, oldest first; what is no line of the log is passed over."""
    lines = (line for path in months(lake / FOLDER) for line in path.read_bytes().split(b"\n"))
    for event in map(event_of, lines):
        if event is None:
            continue
        at = datetime.fromisoformat(event["at"])
        if (since is None or at >= since) and (until is None or at < until):
            yield event


def copy_log(lake: Path, to: Path) -> int:
    """Copy what is new of the log's files; gives how many files changed there.

    Errors: LakeError where the copy holds something that the log does not begin with: one of them was edited.
    """
    folder, count = lake / FOLDER, 0
    to.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(folder, shared=True):
        for path in months(folder):
            data, target = path.read_bytes(), to / path.name
            held = target.read_bytes() if target.exists() else b""
            if not data.startswith(held):
                todo = "Compare both by `fleetcube audit verify` and `diff`; nothing was written over."
                raise LakeError("The copy is not a beginning of the audit log.", where=str(target), todo=todo)
            if data != held:
                write_private(target, data.decode("utf-8", "surrogateescape"))
                count += 1
    return count


def trim(lake: Path, keep_months: int, checkpoints: Sequence[Checkpoint], *, now: datetime | None = None) -> list[str]:
    """Take whole months away that are older than the last `keep_months`; gives the names of their files.

    Only what lies behind one of the checkpoints goes, of a log that holds with all of them. Errors: LakeError else.
    """
    folder = lake / FOLDER
    report = verify(lake, checkpoints)
    if not report.holds:
        raise LakeError(report.problems[0], todo="Nothing was taken away. See `fleetcube audit verify`.")
    covered = max((one.number for one in checkpoints), default=0)
    first = _month_before(now or utc_now(), keep_months)
    old = [path for path in months(folder) if path.stem < first]
    going: list[Path] = []
    last = start_of(folder)
    for path in old:
        found = [event for event in map(event_of, path.read_bytes().split(b"\n")) if event is not None]
        if found and found[-1]["number"] > covered:
            todo = "Run `fleetcube audit checkpoint` first, and keep what it writes elsewhere."
            raise LakeError(f"No checkpoint lies behind line {found[-1]['number']}.", where=str(path), todo=todo)
        going.append(path)
        last = (found[-1]["number"], found[-1]["hash"]) if found else last
    if not going:
        return []
    detail = {"number": last[0], "hash": last[1], "files": ", ".join(path.name for path in going)}
    Audit(lake).append(TRIM, folder.name, detail=detail)
    # In this order a kill in between leaves files that stand before the start, which the next trim takes away.
    with locked(folder):
        write_private(folder / START, json.dumps({"number": last[0], "hash": last[1]}) + "\n")
        for path in going:
            path.unlink()
    return [path.name for path in going]


def keep(settings: Settings) -> list[str]:
    """What the settings ask for: a copy, a checkpoint, and old months away. Gives a line for each thing done."""
    done = []
    if settings.audit_copy != Path(""):
        done.append(f"{copy_log(settings.lake, settings.audit_copy)} files copied to {settings.audit_copy}")
    if settings.audit_checkpoints != Path(""):
        known = read_checkpoints(settings.audit_checkpoints) if settings.audit_checkpoints.exists() else []
        made = make_checkpoint(settings.lake, known=known)
        add_checkpoint(settings.audit_checkpoints, made)
        done.append(f"checkpoint {made.number} added to {settings.audit_checkpoints}")
        if settings.audit_keep_months:
            gone = trim(settings.lake, settings.audit_keep_months, [*known, made])
            done.append(f"{len(gone)} old months taken away")
    return done


def _month_before(now: datetime, months_back: int) -> str:
    """The first month that is kept, as 2026-11; `months_back` counts the current one."""
    at = now.year * 12 + now.month - 1 - (months_back - 1)
    return f"{at // 12:04d}-{at % 12 + 1:02d}"
