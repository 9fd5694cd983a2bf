"""Compaction: many small files of a table become few, in one commit that changes no row of any answer.

Which files: the smallest first, and larger ones as long as what is merged already weighs as much; so a row is
rewritten a number of times that grows with the logarithm of its table, and a large file isn't touched for a small one.

A killed compaction leaves files that no version names; the next one overwrites them. The caller holds the leases of
those who remove files of the table; appends may go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lake.delta import DataFile, Snapshot, commit, open_snapshot
from lake.errors import LakeError
from lake.faults import faultpoint

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.tables import TableRef

# SQL of a relation of the table's rows -> SQL of the rows to write in their place.
Merge = Callable[[str], str]


@dataclass(frozen=True)
class Layout:
    """How a table's files are written: columns whose bounds go into the log, order of rows, and which files may merge.

    Files merge within a partition, and within a `group` of it. `merge` is None where rows stay as they are; else it
    may add rows up, and `total` is an aggregate over rows that merging must not change.
    """

    stats: tuple[str, ...] = ()
    order: str = ""
    group: Callable[[DataFile], Hashable] = lambda _: None
    merge: Merge | None = None
    total: str = "count(*)"


@dataclass(frozen=True)
class Compacted:
    """What a compaction did: files before and after, of the whole table."""

    table: str
    before: int
    after: int
    rewritten: int


def excess(files: Sequence[DataFile], most: int) -> list[DataFile]:
    """The files to merge into one so that at most `most` remain; none where there are no more already."""
    ordered = sorted(files, key=lambda file: (file.rows, file.path))
    if len(ordered) <= most:
        return []
    chosen = ordered[: len(ordered) - most + 1]
    weight = sum(file.rows for file in chosen)
    for file in ordered[len(chosen) :]:
        if file.rows > weight:
            break
        chosen.append(file)
        weight += file.rows
    return chosen


def compact(
    duck: Duck, lake: Path, ref: TableRef, layout: Layout, *, most: int | Callable[[Sequence[DataFile]], int]
) -> Compacted:
    """Merge files until each partition (and group) has at most `most`, by one commit; `most` may depend on the files.

    Errors: LakeError when another writer took away one of the files meanwhile; nothing is changed then.
    """
    snapshot = open_snapshot(lake, ref)
    parts: dict[Hashable, list[DataFile]] = {}
    for file in snapshot.files:
        if None not in file.partition.values():
            parts.setdefault((tuple(sorted(file.partition.items())), layout.group(file)), []).append(file)
    runs = [excess(files, most if isinstance(most, int) else most(files)) for files in parts.values()]
    runs = [files for files in runs if files]
    before = len(snapshot.files)
    if not runs:
        return Compacted(ref.key, before, before, 0)
    number = (snapshot.txn("compact") or 0) + 1
    adds: list[DataFile] = []
    for place, files in enumerate(runs):
        adds += _merged(duck, snapshot, layout, files, f"compact-{number:08d}-{place:04d}")
    faultpoint("compact.write.after")
    removes = [file for files in runs for file in files]
    faultpoint("compact.commit.before")
    after = commit(lake, ref, snapshot, adds=adds, removes=removes, txns={"compact": number}, same_rows=True)
    faultpoint("compact.commit.after")
    return Compacted(ref.key, before, len(after.files), len(removes))


def _merged(duck: Duck, snapshot: Snapshot, layout: Layout, files: Sequence[DataFile], stem: str) -> list[DataFile]:
    """One file with the rows of all of them; refused when it doesn't hold the same total."""
    ref = snapshot.ref
    scan = duck.scan(snapshot, [str(snapshot.root / file.path) for file in files])
    select = f"SELECT * FROM {scan}" if layout.merge is None else layout.merge(scan)
    partition = {name: str(value) for name, value in files[0].partition.items()}
    lake = snapshot.root.parents[ref.key.count("/")]
    written = duck.write(
        select, lake, ref, stem, stats=layout.stats, order=layout.order, partition=partition if partition else None
    )
    new = duck.scan(snapshot, [str(snapshot.root / file.path) for file in written])
    [(old_total,)] = duck.sql(f"SELECT {layout.total} FROM {scan}")
    [(new_total,)] = duck.sql(f"SELECT {layout.total} FROM {new}")
    if old_total != new_total:
        raise LakeError(
            f"Merging {len(files)} files would change what they hold: {old_total} became {new_total}.",
            where=str(snapshot.root),
            todo="Nothing was changed. Run `fleetcube cube verify`, and report how it came about.",
        )
    return written
