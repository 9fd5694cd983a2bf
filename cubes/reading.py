"""What the parts of a definition are read against: its document, its fact's columns, its own grains and dimensions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lake.documents import Document
from lake.errors import DefinitionError, did_you_mean
from lake.facts import Column, Fact

Place = tuple[str | int, ...]
# What a predicate may be made of: deterministic, per row, the same in every engine.
_PREDICATE_NODES: Final = (
    exp.And, exp.Between, exp.Boolean, exp.Column, exp.EQ, exp.GT, exp.GTE, exp.Identifier, exp.In, exp.Is, exp.LT,
    exp.LTE, exp.Literal, exp.NEQ, exp.Neg, exp.Not, exp.Null, exp.Or, exp.Paren,
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """A definition being read: names are looked up here, and errors get their file, line and field."""

    document: Document
    fact: Fact
    columns: Mapping[str, Column]
    grains: tuple[str, ...]
    dimensions: tuple[str, ...]

    def error(self, what: str, place: Place, todo: str = "") -> DefinitionError:
        """The error to raise for a place whose meaning is wrong."""
        return self.document.error(what, place, todo)

    def places(self, names: Iterable[str], where: Place) -> tuple[int, ...]:
        """Places of dimensions of this cube."""
        found = []
        for name in names:
            if name not in self.dimensions:
                near = did_you_mean(name, self.dimensions)
                raise self.error(f"'{name}' is no dimension of this cube.", where, near)
            found.append(self.dimensions.index(name))
        return tuple(found)

    def predicate(self, text: str, where: Place) -> str:
        """A predicate on one row in its canonical text; functions and sub-queries are refused."""
        try:
            tree = sqlglot.parse_one(text, read="duckdb")
        except SqlglotError as error:
            reason = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()[0]
            raise self.error(f"not a predicate: {reason}", where, "Write for example \"status <> 'ok'\".") from None
        for node in tree.walk():
            if not isinstance(node, _PREDICATE_NODES):
                todo = "Use comparisons, AND, OR, NOT, IN, BETWEEN and IS NULL of columns and constants."
                raise self.error(f"a predicate can't hold '{node.sql(dialect='duckdb')}'.", where, todo)
            if isinstance(node, exp.Column) and (node.table or node.name not in self.columns):
                near = did_you_mean(node.name, self.columns)
                raise self.error(f"fact {self.fact.name} has no column '{node.sql()}'.", where, near)
        return tree.sql(dialect="duckdb")
