"""Delta tables of the lake: made by one function, read at one version, changed by fenced commits.

A commit carries transaction numbers (`txns`), which Delta keeps for ever; a commit whose numbers are not greater than
the stored ones is refused, which makes every step repeatable. delta-rs alone does not refuse (delta-io/delta-rs#2580).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from lake.errors import LakeError
from lake.intents import sync_folder
from lake.places import address, is_remote
from lake.tables import TableRef
from lake.times import EPOCH

_ATTEMPTS = 5


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a table: path relative to the table, rows, partition values, and known column bounds."""

    path: str
    rows: int
    size_bytes: int
    partition: Mapping[str, str | None]
    minimum: Mapping[str, Any]
    maximum: Mapping[str, Any]

    def may_hold(self, column: str, at_least: Any = None, at_most: Any = None) -> bool:
        """Whether rows with `at_least` <= column <= `at_most` may be inside; True when the bounds aren't known."""
        if at_least is not None and (most := self.maximum.get(column)) is not None and most < at_least:
            return False
        return not (at_most is not None and (least := self.minimum.get(column)) is not None and least > at_most)


@dataclass(frozen=True)
class Snapshot:
    """One version of a table: its files and transaction numbers. `version` is -1 where there is no table yet."""

    ref: TableRef
    root: Path
    version: int
    files: tuple[DataFile, ...]
    handle: DeltaTable | None
    # Numbers that were asked for: delta-rs looks for each in the whole log, and a statement asks for a dozen.
    _txns: dict[str, int | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def exists(self) -> bool:
        """Whether the table has been made."""
        return self.handle is not None

    @property
    def rows(self) -> int:
        """Rows of this version, from metadata."""
        return sum(file.rows for file in self.files)

    def txn(self, name: str) -> int | None:
        """The stored transaction number of that name, or None if it was never set."""
        if self.handle is None:
            return None
        if name not in self._txns:
            self._txns[name] = self.handle.transaction_version(name)
        return self._txns[name]

    def property(self, name: str) -> str | None:
        """A property of the table's metadata, or None."""
        return None if self.handle is None else self.handle.metadata().configuration.get(name)

    def paths(self, keep: Callable[[DataFile], bool] | None = None) -> list[str]:
        """Absolute paths of the files for which `keep` holds (all without it), in the order of their names."""
        return sorted(str(self.root / file.path) for file in self.files if keep is None or keep(file))


def create_table(lake: Path, ref: TableRef) -> None:
    """Make the table if it is missing: reader version 1, writer version 2, descriptions and units in its metadata."""
    root = ref.path(lake)
    if is_remote(root):
        from lake.objects import require_one_winner

        require_one_winner(lake)
    try:
        with _store_errors(root):
            _create(root, ref)
    except DeltaError:
        # Of two that make it one is told of a conflict, and both have it.
        if not open_snapshot(lake, ref).exists:
            raise


def _create(root: Path, ref: TableRef) -> None:
    DeltaTable.create(
        address(root),
        schema=ref.schema,
        mode="ignore",
        partition_by=list(ref.partitions) or None,
        name=ref.key.replace("/", "_"),
        description=ref.description,
        # Bounds of every column go into the log (not of the first 32 only), or files could not be pruned by `batch`.
        configuration={
            "delta.checkpointInterval": "10",
            "delta.dataSkippingNumIndexedCols": "-1",
            "delta.minReaderVersion": "1",
            "delta.minWriterVersion": "2",
            **dict(ref.properties),
        },
        raise_if_key_not_exists=False,
        storage_options=_options(root),
    )


def open_snapshot(lake: Path, ref: TableRef, version: int | None = None) -> Snapshot:
    """The table at `version`, or the newest; an absent table gives a snapshot without files and version -1."""
    root = ref.path(lake)
    if not is_remote(root) and not (root / "_delta_log").is_dir():
        return Snapshot(ref, root, -1, (), None)
    try:
        with _store_errors(root):
            handle = DeltaTable(address(root), version=version, storage_options=_options(root))
            files = _files(handle, ref)
    except TableNotFoundError:
        return Snapshot(ref, root, -1, (), None)
    except DeltaError as error:
        at = "" if version is None else f" at version {version}"
        raise LakeError(
            f"The table can't be read{at}: {str(error).splitlines()[0].rstrip('.')}.",
            where=address(root),
            todo="Restore its _delta_log from a copy; no other table is touched by this.",
        ) from error
    _refuse_features(handle, root)
    return Snapshot(ref, root, handle.version(), files, handle)


def newest_version(lake: Path, ref: TableRef, known: int) -> int:
    """The newest version at or after `known`, found by looking for the next log files; cheaper than opening."""
    log = ref.path(lake) / "_delta_log"
    version = known
    while _is_there(log / f"{version + 1:020d}.json"):
        version += 1
    return version


def _is_there(entry: Path) -> bool:
    if not is_remote(entry):
        return entry.exists()
    from lake.objects import place_of

    return place_of(entry).size() is not None


def commit(
    lake: Path,
    ref: TableRef,
    snapshot: Snapshot,
    *,
    adds: Sequence[DataFile] = (),
    removes: Sequence[DataFile] = (),
    txns: Mapping[str, int],
    same_rows: bool = False,
) -> Snapshot:
    """Add and remove files in one durable Delta commit carrying `txns`; gives the new snapshot.

    `same_rows` says that the added files hold the very rows of the removed ones (a compaction).

    Invariant: of two commits with the same number one fails, whichever process, and however the reply got lost.
    Errors: LakeError when a stored number is not less than the new one, or when a file to remove is gone.
    """
    if snapshot.handle is None:
        create_table(lake, ref)
        snapshot = open_snapshot(lake, ref)
    elif is_remote(lake):
        from lake.objects import require_one_winner

        require_one_winner(lake)
    for _ in range(_ATTEMPTS):
        _fence(snapshot, txns)
        _refuse_absent(snapshot, removes)
        try:
            _write(snapshot, adds, removes, txns, same_rows)
            break
        except (DeltaError, OSError) as error:
            if isinstance(error, OSError) and not is_remote(lake):
                raise
            # Unknown outcome: an error may follow a commit that stands. Only the log can tell.
            snapshot = open_snapshot(lake, ref)
            present = {file.path for file in snapshot.files}
            if adds and all(file.path in present for file in adds):
                break
            with _store_errors(snapshot.root):
                if isinstance(error, OSError):
                    raise error
            _refuse_absent(snapshot, removes, error)
    else:
        raise LakeError(
            f"No commit in {_ATTEMPTS} tries; other writers were faster.",
            where=address(snapshot.root),
            todo="Try again.",
        )
    written = open_snapshot(lake, ref)
    if not is_remote(lake):
        _sync_log(written)
    return written


def _options(root: Path) -> dict[str, str] | None:
    if not is_remote(root):
        return None
    from lake.store_access import delta_options

    return delta_options()


@contextmanager
def _store_errors(root: Path) -> Iterator[None]:
    """What an object store says through delta-rs, in our words; a local disk's errors go on as they are."""
    try:
        yield
    except OSError as error:
        if not is_remote(root):
            raise
        from lake.store_access import store_error

        raise store_error(error, root) from error


def _refuse_absent(snapshot: Snapshot, removes: Sequence[DataFile], cause: Exception | None = None) -> None:
    """A file that another commit has replaced must stay away: what this commit adds in its place would double it."""
    present = {file.path for file in snapshot.files}
    if not all(file.path in present for file in removes):
        raise LakeError(
            "Another writer changed the files that this commit replaces.",
            where=address(snapshot.root),
            todo="Try again.",
        ) from cause


def _write(
    snapshot: Snapshot,
    adds: Sequence[DataFile],
    removes: Sequence[DataFile],
    txns: Mapping[str, int],
    same_rows: bool,
) -> None:
    assert snapshot.handle is not None, "commit() makes the table before it writes"
    now_ms = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [
        AddAction(
            path=file.path,
            size=file.size_bytes,
            partition_values=dict(file.partition),
            modification_time=now_ms,
            data_change=not same_rows,
            stats=json.dumps(
                {"numRecords": file.rows, "minValues": dict(file.minimum), "maxValues": dict(file.maximum)}
            ),
        )
        for file in adds
    ]
    actions += [
        RemoveAction(
            path=file.path,
            data_change=not same_rows,
            deletion_timestamp=now_ms,
            size=file.size_bytes,
            partition_values=dict(file.partition),
        )
        for file in removes
    ]
    snapshot.handle.create_write_transaction(
        actions,
        mode="append",
        schema=snapshot.ref.schema,
        partition_by=list(snapshot.ref.partitions) or None,
        commit_properties=CommitProperties(
            app_transactions=[Transaction(name, number) for name, number in sorted(txns.items())],
            max_commit_retries=0,
        ),
    )


def _fence(snapshot: Snapshot, txns: Mapping[str, int]) -> None:
    for name, number in txns.items():
        stored = snapshot.txn(name)
        if stored is not None and stored >= number:
            raise LakeError(
                f"Step '{name}' number {number} has been committed before (the table stands at {stored}).",
                where=address(snapshot.root),
                todo="Another process did this work; run the step again to go on from there.",
            )


def _files(handle: DeltaTable, ref: TableRef) -> tuple[DataFile, ...]:
    # Neither pa.table() nor Arrow's own time values: both import pandas, which costs two seconds at every start.
    actions = pa.RecordBatchReader.from_stream(handle.get_add_actions(flatten=False)).read_all().combine_chunks()
    if actions.num_rows == 0:
        return ()
    paths, rows, sizes = (actions[name].to_pylist() for name in ("path", "num_records", "size_bytes"))
    partitions = {name: _values(actions["partition"], name) for name in ref.partitions}
    minima = {
        column.name: _values(actions["min"], column.name) for column in ref.schema if "min" in actions.column_names
    }
    maxima = {
        column.name: _values(actions["max"], column.name) for column in ref.schema if "max" in actions.column_names
    }
    return tuple(
        DataFile(
            path=paths[at],
            rows=rows[at] or 0,
            size_bytes=sizes[at],
            partition={name: _text(values[at]) for name, values in partitions.items()},
            minimum={name: values[at] for name, values in minima.items() if values and values[at] is not None},
            maximum={name: values[at] for name, values in maxima.items() if values and values[at] is not None},
        )
        for at in range(actions.num_rows)
    )


def _values(structs: pa.ChunkedArray, name: str) -> list[Any]:
    """One field of a column of structs as Python values (times as UTC datetimes); empty where it isn't there."""
    kind = structs.type
    if kind.get_field_index(name) < 0:
        return []
    values = pc.struct_field(structs, name)
    if pa.types.is_timestamp(values.type):
        micros = values.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
        return [None if micro is None else EPOCH + timedelta(microseconds=micro) for micro in micros]
    return list(values.to_pylist())


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _refuse_features(handle: DeltaTable, root: Path) -> None:
    """Files listed by the log are read as they are, so a table whose log changes their meaning must be refused."""
    protocol = handle.protocol()
    if protocol.min_reader_version > 1:
        raise LakeError(
            f"The table needs Delta reader version {protocol.min_reader_version} ({protocol.reader_features}).",
            where=str(root),
            todo="Drop the features that were switched on (deletion vectors, column mapping) and try again.",
        )


def _sync_log(snapshot: Snapshot) -> None:
    """fsync the new log entry: delta-rs does not, and an acknowledged commit must survive a power cut."""
    log = snapshot.root / "_delta_log"
    entry = log / f"{snapshot.version:020d}.json"
    descriptor = os.open(entry, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(log)
