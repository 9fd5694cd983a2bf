"""The derived dimensions of a definition: columns of lookups (`joins`) and bands of numbers (`bands`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from cubes.model import Derived
from cubes.reading import Place, Reading
from lake.errors import did_you_mean
from lake.lookups import Lookup, load_lookups

_STRICT: Final = ConfigDict(frozen=True, extra="forbid")
_NUMBERS: Final = ("decimal", "duration", "interval", "integer")
_TEXTS: Final = ("string", "decimal", "integer", "boolean")
_LABEL: Final = re.compile(r"[A-Za-z0-9_.\-]{1,120}")
_TAKEN: Final = frozenset(
    "cuboid grain segment bucket sketch slot n rows build ts day batch agent boot seq idx".split()
)
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


def _by_name(value: Any) -> Any:
    return {one: one for one in value} if isinstance(value, list) and all(isinstance(x, str) for x in value) else value


# [vendor] is short for {vendor: vendor}: the dimension's name, then the lookup's column.
_Columns = dict[_Name, str]
JoinSpec = Annotated[
    _Columns, BeforeValidator(_by_name, json_schema_input_type=_Columns | list[_Name]), Field(min_length=1)
]


class BandSpec(BaseModel):
    """Bands of a number: `column` is one of the fact's, of a lookup (models.parameters) or a label (labels.x)."""

    model_config = _STRICT
    column: str
    edges: list[int | Decimal] = Field(min_length=1, max_length=64)


def read_derived(
    reading: Reading, joins: Mapping[str, Mapping[str, str]], bands: Mapping[str, BandSpec]
) -> tuple[Derived, ...]:
    """The derived dimensions in the order of their declaration; `reading.dimensions` are those of the fact."""
    found: list[Derived] = []
    for lookup, names in joins.items():
        for name, column in names.items():
            at = ("joins", lookup, name)
            kind = _lookup_column(reading, lookup, column, at, _TEXTS)
            found.append(_checked(reading, Derived(name, lookup, column, kind), found, at))
    for name, band in bands.items():
        place = ("bands", name)
        lookup, column = _source(reading, band.column, (*place, "column"))
        derived = Derived(name, lookup, column, "string", _edges(reading, band.edges, (*place, "edges")))
        found.append(_checked(reading, derived, found, place))
    return tuple(found)


def _checked(reading: Reading, derived: Derived, found: list[Derived], place: Place) -> Derived:
    if derived.name in reading.columns or derived.name in _TAKEN:
        todo = f"Give it another name: {{{derived.name}_of_{derived.lookup or 'band'}: {derived.column}}}."
        whose = f"fact {reading.fact.name} has" if derived.name in reading.columns else "tables of cubes have"
        raise reading.error(f"{whose} a column '{derived.name}' already.", place, todo)
    if derived.name in {one.name for one in found}:
        raise reading.error(f"dimension '{derived.name}' is there twice.", place, "Give one another name.")
    return derived


def _lookup_column(reading: Reading, name: str, column: str, place: Place, types: tuple[str, ...]) -> str:
    """The type of a lookup's column that rows of the fact can be joined to."""
    lookups = load_lookups()
    if name not in lookups:
        raise reading.error(f"there is no lookup '{name}'.", place[:2], did_you_mean(name, lookups))
    lookup = lookups[name]
    for key in lookup.key:
        if key not in reading.dimensions:
            what = f"{key}, a key of lookup {name}, is no dimension of this cube."
            todo = f"Add {key} to dimensions." if key in reading.columns else "Join a lookup whose key the fact has."
            raise reading.error(what, place[:2], todo)
    fit = _columns(lookup, types)
    if column not in fit:
        raise reading.error(f"lookup {name} has no such column '{column}'.", place, did_you_mean(column, fit))
    return fit[column]


def _columns(lookup: Lookup, types: tuple[str, ...]) -> dict[str, str]:
    return {one.name: one.type for one in lookup.columns if one.type in types and one.name not in lookup.key}


def _source(reading: Reading, column: str, place: Place) -> tuple[str, str]:
    """(lookup, column) of a band; a label is a column `labels.<name>` of the fact itself."""
    table, _, name = column.rpartition(".") if not column.startswith("labels.") else ("", "", column)
    if table:
        _lookup_column(reading, table, name, place, ("decimal", "integer"))
        return table, name
    if name.startswith("labels."):
        if "labels" not in reading.columns or not _LABEL.fullmatch(name.removeprefix("labels.")):
            raise reading.error(f"'{name}' is no label.", place, "Write labels.<name>, such as labels.max_tokens.")
        return "", name
    fit = [one.name for one in reading.columns.values() if one.type in _NUMBERS]
    if name not in fit:
        raise reading.error(f"'{name}' is no number of fact {reading.fact.name}.", place, did_you_mean(name, fit))
    return "", name


def _edges(reading: Reading, edges: list[int | Decimal], place: Place) -> tuple[str, ...]:
    numbers = [Decimal(edge) for edge in edges]
    if any(a >= b for a, b in pairwise(numbers)):
        raise reading.error("edges do not ascend.", place, "Write them from the least to the greatest, each once.")
    for number in numbers:
        if number != number.quantize(Decimal("0.000000001")):
            raise reading.error(f"edge {number:f} has more than nine places.", place, "Round it.")
    # One text for 0.5, 0.50 and 5e-1.
    return tuple(f"{number.normalize():f}" for number in numbers)
