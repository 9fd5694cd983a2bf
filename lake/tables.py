"""Every table of a lake: name, place, partitions and Arrow schema. Nobody else makes a table's name or path.

All tables share one frozen protocol (see `lake/delta.py`): UTC timestamps, no deletion vectors, no column mapping.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from lake.errors import DefinitionError
from lake.facts import Fact, load_facts
from lake.lookups import load_lookups
from lake.own import once

TIMESTAMP: Final = pa.timestamp("us", "UTC")

ARROW_TYPES: Final[dict[str, pa.DataType]] = {
    "timestamp": TIMESTAMP,
    "decimal": pa.decimal128(38, 9),
    "duration": pa.decimal128(18, 6),
    "interval": pa.decimal128(12, 3),
    "integer": pa.int64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "labels": pa.string(),
    "counts": pa.list_(pa.int64()),
    "date": pa.date32(),
    "double": pa.float64(),
}


@dataclass(frozen=True)
class TableRef:
    """A table as a value: `layer/name`, its Arrow schema, its partition columns and what it holds.

    `properties` go into the table's metadata when it is made.
    """

    layer: str
    name: str
    description: str
    schema: pa.Schema
    partitions: tuple[str, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """`layer` or `layer/name`: the table's folder below the lake, and the name of its lease."""
        return f"{self.layer}/{self.name}" if self.name else self.layer

    def path(self, lake: Path) -> Path:
        """The table's folder in this lake."""
        return lake / self.key


_IDENTITY: Final = (
    ("agent", "string", "Sender: an agent's name, or file: and a digest for a replayed file"),
    ("boot", "string", "Start of the sender, new at each; empty for files"),
    ("seq", "integer", "Sequence number of the record, or line of the file"),
    ("idx", "integer", "Place of the row within its record"),
)
_ROW_KEY: Final = ("row_key", "string", "Declared natural key of the row, if its source has one")


def field(name: str, kind: str, comment: str, unit: str = "") -> pa.Field:
    """A column with its description and unit as Delta metadata, which any client shows as the column's comment."""
    metadata = {"comment": f"{comment} [{unit}]" if unit and unit != "1" else comment}
    if unit:
        metadata["unit"] = unit
    return pa.field(name, ARROW_TYPES[kind], metadata=metadata)


def _unit(unit: str | None) -> str:
    return "" if unit in (None, "none") else str(unit)


def _state(state: tuple[str, str, str]) -> pa.Field:
    name, kind, comment = state
    decimal = re.fullmatch(r"DECIMAL\((\d+), ?(\d+)\)", kind)
    if decimal is None and kind != "BIGINT":
        raise DefinitionError(f"'{kind}' is no type of a state.", where=name, todo="Use BIGINT or DECIMAL(p,s).")
    arrow = pa.decimal128(int(decimal[1]), int(decimal[2])) if decimal else pa.int64()
    return pa.field(name, arrow, metadata={"comment": comment})


def _schema(rows: Iterable[tuple[str, ...]]) -> pa.Schema:
    return pa.schema([field(*row) for row in rows])


@once
def landing(fact_name: str) -> TableRef:
    """Rows of a fact as they came: every value is the original text."""
    fact = _fact(fact_name)
    head = _schema(
        (
            *_IDENTITY,
            _ROW_KEY,
            ("received_at", "timestamp", "When the row was accepted"),
            ("source", "string", "agent, simulation, or the mapping that read the file"),
            ("problem", "string", "Empty for a well-formed row; else malformed, unknown_column or gap"),
            ("raw", "string", "Original text of a malformed line, or details of a gap"),
            ("lost", "integer", "1, or the number of lost sequence numbers that a gap row stands for"),
            ("reading", "string", "How to read the texts (units, time format, values), as JSON"),
            ("landed", "integer", "Number of the landing batch"),
        )
    )
    columns = [field(column.name, "string", column.description) for column in fact.columns]
    return TableRef("landing", fact.name, f"As received: {fact.description}", pa.schema([*head, *columns]))


@once
def trusted(fact_name: str) -> TableRef:
    """Rows of a fact that passed the gate, typed and exact; partitioned by their UTC day."""
    fact = _fact(fact_name)
    columns = [field(column.name, column.type, column.description, _unit(column.unit)) for column in fact.columns]
    tail = _schema(
        (
            *_IDENTITY,
            _ROW_KEY,
            ("batch", "integer", "Gate batch that published the row; only grows"),
            ("day", "date", "UTC day of ts"),
        )
    )
    return TableRef("trusted", fact.name, fact.description, pa.schema([*columns, *tail]), ("day",))


@once
def lookup(name: str) -> TableRef:
    """A lookup joined by its key, valid from and to."""
    found = load_lookups()[name]
    columns = [field(column.name, column.type, column.description, _unit(column.unit)) for column in found.columns]
    return TableRef("lookups", name, found.description, pa.schema(columns))


def cube(name: str, digest: str, dimensions: Sequence[str], states: Sequence[tuple[str, str, str]]) -> TableRef:
    """A log of partial cells of one definition (its `digest`).

    `states` are the measures' columns: (name, 'BIGINT' or 'DECIMAL(p,s)', description).
    """
    head = _schema(
        (
            ("grain", "string", "Length of the time bucket: 5m, 1h or 1d"),
            ("segment", "string", "Partition that holds the bucket: a day, a month or a year by grain"),
            ("cuboid", "integer", "Bit i is set when the i-th dimension is kept"),
            ("bucket", "timestamp", "Start of the time bucket"),
        )
    )
    dims = [field(dimension, "string", "Dimension; null when the cuboid leaves it out") for dimension in dimensions]
    tail = _schema(
        (
            ("sketch", "string", "Empty for a cell; the value column for a row of its distribution"),
            ("slot", "integer", "Slot of the distribution"),
            ("n", "integer", "Rows in the slot"),
            ("rows", "integer", "Rows behind the cell"),
            ("build", "integer", "Build that wrote the partial cell"),
        )
    )
    schema = pa.schema([*head, *dims, *list(tail)[:4], *map(_state, states), tail.field("build")])
    return TableRef("cubes", f"{name}/{digest}", f"Partial cells of cube {name}", schema, ("grain", "segment"))


QUARANTINE: Final = TableRef(
    "quarantine",
    "",
    "Rows that failed a check, with the reason and their original content",
    _schema(
        (
            ("fact", "string", "Fact of the row"),
            ("batch", "integer", "Gate batch that judged it"),
            *_IDENTITY,
            ("ts", "timestamp", "Event time, if it could be read"),
            ("day", "date", "UTC day of ts, if it could be read"),
            ("site", "string", "Site, if the row named one"),
            ("check", "string", "Check that failed"),
            ("reason", "string", "What was wrong, in words"),
            ("content", "string", "The row's texts as they came, as JSON; of a row in conflict its typed values"),
            ("received_at", "timestamp", "When the row was accepted"),
        )
    ),
    ("fact",),
)

GAPS: Final = TableRef(
    "gaps",
    "",
    "Sequence numbers that were sent and are lost for good",
    _schema(
        (
            ("fact", "string", "Fact of the lost rows"),
            ("batch", "integer", "Gate batch that recorded it"),
            ("agent", "string", "Sender"),
            ("boot", "string", "Start of the sender"),
            ("seq_from", "integer", "First lost sequence number"),
            ("seq_to", "integer", "Last lost sequence number"),
            ("rows", "integer", "Lost sequence numbers"),
            ("reason", "string", "Why they are lost"),
            ("received_at", "timestamp", "When the loss was noticed"),
        )
    ),
)

SEEN: Final = TableRef(
    "seen",
    "",
    "Ranges of sequence numbers that were ever judged, kept for ever, so that a repeat is known",
    _schema(
        (
            ("agent", "string", "Sender"),
            ("boot", "string", "Start of the sender"),
            ("seq_from", "integer", "First sequence number"),
            ("seq_to", "integer", "Last sequence number"),
            ("fact", "string", "Fact of the rows"),
            ("batch", "integer", "Gate batch that judged them"),
        )
    ),
)

BATCHES: Final = TableRef(
    "batches",
    "",
    "One row per batch that the gate judged: its verdict and what became of every received row",
    _schema(
        (
            ("fact", "string", "Fact"),
            ("batch", "integer", "Gate batch"),
            ("landed_from", "integer", "First landing batch judged"),
            ("landed_to", "integer", "Last landing batch judged"),
            ("received", "integer", "Rows received"),
            ("duplicates", "integer", "Rows dropped as repeats"),
            ("trusted", "integer", "Rows published"),
            ("quarantine", "integer", "Rows kept aside with a reason"),
            ("gaps", "integer", "Sequence numbers lost"),
            ("blocked", "integer", "Rows held back by a blocked verdict"),
            ("withdrawn", "integer", "Rows of earlier batches taken out of trusted"),
            ("verdict", "string", "passed, warned or blocked; released, undone or erased for a correction"),
            ("suite", "string", "Digest of the checks in force"),
            ("checks", "string", "What each check found, as JSON"),
            ("first_ts", "timestamp", "Oldest event time published"),
            ("last_ts", "timestamp", "Newest event time published"),
            ("started_at", "timestamp", "Start of the judgement"),
            ("ended_at", "timestamp", "End of the judgement"),
        )
    ),
)

BUILDS: Final = TableRef(
    "builds",
    "",
    "One row per build or refresh of a cube; derived, never the authority",
    _schema(
        (
            ("cube", "string", "Cube"),
            ("definition", "string", "Digest of the definition"),
            ("build", "integer", "Number of the build"),
            ("kind", "string", "build or refresh"),
            ("watermark_from", "integer", "Trusted batch up to which the cube stood before"),
            ("watermark_to", "integer", "Trusted batch up to which it stands now"),
            ("source_version", "integer", "Delta version of the trusted table that was read"),
            ("rows_read", "integer", "Trusted rows read"),
            ("cells", "integer", "Partial cells written"),
            ("cuboid_rows", "string", "Cells by grain and cuboid, as JSON"),
            ("digest", "string", "Digest of the cells written"),
            ("seconds", "double", "Time taken", "s"),
            ("built_at", "timestamp", "End of the build"),
        )
    ),
)

DELETIONS: Final = TableRef(
    "deletions",
    "",
    "One row per part that retention deleted, with what proved it safe; written before the part goes",
    _schema(
        (
            ("number", "integer", "Number of the deletion; only grows"),
            ("layer", "string", "landing, trusted, quarantine, cube or dimension"),
            ("fact", "string", "Fact of the rows, or of the cube"),
            ("cube", "string", "Cube, or empty"),
            ("definition", "string", "Digest of the cube's definition, or empty"),
            ("grain", "string", "Grain of the cells, or empty"),
            ("segment", "string", "UTC day of trusted rows, segment of a cube's cells, or empty"),
            ("partial", "boolean", "Whether other rows of that day stayed"),
            ("rows", "integer", "Rows deleted, as the accounts count them"),
            ("size_bytes", "integer", "Bytes of the files", "By"),
            ("batch", "integer", "Trusted batch up to which the rows were there; 0 for other layers"),
            ("why", "string", "The rule that they fell under"),
            ("proof", "string", "What proved it safe, as JSON: versions, counts, digests, totals"),
            ("deleted_at", "timestamp", "When it was decided"),
        )
    ),
)

HOLDS: Final = TableRef(
    "holds",
    "",
    "Legal holds placed and lifted: what a hold covers is never deleted",
    _schema(
        (
            ("hold", "integer", "Number of the hold"),
            ("action", "string", "add or remove"),
            ("fact", "string", "Fact that is held"),
            ("first", "date", "First UTC day held; null from the beginning"),
            ("last", "date", "Last UTC day held; null without end"),
            ("site", "string", "Site that the matter is about; null for all"),
            ("reason", "string", "Why it was placed or lifted"),
            ("at", "timestamp", "When"),
        )
    ),
)

SUSPECTS: Final = TableRef(
    "suspects",
    "",
    "Cells that were found to differ from their rows: no reader answers from them until they are cleared",
    _schema(
        (
            ("number", "integer", "Number of the finding; only grows"),
            ("action", "string", "mark or clear"),
            ("cube", "string", "Cube"),
            ("definition", "string", "Digest of the cube's definition"),
            ("grain", "string", "Grain of the cells"),
            ("first", "date", "First UTC day of the cells"),
            ("last", "date", "Last UTC day of the cells"),
            ("version", "integer", "Version of the cube's table that was found wrong, or from which on it holds"),
            ("why", "string", "What was found"),
            ("at", "timestamp", "When"),
        )
    ),
)

ALERTS: Final = TableRef(
    "alerts",
    "",
    "What a person should hear of; a later row of the same kind and entity says how it went on, or that it is over",
    _schema(
        (
            ("since", "timestamp", "When it began, or ended"),
            ("kind", "string", "What found it, or what is wrong, such as selfaudit or gate"),
            ("severity", "string", "critical, warning or info"),
            ("entity", "string", "What it is about, such as cube/serving"),
            ("state", "string", "raised, changed or cleared"),
            ("text", "string", "What is wrong, and what to do"),
            ("data", "string", "More, as JSON; of a state of the watch its number, rows, and whether it was told"),
        )
    ),
)

LEDGER: Final = TableRef(
    "ledger",
    "",
    "One row per step that ran",
    _schema(
        (
            ("at", "timestamp", "End of the step"),
            ("step", "string", "Verb: land, gate, build, refresh, replay, simulate, release, undo, erase, retain, …"),
            ("subject", "string", "Fact, cube or file"),
            ("outcome", "string", "done, blocked or failed"),
            ("rows", "integer", "Rows handled"),
            ("seconds", "double", "Time taken", "s"),
            ("detail", "string", "More, as JSON"),
        )
    ),
)


def _fact(name: str) -> Fact:
    return load_facts()[name]
