"""Vacuum: removes Parquet files that no version needs any more, and never one that somebody may need.

A file stays while it is in the newest version, in a version that a cube stands on, in any version that was the newest
one within the grace period (readers hold such a version), or named by an intent (its writer will be completed). A file
that no version ever named stays for the grace period too: its writer may be about to commit it.

The grace period ends at the last thing that the lake itself knows of, not at the clock: a clock that jumps ahead makes
nothing old. Files of other names and folders, and those of `_delta_log`, are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from lake.delta import open_snapshot
from lake.errors import LakeError
from lake.faults import faultpoint
from lake.intents import intended, sync_folder
from lake.lease import lease
from lake.places import SharedFile, address, is_remote
from lake.shared import files_below, read_texts
from lake.tables import TableRef

_AHEAD: Final = timedelta(minutes=5)
# Delta keeps its log files for 30 days.
_LONGEST: Final = timedelta(days=28)


@dataclass(frozen=True)
class Waste:
    """A table's files that nobody needs: paths relative to the table, and their bytes together.

    `left` says why nothing was looked at, '' otherwise.
    """

    table: str
    files: tuple[str, ...]
    size_bytes: int
    left: str = ""


def vacuum(
    lake: Path,
    tables: Iterable[tuple[TableRef, Iterable[int], Iterable[str]]],
    *,
    grace: timedelta,
    now: datetime,
    apply: bool = False,
) -> list[Waste]:
    """What each table has to spare, and its removal with `apply`; `tables` are (table, versions that must stay,
    leases of its writers): while a writer is at work, its tables are left alone.

    Errors: LakeError for a grace period that the log doesn't reach back to, or when a commit lies in the future of
    `now`, as then no age can be told.
    """
    if grace > _LONGEST:
        raise LakeError(
            f"A grace period of {grace.days} days is more than the log keeps.",
            todo=f"Set vacuum_grace_h to at most {_LONGEST.days * 24}.",
        )
    found = [(ref, tuple(versions), tuple(leases), _log(ref.path(lake))) for ref, versions, leases in tables]
    newest = max((entry.at for *_, log in found for entry in log), default=None)
    if newest is None:
        return []
    if newest > now + _AHEAD:
        raise LakeError(
            f"The lake's newest commit is of {newest:%Y-%m-%d %H:%M} UTC, and the clock says {now:%Y-%m-%d %H:%M}.",
            where=address(lake),
            todo="Set the clock right, then try again; until then nothing is removed.",
        )
    cutoff = min(now, newest) - grace
    # A file that is named there will be needed when its step is completed.
    open_steps = intended(lake)
    done = []
    for ref, versions, leases, log in found:
        try:
            with ExitStack() as held:
                for name in leases:
                    held.enter_context(lease(lake, name))
                done.append(_vacuum(lake, ref, versions, log, cutoff=cutoff, open_steps=open_steps, apply=apply))
        except LakeError as error:
            done.append(Waste(ref.key, (), 0, left=str(error)))
    return [one for one in done if one.files or one.left]


@dataclass(frozen=True)
class _Entry:
    """One commit of a log that is still there: when, and the paths that it added and removed."""

    at: datetime
    paths: frozenset[str]


def _vacuum(
    lake: Path,
    ref: TableRef,
    versions: Iterable[int],
    log: list[_Entry],
    *,
    cutoff: datetime,
    open_steps: str,
    apply: bool,
) -> Waste:
    root = ref.path(lake)
    needed = {unquote(file.path) for file in open_snapshot(lake, ref).files}
    for version in versions:
        needed |= {unquote(file.path) for file in open_snapshot(lake, ref, version).files}
    # What a commit within the grace period removed was there until then, and readers may have begun before it.
    needed |= {path for entry in log if entry.at >= cutoff for path in entry.paths}
    spare: list[Path] = []
    size = 0
    for file in _parquet(root):
        name = str(file.path.relative_to(root))
        if name not in needed and file.path.name not in open_steps and file.changed < cutoff:
            spare.append(file.path)
            size += file.size_bytes
    if apply:
        _remove(lake, spare)
    return Waste(ref.key, tuple(str(path.relative_to(root)) for path in spare), size)


def _remove(lake: Path, files: Iterable[Path]) -> None:
    if is_remote(lake):
        from lake.objects import delete_objects

        delete_objects(files)
        return
    chosen = list(files)
    for path in chosen:
        faultpoint("vacuum.delete.before")
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in chosen}:
        sync_folder(folder)


def _parquet(root: Path) -> Iterator[SharedFile]:
    """Data files of a table by the shape of their place: below partitions, never below a folder that starts with _."""
    for file in files_below(root, ".parquet"):
        inside = file.path.relative_to(root).parts
        if not any(part.startswith(("_", ".")) for part in inside):
            yield file


def _log(root: Path) -> list[_Entry]:
    """The commits whose log files are still there; the later of what a commit says and when its file was written."""
    found = []
    changed = {one.path: one.changed for one in files_below(root / "_delta_log", ".json") if one.path.stem.isdigit()}
    for path, text in read_texts(list(changed)).items():
        at, paths = changed[path], set()
        for line in text.splitlines():
            action: dict[str, Any] = json.loads(line)
            for kind in ("add", "remove"):
                if kind in action:
                    paths.add(unquote(action[kind]["path"]))
            if "timestamp" in action.get("commitInfo", {}):
                said = datetime.fromtimestamp(action["commitInfo"]["timestamp"] / 1000, UTC)
                at = max(at, said)
        found.append(_Entry(at, frozenset(paths)))
    return found
