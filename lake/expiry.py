"""The end of a deletion: record, removal, each once. What a kill cut short is completed here by whoever comes next.

A deletion is an intent that names files. A step that rewrote one of them before the end (a conflict, an undo, an
erasure) would bring back rows that are on record as gone, so such steps complete the fact's deletions first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lake.deletions import Deletion, record_deletions
from lake.delta import DataFile, commit, open_snapshot
from lake.faults import faultpoint
from lake.intents import clear_intent, read_intents
from lake.tables import QUARANTINE, TableRef, landing, trusted

if TYPE_CHECKING:
    from lake.duck import Duck

COMPONENT: Final = "retain"
Swap = tuple[Sequence[DataFile], Sequence[DataFile]]  # files to add, and to remove


def table_of_rows(layer: str, fact: str) -> TableRef | None:
    """The table of a layer of rows; None for cells."""
    return {"landing": landing(fact), "trusted": trusted(fact), "quarantine": QUARANTINE}.get(layer)


def complete_rows(duck: Duck, lake: Path, fact: str, layers: Collection[str]) -> None:
    """Complete the deletions of the fact's rows in these layers; the caller holds the leases of their tables."""
    for intent in read_intents(lake, COMPONENT).values():
        ref = table_of_rows(intent["layer"], fact)
        if ref is not None and intent["fact"] == fact and intent["layer"] in layers:
            complete(duck, lake, ref, intent)


def complete(duck: Duck, lake: Path, ref: TableRef, intent: dict[str, Any], swap: Swap | None = None) -> None:
    """Record and remove, each unless its number says that it was done; `swap` are the files if the intent hasn't them.

    The caller holds the table's lease.
    """
    number = int(intent["number"])
    record_deletions(duck, lake, number, [Deletion(**one) for one in intent["deletions"]])
    faultpoint("retain.record.after")
    snapshot = open_snapshot(lake, ref)
    if (snapshot.txn("retain") or 0) < number:
        adds, removes = swap or ([DataFile(**file) for file in intent["adds"]], _removes(snapshot.files, intent))
        commit(lake, ref, snapshot, adds=adds, removes=removes, txns={"retain": number})
    faultpoint("retain.delete.after")
    clear_intent(lake, COMPONENT, f"{number:08d}")


def closed_days(deletions: Iterable[Deletion]) -> frozenset[date]:
    """The days whose cells can't be made anew though rows of them may come: weeks or months with them would be lost."""
    found: set[date] = set()
    for one in deletions:
        for shown in one.proof.get("cubes", {}).values() if one.layer == "cube" else ():
            first, after = (date.fromisoformat(text) for text in shown.get("closes", ("0001-01-01", "0001-01-01")))
            found.update(first + timedelta(days=at) for at in range((after - first).days))
    return frozenset(found)


def _removes(files: Iterable[DataFile], intent: dict[str, Any]) -> list[DataFile]:
    """The files to remove; of a cube all of the segment, as a build may have merged them since the intent."""
    if intent["layer"] != "cube":
        paths = set(intent["paths"])
        return [replace(file, minimum={}, maximum={}) for file in files if file.path in paths]
    [one] = intent["deletions"]
    place = {"grain": one["grain"], "segment": one["segment"]}
    return [file for file in files if dict(file.partition) == place]
