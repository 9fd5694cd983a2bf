"""What the log of a table tells of its versions: when each was made, its numbers, the files it added and removed.

Delta keeps entries of the log for 30 days; of older versions nothing is told. Entries never change, so a reader takes
in only those that are new.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from lake.places import is_remote
from lake.shared import files_below, read_texts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lake.delta import Snapshot
    from lake.tables import TableRef


@dataclass(frozen=True)
class Entry:
    """One version: `at` never lies before that of an earlier one; `numbers` are the transaction numbers known by then.

    Numbers that were set before the oldest entry that is still there are not among them.
    """

    version: int
    at: datetime
    numbers: Mapping[str, int]
    adds: frozenset[str]
    removes: frozenset[str]


@dataclass
class History:
    """The versions of one table, oldest first, as far as its log still tells of them."""

    lake: Path
    ref: TableRef
    entries: list[Entry] = field(default_factory=list)

    def read(self, upto: int) -> list[Entry]:
        """The entries up to the version `upto` at least; only those that are new are read."""
        log = self.ref.path(self.lake) / "_delta_log"
        if not self.entries:
            told = [one.path for one in files_below(log, ".json") if one.path.stem.isdigit()]
        else:
            told = [log / f"{version:020d}.json" for version in range(self.entries[-1].version + 1, upto + 1)]
        for path, text in read_texts(sorted(told)).items():
            before = self.entries[-1] if self.entries else None
            self.entries.append(_entry(path, text, before))
        return self.entries

    def at(self, moment: datetime, upto: int) -> Entry | None:
        """The newest version that was there at a moment; None where the table or its log begins later."""
        return next((one for one in reversed(self.read(upto)) if one.at <= moment), None)

    def version(self, number: int, upto: int) -> Entry | None:
        """One version; None where there is no such one, or the log no longer tells of it."""
        return next((one for one in self.read(upto) if one.version == number), None)


def absent(snapshot: Snapshot, newest: Snapshot) -> frozenset[str]:
    """The files of an older version that are gone; those of the newest one are taken to be there."""
    kept = {file.path for file in newest.files}
    left = [file.path for file in snapshot.files if file.path not in kept]
    if not left:
        return frozenset()
    if not is_remote(snapshot.root):
        return frozenset(path for path in left if not (snapshot.root / unquote(path)).is_file())
    there = {str(one.path.relative_to(snapshot.root)) for one in files_below(snapshot.root, ".parquet")}
    return frozenset(path for path in left if unquote(path) not in there)


def _entry(path: Path, text: str, before: Entry | None) -> Entry:
    numbers = dict(before.numbers) if before is not None else {}
    files: dict[str, set[str]] = {"add": set(), "remove": set()}
    said: datetime | None = None
    for line in text.splitlines():
        action: dict[str, Any] = json.loads(line)
        for kind, paths in files.items():
            if kind in action:
                paths.add(action[kind]["path"])
        if "txn" in action:
            numbers[action["txn"]["appId"]] = action["txn"]["version"]
        if "timestamp" in action.get("commitInfo", {}):
            said = datetime.fromtimestamp(action["commitInfo"]["timestamp"] / 1000, UTC)
    # A commit that doesn't say when it was made is as old as its file.
    at = said or next(one.changed for one in files_below(path.parent, path.name))
    at = at if before is None else max(at, before.at)
    return Entry(int(path.stem), at, numbers, frozenset(files["add"]), frozenset(files["remove"]))
