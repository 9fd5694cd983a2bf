"""Queries beside a fact: sub-queries and WITH tables that a statement joins to it, as dashboards limit their series.

A cell meets each of their rows as often as its own rows would, as with lookups (`cubes.route.beside`). A sub-query in
FROM becomes a table of the outermost WITH, so that every part of the block, cells and edges, reads the same rows of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Final

from sqlglot import exp

from cubes.route.grammar import AGGREGATES

JOINED: Final = "joined"
_PREFIX: Final = "fc_join"


def hoisted(tree: exp.Expr) -> exp.Expr:
    """The tree in which every block's joined queries are tables of the outermost WITH, marked as such; in place."""
    if not isinstance(tree, (exp.Select, exp.SetOperation)):
        return tree
    numbers, found = count(), list[exp.CTE]()
    known = {cte.alias for cte in _tables(tree)}
    for select in list(tree.find_all(exp.Select)):
        items = _items(select)
        if len([item for item in items if "fact" in item.meta]) != 1 or not _aggregates(select):
            continue
        for item in items:
            if isinstance(item, exp.Subquery) and _alone(item):
                name = f"{_PREFIX}{next(numbers)}"
                table = exp.Table(this=exp.to_identifier(name, quoted=True), alias=item.args["alias"].copy())
                table.meta[JOINED] = name
                own = exp.TableAlias(this=exp.to_identifier(name, quoted=True))
                item.replace(table)
                found.append(exp.CTE(this=item.this, alias=own, materialized=True))
            elif _is_reference(item, known) and not _hidden(select, tree, item.name):
                item.meta[JOINED] = item.name
    if found:
        # Outer ones were found first; a query joined inside another must stand before it.
        held = [*reversed(found), *_tables(tree)]
        tree.set("with_", exp.With(expressions=held))
    return tree


def with_tables(tree: exp.Expr) -> str:
    """The outermost WITH of a finished statement, to stand before a query of its own; empty where there is none."""
    held = tree.args.get("with_")
    return f"{held.sql('duckdb')} " if held is not None else ""


def has_half_joins(select: exp.Select) -> bool:
    """Whether a SELECT has SEMI or ANTI joins, which show nothing of their right side."""
    return any(join.args.get("kind") in ("SEMI", "ANTI") for join in select.args.get("joins") or ())


def _tables(tree: exp.Expr) -> Sequence[exp.CTE]:
    held = tree.args.get("with_")
    return held.expressions if held is not None else ()


def _items(select: exp.Select) -> list[exp.Expr]:
    from_ = select.args.get("from_")
    joins = select.args.get("joins") or []
    return [] if from_ is None or not joins else [from_.this, *(join.this for join in joins)]


def _aggregates(select: exp.Select) -> bool:
    """Whether cells could answer the SELECT at all: only then is anything gained."""
    grouped = select.args.get("group") or select.args.get("distinct")
    return grouped is not None or any(node.find(*AGGREGATES) for node in select.expressions)


def _alone(item: exp.Subquery) -> bool:
    """Whether a sub-query reads facts and lookups only, and nothing of the queries around it."""
    plain = not any(value for part, value in item.args.items() if part not in ("this", "alias"))
    tables = all({"fact", "lookup"} & table.meta.keys() for table in item.find_all(exp.Table))
    outer = any(column.meta.get("outer") for column in item.find_all(exp.Column))
    return plain and tables and not outer and item.this.args.get("with_") is None


def _is_reference(item: exp.Expr, known: set[str]) -> bool:
    return isinstance(item, exp.Table) and not {"fact", "lookup"} & item.meta.keys() and item.name in known


def _hidden(select: exp.Select, tree: exp.Expr, name: str) -> bool:
    """Whether a WITH between a SELECT and the outermost one gives the name another meaning."""
    node: exp.Expr | None = select
    while node is not None and node is not tree:
        if name in {cte.alias for cte in _tables(node)}:
            return True
        node = node.parent
    return False
