"""The embedded engine: DuckDB reads explicit file lists of pinned Delta versions and writes Parquet for commits.

`macros` give SQL the exact arithmetic that DuckDB lacks: its own avg() and decimal division return doubles.
"""

from __future__ import annotations

import json
import os
import re
import uuid
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import duckdb
import pyarrow as pa

from lake.delta import DataFile, Snapshot
from lake.errors import FleetcubeError, LakeError, OutOfMemory, QueryError
from lake.intents import sync_folder, work_folder
from lake.places import address, is_remote
from lake.refusals import refusal
from lake.settings import Settings
from lake.tables import ARROW_TYPES, TableRef

# See Duck.table. For the whole process, since a filter of one thread is lost to the next.
warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")

# Rows to a row group: small enough that bounds prune, large enough that columns compress.
_ROW_GROUP: Final = 122_880

# Exact quotients, rounded once, half to even, at the ninth place; an average over a count of 0 is NULL. They work on
# unscaled 128-bit integers, so no double comes near them; what doesn't fit is an error. The engine writes an argument
# out at every mention, so each is mentioned as rarely as can be: planning an average takes 4 ms so, 40 ms plainly.
_MACROS: Final = (
    *(
        f"""CREATE OR REPLACE MACRO fc_u{places}(fc_x) AS
        CAST(replace(CAST(CAST(fc_x AS DECIMAL(38, {places})) AS VARCHAR), '.', '') AS HUGEINT)"""
        for places in (3, 9, 12)
    ),
    # Of twice the quotient, t whole and r left: half of it rounded up, less one for a tie above an even number.
    "CREATE OR REPLACE MACRO fc_half(fc_t, fc_r) AS (fc_t + 1) // 2 - CAST(fc_r = 0 AND fc_t % 4 = 1 AS INTEGER)",
    """CREATE OR REPLACE MACRO fc_even(fc_n, fc_d) AS
    sign(fc_n) * fc_half(abs(fc_n) * 2 // fc_d, abs(fc_n) * 2 % fc_d)""",
    "CREATE OR REPLACE MACRO fc_nine(fc_q) AS CAST(fc_q AS DECIMAL(38, 0)) * CAST(0.000000001 AS DECIMAL(9, 9))",
    # An average: a sum of up to nine places over a count.
    "CREATE OR REPLACE MACRO fc_avg(fc_s, fc_c) AS fc_nine(fc_even(fc_u9(fc_s), nullif(fc_c, 0)))",
    # A mean over time: a sum of value times seconds (twelve places) over seconds (three).
    "CREATE OR REPLACE MACRO fc_time_avg(fc_w, fc_s) AS fc_nine(fc_even(fc_u12(fc_w), nullif(fc_u3(fc_s), 0)))",
    # A quotient of two numbers of up to nine places; division by zero is an error.
    """CREATE OR REPLACE MACRO fc_divide(fc_a, fc_b) AS
    fc_nine(fc_even(fc_u9(fc_a) * 1000000000 * sign(fc_b), abs(fc_u9(fc_b))))""",
)

# Settings of a connection; all others are the database's.
_SESSION: Final = ("SET TimeZone = 'UTC'", "SET enable_progress_bar = false")

_WRAPPED: Final[Mapping[str, type[duckdb.Error]]] = {
    "INTERRUPT": duckdb.InterruptException,
    "Out of Memory": duckdb.OutOfMemoryException,
    "IO Error": duckdb.IOException,
    "Out of Range": duckdb.OutOfRangeException,
    "Conversion": duckdb.ConversionException,
    "Invalid Input": duckdb.InvalidInputException,
}


class Duck:
    """One DuckDB connection with the project's settings and macros; `cursor()` gives another on the same database."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, installed: set[str] | None = None) -> None:
        """Wrap a connection made by `connect`; `installed` names what its database was given, for all its cursors."""
        self.connection = connection
        self.installed = set() if installed is None else installed

    def cursor(self) -> Duck:
        """A second connection to the same database, for another thread."""
        duck = Duck(self.connection.cursor(), self.installed)
        for setting in _SESSION:
            duck.execute(setting)
        return duck

    def execute(self, text: str, params: Sequence[Any] | dict[str, Any] = ()) -> None:
        """Run a statement for its effect."""
        self._run(text, params)

    def sql(self, text: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement as tuples of Python values (decimals stay Decimal)."""
        return self._run(text, params).fetchall()

    def table(self, text: str, params: Sequence[Any] | dict[str, Any] = ()) -> pa.Table:
        """All rows of a statement as an Arrow table."""
        # Not connection.sql(), which plans every statement twice; the copy that the engine warns of is of an answer,
        # which is small.
        result = self._run(text, params)
        try:
            return result.to_arrow_table()
        except duckdb.Error as error:
            raise _translated(error) from error

    def batches(self, text: str, rows: int) -> Iterator[pa.RecordBatch]:
        """The rows of a statement as Arrow batches of at most `rows`, made while they are taken."""
        reader: pa.RecordBatchReader = self._run(text, ()).to_arrow_reader(rows)
        yield from reader

    def stream(self, text: str, rows: int) -> Iterator[pa.RecordBatch]:
        """As `batches`, but nothing is kept of what was taken: for answers larger than memory, at twice the planning.

        Errors come as they do from `table`, also between batches. Only one stream at a time on a connection.
        """
        try:
            reader: pa.RecordBatchReader = self.connection.sql(text).to_arrow_reader(rows)
            yield pa.RecordBatch.from_arrays([pa.nulls(0, one.type) for one in reader.schema], schema=reader.schema)
            yield from reader
        except duckdb.Error as error:
            raise _translated(error) from error
        except (OSError, pa.ArrowException) as error:
            # Between batches the engine's error comes wrapped by Arrow: by its text it is known again.
            said = str(error)
            kind = next((one for word, one in _WRAPPED.items() if said.startswith(word)), duckdb.Error)
            raise _translated(kind(said)) from error

    def register(self, name: str, data: pa.Table) -> None:
        """Make an Arrow table readable by `name`; `unregister` takes it away."""
        self.connection.register(name, data)

    def unregister(self, name: str) -> None:
        """Forget a registered table."""
        self.connection.unregister(name)

    def interrupt(self) -> None:
        """Stop the statement that runs on this connection, from another thread."""
        self.connection.interrupt()

    def scan(
        self, snapshot: Snapshot, paths: Sequence[str] | None = None, columns: Collection[str] | None = None
    ) -> str:
        """SQL to put after FROM for the snapshot's rows (or those of `paths` only), with the table's column types.

        Without files it is an empty relation of the same columns. `columns` names those that are needed (None: all):
        a wide table costs milliseconds of planning at each scan.
        """
        found = snapshot.paths() if paths is None else list(paths)
        wanted = [column for column in snapshot.ref.schema if columns is None or column.name in columns]
        names = ", ".join(f'"{column.name}"' for column in wanted)
        if not found:
            nulls = ", ".join(f'CAST(NULL AS {duck_type(column.type)}) AS "{column.name}"' for column in wanted)
            return f"(SELECT {nulls} WHERE false)"
        listed = ", ".join(text_literal(address(path)) for path in found)
        types = ", ".join(
            f"'{column.name}': '{duck_type(column.type)}'"
            for column in wanted
            if column.name in snapshot.ref.partitions
        )
        hive = f", hive_partitioning = true, hive_types = {{{types}}}" if types else ", hive_partitioning = false"
        return f"(SELECT {names} FROM read_parquet([{listed}]{hive}))"

    def write(
        self,
        select: str,
        lake: Path,
        ref: TableRef,
        stem: str,
        *,
        stats: Sequence[str] = (),
        order: str = "",
        partition: Mapping[str, str] | None = None,
        enumerated: Collection[str] = (),
        level: int = 3,
    ) -> list[DataFile]:
        """Write the rows of `select` as synced Parquet files of the table, not yet visible: commit them.

        `select` must yield the table's columns by name; `stem` begins the files' names; on a local disk a repeat
        overwrites itself, in an object store it leaves the first files to `vacuum`.
        `stats` are integer or timestamp columns whose bounds readers will prune by; `order` is an ORDER BY list.
        `partition` says that all rows are of that one partition: one ordered file, at a third of the time.
        `enumerated` columns may be enumerations, which are written as texts without being made into texts first;
        `level` is zstd's.
        """
        root = ref.path(lake)
        folder = root.joinpath(*(f"{name}={value}" for name, value in (partition or {}).items()))
        if is_remote(root):
            # No lock reaches other hosts, so no file may be overwritten: each has a name of its own.
            stem = f"{stem}-{uuid.uuid4().hex[:16]}"
        else:
            folder.mkdir(parents=True, exist_ok=True)
        written = [item for item in ref.schema if item.name not in (partition or {})]
        columns = ", ".join(
            f'"{item.name}"'
            if item.name in enumerated
            else f'CAST("{item.name}" AS {duck_type(item.type)}) AS "{item.name}"'
            for item in written
        )
        ordered = f" ORDER BY {order}" if order else ""
        packed = f"COMPRESSION zstd, COMPRESSION_LEVEL {level}, ROW_GROUP_SIZE {_ROW_GROUP}"
        options = f"FORMAT parquet, {packed}, RETURN_STATS"
        target = folder / f"{stem}.parquet"
        if ref.partitions and partition is None:
            parts = ", ".join(f'"{name}"' for name in ref.partitions)
            options += f", PARTITION_BY ({parts}), FILENAME_PATTERN '{stem}-{{i}}', OVERWRITE_OR_IGNORE"
            target = root
        into = text_literal(address(target))
        rows = self.sql(f"COPY (SELECT {columns} FROM ({select}){ordered}) TO {into} ({options})")
        files = [_data_file(row, root, stats, partition or dict(row[5] or {})) for row in rows if row[1] > 0]
        if not is_remote(root):
            _sync(root, files)
        return files

    def _run(self, text: str, params: Sequence[Any] | dict[str, Any]) -> duckdb.DuckDBPyConnection:
        try:
            return self.connection.execute(text, params or None)
        except duckdb.Error as error:
            raise _translated(error) from error


def connect(settings: Settings, *, database: str = ":memory:", spill: Path | None = None) -> Duck:
    """An engine with the memory and thread limits of the settings; it spills into `spill`, or the lake's _work."""
    connection = duckdb.connect(database)
    duck = Duck(connection)
    for setting in _SESSION:
        duck.execute(setting)
    duck.execute(f"SET memory_limit = '{settings.memory_mib}MiB'")
    if settings.threads:
        duck.execute(f"SET threads = {settings.threads}")
    if is_remote(settings.lake):
        from lake.objects import file_system

        connection.register_filesystem(file_system())
    if spill is not None or is_remote(settings.lake) or settings.lake.is_dir():
        folder = spill or work_folder(settings.lake, "spill")
        duck.execute(f"SET temp_directory = {text_literal(str(folder))}")
        if settings.spill_mib:
            duck.execute(f"SET max_temp_directory_size = '{settings.spill_mib}MiB'")
    duck.execute("SET autoinstall_known_extensions = false")
    for macro in _MACROS:
        duck.execute(macro)
    return duck


# An error of the object store comes through the engine as the text of a traceback.
_STORE_SAID: Final = re.compile(r"^(?:lake\.errors\.)?(?:LakeError|ConfigError): (.+)$", re.MULTILINE)


def _translated(error: duckdb.Error) -> FleetcubeError:
    """The engine's error as ours: of what is wrong with the engine, and else with the statement (`lake.refusals`)."""
    said = str(error).splitlines()[0]
    if said.startswith("Traceback") and (store := _STORE_SAID.search(str(error))):
        return LakeError(store[1])
    if isinstance(error, duckdb.OutOfMemoryException):
        return OutOfMemory(
            f"The memory limit was reached: {said}.", todo="Raise memory_mib, or ask for a shorter range."
        )
    if isinstance(error, duckdb.IOException):
        return LakeError(
            f"A file of the lake can't be read or written: {said}.", todo="Check the disk, then try again."
        )
    if isinstance(error, duckdb.InterruptException):
        return QueryError("The statement was cancelled.", code="57014")
    return refusal(error)


def duck_type(kind: pa.DataType) -> str:
    """DuckDB's name of an Arrow type that the tables use."""
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return _DUCK_TYPES[kind]


_DUCK_TYPES: Final[dict[pa.DataType, str]] = {
    ARROW_TYPES["timestamp"]: "TIMESTAMPTZ",
    ARROW_TYPES["integer"]: "BIGINT",
    ARROW_TYPES["string"]: "VARCHAR",
    ARROW_TYPES["boolean"]: "BOOLEAN",
    ARROW_TYPES["counts"]: "BIGINT[]",
    ARROW_TYPES["date"]: "DATE",
    ARROW_TYPES["double"]: "DOUBLE",
}


def arrow_texts(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> pa.Table:
    """Rows of texts as an Arrow table of strings, to be registered and cast in SQL."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return pa.Table.from_arrays([pa.array(column, pa.string()) for column in columns], names=list(names))


def text_literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _data_file(row: tuple[Any, ...], root: Path, stats: Sequence[str], partition: Mapping[str, str | None]) -> DataFile:
    name, rows, size, _, columns = row[:5]
    bounds = {column: columns.get(f'"{column}"', {}) for column in stats}
    return DataFile(
        path=quote(os.path.relpath(name, address(root)), safe="/=.-_:"),
        rows=rows,
        size_bytes=size,
        partition=partition,
        minimum={key: _bound(value["min"], up=False) for key, value in bounds.items() if value.get("min") is not None},
        maximum={key: _bound(value["max"], up=True) for key, value in bounds.items() if value.get("max") is not None},
    )


def _bound(text: str, *, up: bool) -> int | str:
    """A column bound for Delta's statistics, where times are milliseconds: rounded outwards, so it still bounds."""
    if text.lstrip("-").isdigit():
        return int(text)
    moment = datetime.fromisoformat(text)
    if up and moment.microsecond % 1000:
        moment += timedelta(milliseconds=1)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _sync(root: Path, files: Sequence[DataFile]) -> None:
    """fsync the files and their folders: a commit must never outlive the rows that it names."""
    for file in files:
        descriptor = os.open(root / file.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    for folder in {root, *((root / file.path).parent for file in files)}:
        sync_folder(folder)


def json_literal(value: Any) -> str:
    """A SQL string literal holding canonical JSON."""
    return text_literal(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
