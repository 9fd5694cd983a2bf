"""Lookups: the small tables that facts join by key (hardware, prices, carbon, models, sites, ...), as declared.

A lookup is a document `<name>.yaml` (its columns and key) and, where rows are shipped, `<name>.csv` beside it; the
user's own (`lake.own`) stand beside the shipped ones. Where
a lookup has `valid_from` and `valid_to`, a row holds from the first (empty: ever since) until before the second
(empty: still), so a past fact keeps the truth of its own time.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from lake import units
from lake.catalogue import load_catalogue
from lake.documents import load_documents
from lake.errors import DefinitionError, QueryError, did_you_mean
from lake.facts import is_taken, load_facts
from lake.own import once, own_part

_FOLDER = Path(__file__).parent / "declarations" / "lookups"
_STRICT = ConfigDict(frozen=True, extra="forbid")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")

Row = tuple[str | None, ...]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class LookupColumn(BaseModel):
    """A column of a lookup. `unit` is UCUM, empty for what has none."""

    model_config = _STRICT

    name: _Name
    type: Literal["string", "decimal", "integer", "timestamp", "boolean", "labels"]
    unit: str = ""
    description: _Text

    @field_validator("unit")
    @classmethod
    def _unit_is_known(cls, unit: str) -> str:
        return units.checked(unit) if unit else unit


class _Declaration(BaseModel):
    """The document of a lookup."""

    model_config = _STRICT

    name: _Name
    description: _Text
    key: tuple[str, ...] = Field(min_length=1)
    columns: tuple[LookupColumn, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _key_is_declared(self) -> _Declaration:
        names = [column.name for column in self.columns]
        for name in (self.name, *names):
            if is_taken(name):
                raise ValueError(f"'{name}': a name of that beginning is taken; choose another.")
        for name in (*names, *self.key):
            if names.count(name) > 1:
                raise ValueError(f"column {name} is declared twice.")
            if name not in names:
                raise ValueError(f"key column {name} is not declared. {did_you_mean(name, names)}".strip())
        if ("valid_from" in names) != ("valid_to" in names):
            raise ValueError("valid_from and valid_to are declared together or not at all.")
        return self


@dataclass(frozen=True)
class Lookup:
    """A declared lookup; `key` (with `valid_from`, where there is one) tells its rows apart."""

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[LookupColumn, ...]
    folder: Path = _FOLDER

    @property
    def temporal(self) -> bool:
        """Whether rows hold for a time only."""
        return any(column.name == "valid_from" for column in self.columns)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The shipped rows as texts in column order, None where a cell is empty; read and checked on first use."""
        if self.name == "metrics":
            return tuple(_metric_rows(self))
        path = self.folder / f"{self.name}.csv"
        return read_rows(self, path) if path.exists() else ()

    def column(self, name: str) -> LookupColumn:
        """The column of that name; QueryError (SQLSTATE 42703) with the nearest name otherwise."""
        for column in self.columns:
            if column.name == name:
                return column
        near = did_you_mean(name, (column.name for column in self.columns))
        raise QueryError(f"lookup {self.name} has no column '{name}'.", todo=near, code="42703")


@once
def load_lookups() -> dict[str, Lookup]:
    """Every declared lookup by name, the user's own behind the shipped ones; no name is given twice, nor to a fact."""
    found: dict[str, Lookup] = {}
    own = own_part("lookups")
    for folder in (_FOLDER, *([own] if own is not None else [])):
        for stem, declared in load_documents(folder, _Declaration).items():
            path = folder / f"{stem}.yaml"
            if declared.name != stem:
                raise DefinitionError(f"lookup '{declared.name}' lies in {stem}.yaml.", where=f"{path}:1")
            if stem in found or stem in load_facts():
                what = f"'{stem}' is declared already, as a {'lookup' if stem in found else 'fact'}."
                raise DefinitionError(what, where=f"{path}:1", todo="Give the lookup another name.")
            found[stem] = Lookup(stem, declared.description, declared.key, declared.columns, folder)
    return found


def read_rows(lookup: Lookup, path: Path) -> tuple[Row, ...]:
    """A CSV file's rows for a lookup, checked: header, types, key present and unique; errors name file and line."""
    reader = csv.reader(_lines(path), strict=True)
    wanted = [column.name for column in lookup.columns]
    if next(reader, []) != wanted:
        raise DefinitionError("wrong header.", where=f"{path}:1", todo=f"It must be: {','.join(wanted)}")
    try:
        return checked_rows(lookup, ((cells, f"{path}:{reader.line_num}") for cells in reader))
    except csv.Error as error:
        raise DefinitionError(f"is not CSV: {error}.", where=f"{path}:{reader.line_num}") from None


def checked_rows(lookup: Lookup, rows: Iterable[tuple[Sequence[str], str]]) -> tuple[Row, ...]:
    """Rows as texts in column order, each with its place; DefinitionError for a wrong type, an empty or second key."""
    names = [column.name for column in lookup.columns]
    places = [names.index(name) for name in _identity(lookup)]
    found: dict[Row, tuple[Row, str]] = {}
    for cells, where in rows:
        row = _checked(lookup, cells, where)
        identity = tuple(row[place] for place in places)
        if identity in found:
            line = found[identity][1].rpartition(":")[2]
            what = f"key {', '.join(map(str, identity))} is there already, on line {line}."
            raise DefinitionError(what, where=where, todo="Keep one of them.")
        found[identity] = row, where
    return tuple(row for row, _ in found.values())


def _lines(path: Path) -> list[str]:
    """The file's lines with their endings, as the CSV reader wants them."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.readlines()
    except OSError as error:
        raise DefinitionError(f"can't be read: {error.strerror}.", where=str(path)) from None
    except UnicodeDecodeError:
        raise DefinitionError("is not UTF-8 text.", where=str(path), todo="Save it as UTF-8.") from None


def _identity(lookup: Lookup) -> tuple[str, ...]:
    return (*lookup.key, "valid_from") if lookup.temporal and "valid_from" not in lookup.key else lookup.key


def _checked(lookup: Lookup, cells: Sequence[str], where: str) -> Row:
    """One row's cells, each fitting its column's type."""
    if len(cells) != len(lookup.columns):
        raise DefinitionError(f"{len(cells)} cells for {len(lookup.columns)} columns.", where=where)
    row: Row = tuple(cell.strip() or None for cell in cells)
    for column, cell in zip(lookup.columns, row, strict=True):
        if cell is None and column.name in lookup.key:
            raise DefinitionError(f"field {column.name}: a key can't be empty.", where=where)
        if cell is not None and not _FITS[column.type](cell):
            todo = "A time is written 2026-11-09T00:00:00Z." if column.type == "timestamp" else "Correct the value."
            raise DefinitionError(f"field {column.name}: '{cell}' is not a {column.type}.", where=where, todo=todo)
    return row


def _is_decimal(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


_FITS: dict[str, Callable[[str], bool]] = {
    "string": lambda _: True,
    "decimal": _is_decimal,
    "integer": lambda text: re.fullmatch(r"-?\d{1,18}", text) is not None,
    "timestamp": lambda text: _TIMESTAMP.fullmatch(text) is not None,
    "boolean": lambda text: text in {"true", "false"},
    "labels": _is_json_object,
}


def _metric_rows(lookup: Lookup) -> Iterator[Row]:
    """The catalogue as rows of the lookup `metrics`, in name order."""
    for _, metric in sorted(load_catalogue().metrics.items()):
        cells = metric.model_dump()
        row: list[str | None] = []
        for column in lookup.columns:
            cell = cells[column.name]
            listed = isinstance(cell, tuple)
            row.append(None if cell is None else (", ".join(cell) or "none") if listed else _plain(cell))
        yield tuple(row)


def _plain(cell: object) -> str:
    return format(cell, "f") if isinstance(cell, Decimal) else str(cell)
