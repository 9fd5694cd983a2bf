"""Aliases: a host or model that was renamed, or merged into another, is seen under its new name without a rebuild.

The rows of the lookup `aliases` become one CASE around the column, in the relations of rows and of cells alike, so
both doors group and filter by the same names. What was judged by old names when cells were made (a cube's own filter,
conditional counts, hashes of names) can't be told apart any more: such states don't answer while their column has
aliases. Lookups keep their own names: a derived dimension is that of the name that the row came with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from cubes.measures import quoted
from lake.duck import text_literal
from lake.errors import QueryError

if TYPE_CHECKING:
    from cubes.model import Cube
    from cubes.route.statement import Block
    from cubes.route.view import View

Aliases = Mapping[str, Mapping[str, str]]


def resolved(rows: Iterable[tuple[str, str, str]]) -> Aliases:
    """Last name by dimension and old name; a new name that is itself old leads on. QueryError for a circle.

    >>> resolved([("host", "a", "b"), ("host", "b", "c")])
    {'host': {'a': 'c', 'b': 'c'}}
    """
    direct: dict[str, dict[str, str]] = {}
    for dimension, old, new in sorted(rows):
        direct.setdefault(dimension, {})[old] = new
    return {dimension: {old: _last(dimension, names, old) for old in names} for dimension, names in direct.items()}


def aliased(relation: str, columns: Collection[str], view: View) -> str:
    """The relation with new names in those of these text columns that have aliases; itself where none has."""
    cases = [
        f"{_case(name, view.aliases[name])} AS {quoted(name)}" for name in sorted(set(columns) & set(view.aliases))
    ]
    return f"(SELECT * REPLACE ({', '.join(cases)}) FROM {relation})" if cases else relation


def against_aliases(block: Block, cube: Cube, view: View) -> str:
    """Why cells of this cube can't be read by new names; empty when they can."""
    renamed = set(view.aliases)
    if cube.where and renamed & named_in(cube.where):
        return f"holds only rows with {cube.where}, and {', '.join(sorted(renamed & named_in(cube.where)))} has aliases"
    hashed = {one.column for one in cube.sketches if one.kind == "distinct" and one.name in block.sketches}
    return (
        f"keeps hashes of names of {', '.join(sorted(hashed & renamed))} that have aliases" if hashed & renamed else ""
    )


def named_in(predicate: str) -> set[str]:
    """The columns of a predicate in the engine's text."""
    return {column.name for column in sqlglot.parse_one(predicate, read="duckdb").find_all(exp.Column)}


def _last(dimension: str, names: Mapping[str, str], old: str) -> str:
    seen = [old]
    while (new := names.get(seen[-1])) is not None:
        if new in seen:
            circle = " → ".join([*seen, new])
            todo = "Correct lookup aliases: `fleetcube lookup show aliases`."
            raise QueryError(f"aliases of {dimension} go in a circle: {circle}.", todo=todo, code="22023")
        seen.append(new)
    return seen[-1]


def _case(column: str, names: Mapping[str, str]) -> str:
    name = quoted(column)
    whens = " ".join(f"WHEN {text_literal(old)} THEN {text_literal(new)}" for old, new in names.items())
    return f"CASE {name} {whens} ELSE {name} END"
