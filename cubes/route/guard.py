"""Values of different metrics are not mixed: an aggregate over samples.value must fix the metric or group by it.

A column keeps its role through sub-queries, WITH and UNION: one made of values of several metrics is a value there
too, and the metric beside it is what tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sqlglot import exp

from cubes.route.grammar import AGGREGATES
from cubes.route.sets import grouping_sets
from lake.errors import QueryError

VALUE: Final = "value"
METRIC: Final = "metric"
# Fact -> the roles of its columns.
ROLES: Final[Mapping[str, Mapping[str, str]]] = {"samples": {"metric": METRIC, "value": VALUE, "counts": VALUE}}

# Kinds of expressions that can still be added up.
_NUMBERS: Final = ("integer", "decimal", "double", "other")
# Words that make no value of what they are given.
_COUNTING: Final = (exp.Count, exp.ApproxDistinct)


@dataclass(frozen=True)
class _Held:
    """A table in FROM with values of several metrics: its alias, and its columns of both roles."""

    alias: str
    metrics: frozenset[str]
    values: frozenset[str]


def check_metrics(select: exp.Select, sources: Mapping[str, Mapping[str, str]]) -> None:
    """QueryError where an aggregate of a bound SELECT takes values over several metrics.

    `sources` gives the roles of columns by the alias of each table in FROM. Counting values is no arithmetic and stays
    allowed.
    """
    for held in _mixing(select, sources):
        if _grouped(select, held):
            continue
        for node in own_nodes(select):
            if _aggregates_value(node, held) and not _conditioned(node, held) and not _partitioned(node, held):
                todo = "Add WHERE metric = '...' or GROUP BY metric"
                within = "" if held.metrics else " in the sub-query, or select metric there"
                raise QueryError(
                    "values of several metrics can't be aggregated together.",
                    where=node.sql("postgres")[:80],
                    todo=f"{todo}{within}.",
                    code="42803",
                )


def role_of(node: exp.Expr, kind: str, select: exp.Select, sources: Mapping[str, Mapping[str, str]]) -> str:
    """What an output of a bound SELECT is to the query around it: VALUE of several metrics, METRIC, or neither ("")."""
    for held in _mixing(select, sources):
        if isinstance(node, exp.Column) and node.table == held.alias and node.name in held.metrics:
            return METRIC
        if kind in _NUMBERS and any(True for _ in _taken(node, held)):
            return VALUE
    return ""


def own_nodes(select: exp.Select) -> Iterator[exp.Expr]:
    """The nodes of a SELECT's own clauses, without FROM, WITH and the queries inside its expressions."""
    stack = [node for name, node in select.args.items() if name not in ("from_", "with_", "joins")]
    while stack:
        node = stack.pop()
        if isinstance(node, list):
            stack.extend(node)
        elif isinstance(node, exp.Expr):
            if isinstance(node, (exp.Select, exp.SetOperation, exp.Subquery)):
                continue
            yield node
            stack.extend(node.args.values())


def _mixing(select: exp.Select, sources: Mapping[str, Mapping[str, str]]) -> Iterator[_Held]:
    """The tables in FROM of which WHERE lets more than one metric through."""
    where = select.args.get("where")
    for alias, roles in sources.items():
        of = {role: frozenset(name for name, one in roles.items() if one == role) for role in (METRIC, VALUE)}
        held = _Held(alias, of[METRIC], of[VALUE])
        if held.values and not (where is not None and _fixes(where.this, held)):
            yield held


def _is_metric(node: exp.Expr | None, held: _Held) -> bool:
    return isinstance(node, exp.Column) and node.name in held.metrics and node.table == held.alias


def _fixes(node: exp.Expr, held: _Held) -> bool:
    """Whether a predicate lets one metric through at most."""
    match node:
        case exp.Paren():
            return _fixes(node.this, held)
        case exp.And():
            return _fixes(node.this, held) or _fixes(node.expression, held)
        case exp.EQ():
            sides = (node.this, node.expression)
            return any(_is_metric(a, held) and isinstance(b, exp.Literal) for a, b in (sides, sides[::-1]))
        case exp.In():
            return _is_metric(node.this, held) and len(node.expressions) == 1 and not node.args.get("query")
    return False


def _grouped(select: exp.Select, held: _Held) -> bool:
    group = select.args.get("group")
    if group is None:
        return False
    # In every set of keys: a total over ROLLUP (metric) would mix them.
    sets = grouping_sets(group)
    return sets is not None and all(any(_is_metric(node, held) for node in keys) for keys in sets)


def _aggregates_value(node: exp.Expr, held: _Held) -> bool:
    if isinstance(node, exp.WithinGroup):
        inside: exp.Expr = node.expression
    elif isinstance(node, _COUNTING):
        return False
    elif type(node) in AGGREGATES or isinstance(node, exp.Anonymous):
        if node.name == "time_bucket":
            return False
        inside = node
    else:
        return False
    return any(
        column.name in held.values and column.table == held.alias and not _branch(column, node, held)
        for column in inside.find_all(exp.Column)
    )


def _taken(node: exp.Expr, held: _Held) -> Iterator[exp.Column]:
    """The columns of values that an expression is made of, but for those of one metric and those only counted."""
    for column in node.find_all(exp.Column):
        if column.name not in held.values or column.table != held.alias or _branch(column, node, held):
            continue
        around = _above(column, node)
        if not any(isinstance(one, _COUNTING) or _orders(one) or _conditioned(one, held) for one in around):
            yield column


def _orders(node: exp.Expr) -> bool:
    """Whether an expression stands in the order of a window only."""
    return isinstance(node, exp.Order) and isinstance(node.parent, exp.Window)


def _above(node: exp.Expr, top: exp.Expr) -> list[exp.Expr]:
    """The nodes from one up to the expression that it stands in."""
    found = [node]
    while found[-1] is not top and found[-1].parent is not None:
        found.append(found[-1].parent)
    return found


def _branch(column: exp.Column, top: exp.Expr, held: _Held) -> bool:
    """Whether the column is taken only in a CASE branch that fixes the metric."""
    return any(isinstance(node, exp.If) and _fixes(node.this, held) for node in _above(column, top)[:-1])


def _conditioned(node: exp.Expr, held: _Held) -> bool:
    parent = node.parent
    return isinstance(parent, exp.Filter) and _fixes(parent.expression.this, held)


def _partitioned(node: exp.Expr, held: _Held) -> bool:
    parent = node.parent.parent if isinstance(node.parent, exp.Filter) else node.parent
    return isinstance(parent, exp.Window) and any(
        _is_metric(item, held) for item in parent.args.get("partition_by") or ()
    )
