"""Facts: the tables of events that fleetcube keeps, each declared in a YAML document with its columns.

Four are shipped in `declarations/facts`; the user's own (`lake.own`) stand beside them, in the same form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from lake import units
from lake.documents import Document, read_document
from lake.errors import DefinitionError, QueryError, did_you_mean
from lake.own import once, own_part

_FOLDER = Path(__file__).parent / "declarations" / "facts"
_STRICT = ConfigDict(frozen=True, extra="forbid")
_DUCK_TYPES = {
    "timestamp": "TIMESTAMPTZ",
    "decimal": "DECIMAL(38,9)",
    "duration": "DECIMAL(18,6)",
    "interval": "DECIMAL(12,3)",
    "integer": "BIGINT",
    "string": "VARCHAR",
    "boolean": "BOOLEAN",
    "labels": "VARCHAR",
    "counts": "BIGINT[]",
}
_NUMBERS = frozenset({"decimal", "duration", "interval", "integer"})
# Columns that the lake adds to every landed and trusted row.
_OF_THE_LAKE = frozenset(
    [
        "agent",
        "boot",
        "seq",
        "idx",
        "row_key",
        "received_at",
        "source",
        "problem",
        "raw",
        "lost",
        "reading",
        "landed",
        "batch",
        "day",
    ]
)
# Names that begin so are the router's own, or PostgreSQL's.
_TAKEN = ("fc_", "pg_")
# Columns that every cube table has beside its dimensions.
_OF_A_CUBE = frozenset(["cuboid", "grain", "segment", "bucket", "sketch", "slot", "n", "rows", "build"])

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Column(BaseModel):
    """A column of a fact. `unit` is UCUM, empty for what has none; `allowed` lists a text's only values, () for any."""

    model_config = _STRICT

    name: _Name
    type: Literal["timestamp", "decimal", "duration", "interval", "integer", "string", "boolean", "labels", "counts"]
    role: Literal["time", "dimension", "value", "detail"]
    unit: str = ""
    description: _Text
    required: bool = False
    allowed: tuple[str, ...] = ()
    sensitivity: Literal["public", "internal", "personal"] = "internal"

    @field_validator("unit")
    @classmethod
    def _unit_is_known(cls, unit: str) -> str:
        return units.checked(unit) if unit else unit

    @model_validator(mode="after")
    def _roles_fit(self) -> Column:
        is_time = self.name == "ts" and self.type == "timestamp" and self.required
        if (self.role == "time" or self.name == "ts") and not (is_time and self.role == "time"):
            raise ValueError("the time column is named ts, of type timestamp, with role time, and required.")
        if self.type in _NUMBERS and self.role != "detail" and not self.unit:
            raise ValueError(f"column {self.name}: a number needs a unit; '1' for a plain number.")
        if self.role == "value" and self.type not in _NUMBERS | {"counts"}:
            raise ValueError(f"column {self.name}: a value must be a number or counts, not {self.type}.")
        if self.allowed and self.type != "string":
            raise ValueError(f"column {self.name}: allowed values are for columns of type string.")
        taken = self.name in _OF_THE_LAKE or is_taken(self.name)
        if taken or (self.role == "dimension" and self.name in _OF_A_CUBE):
            raise ValueError(f"column {self.name}: the lake uses this name itself; choose another.")
        return self


class Fact(BaseModel):
    """A table of events with one time column `ts`; `key` names the natural key, () where a row has none of its own."""

    model_config = _STRICT

    name: _Name
    description: _Text
    key: tuple[str, ...] = ()
    columns: tuple[Column, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _columns_fit(self) -> Fact:
        if is_taken(self.name):
            raise ValueError(f"'{self.name}': names that begin with {' or '.join(_TAKEN)} are taken.")
        names = [column.name for column in self.columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]} is declared twice.")
        if names.count(self.time) != 1 or self.column(self.time).role != "time":
            raise ValueError("a fact has exactly one time column, ts.")
        for name in self.key:
            if name not in names:
                raise ValueError(f"key column {name} is not declared. {did_you_mean(name, names)}".strip())
        return self

    @property
    def time(self) -> str:
        """The name of the time column: a UTC timestamp in microseconds."""
        return "ts"

    @property
    def dimensions(self) -> tuple[Column, ...]:
        """The columns that a cube may slice by, in declared order."""
        return tuple(column for column in self.columns if column.role == "dimension")

    @property
    def values(self) -> tuple[Column, ...]:
        """The columns that a cube may sum or average, in declared order."""
        return tuple(column for column in self.columns if column.role == "value")

    def column(self, name: str) -> Column:
        """The column of that name; QueryError (SQLSTATE 42703) with the nearest name otherwise."""
        for column in self.columns:
            if column.name == name:
                return column
        near = did_you_mean(name, (column.name for column in self.columns))
        raise QueryError(f"fact {self.name} has no column '{name}'.", todo=near, code="42703")


def load_facts(extra: Path | None = None) -> dict[str, Fact]:
    """The shipped facts by name, then the user's own (those of the folder `extra`, where it is given).

    Errors: DefinitionError with file and line; the same name twice is one.
    """
    return dict(_declared(own_part("facts") if extra is None else extra))


def is_taken(name: str) -> bool:
    """Whether SQL could not say a table's or column's name, since such names are taken."""
    return name.startswith(_TAKEN)


def duck_type(column_type: str) -> str:
    """The SQL type in trusted tables of a declared column type."""
    if column_type not in _DUCK_TYPES:
        raise DefinitionError(f"'{column_type}' is not a column type.", todo=did_you_mean(column_type, _DUCK_TYPES))
    return _DUCK_TYPES[column_type]


@once
def _declared(extra: Path | None) -> dict[str, Fact]:
    facts = {fact.name: fact for _, fact in _read(_FOLDER)}
    for document, fact in _read(extra) if extra is not None else ():
        if fact.name in facts:
            raise document.error(f"'{fact.name}' is declared already.", ("name",), "Give the fact another name.")
        facts[fact.name] = fact
    return facts


def _read(folder: Path) -> list[tuple[Document, Fact]]:
    """The facts of a folder in name order; a file bears the name of its fact."""
    if not folder.is_dir():
        raise DefinitionError("no such folder of facts.", where=str(folder), todo="Create it or correct the path.")
    found = []
    for path in sorted(folder.glob("*.yaml")):
        document = read_document(path)
        fact = document.validate(Fact)
        if fact.name != path.stem:
            raise document.error(f"fact '{fact.name}' lies in {path.name}.", ("name",), "Let the file bear its name.")
        found.append((document, fact))
    return found
