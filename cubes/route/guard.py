"""Values of different metrics are not mixed: an aggregate over samples.value must fix the metric or group by it."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from cubes.route.grammar import AGGREGATES
from lake.errors import QueryError

_FACT, _METRIC, _VALUE = "samples", "metric", "value"


def check_metrics(select: exp.Select) -> None:
    """QueryError where an aggregate of a bound SELECT takes samples.value over several metrics.

    Counting values is no arithmetic and stays allowed.
    """
    tables = [node for node in _sources(select) if isinstance(node, exp.Table) and node.meta.get("fact") == _FACT]
    for table in tables:
        alias = table.alias
        where = select.args.get("where")
        if (where is not None and _fixes(where.this, alias)) or _grouped(select, alias):
            continue
        for node in own_nodes(select):
            if _aggregates_value(node, alias) and not _conditioned(node, alias) and not _partitioned(node, alias):
                raise QueryError(
                    "values of several metrics can't be aggregated together.",
                    where=node.sql("postgres")[:80],
                    todo="Add WHERE metric = '...' or GROUP BY metric.",
                    code="42803",
                )


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


def _sources(select: exp.Select) -> Iterator[exp.Expr]:
    if select.args.get("from_"):
        yield select.args["from_"].this
    for join in select.args.get("joins") or ():
        yield join.this


def _is_metric(node: exp.Expr | None, alias: str) -> bool:
    return isinstance(node, exp.Column) and node.name == _METRIC and node.table == alias


def _fixes(node: exp.Expr, alias: str) -> bool:
    """Whether a predicate lets one metric through at most."""
    match node:
        case exp.Paren():
            return _fixes(node.this, alias)
        case exp.And():
            return _fixes(node.this, alias) or _fixes(node.expression, alias)
        case exp.EQ():
            sides = (node.this, node.expression)
            return any(_is_metric(a, alias) and isinstance(b, exp.Literal) for a, b in (sides, sides[::-1]))
        case exp.In():
            return _is_metric(node.this, alias) and len(node.expressions) == 1 and not node.args.get("query")
    return False


def _grouped(select: exp.Select, alias: str) -> bool:
    group = select.args.get("group")
    return group is not None and any(_is_metric(node, alias) for node in group.expressions)


def _aggregates_value(node: exp.Expr, alias: str) -> bool:
    if isinstance(node, exp.WithinGroup):
        inside: exp.Expr = node.expression
    elif isinstance(node, (exp.Count, exp.ApproxDistinct)):
        return False
    elif type(node) in AGGREGATES or isinstance(node, exp.Anonymous):
        if node.name == "time_bucket":
            return False
        inside = node
    else:
        return False
    return any(
        column.name == _VALUE and column.table == alias and not _branch(column, node, alias)
        for column in inside.find_all(exp.Column)
    )


def _branch(column: exp.Column, top: exp.Expr, alias: str) -> bool:
    """Whether the column is taken only in a CASE branch that fixes the metric."""
    node: exp.Expr = column
    while node is not top and node.parent is not None:
        if isinstance(node, exp.If) and _fixes(node.this, alias):
            return True
        node = node.parent
    return False


def _conditioned(node: exp.Expr, alias: str) -> bool:
    parent = node.parent
    return isinstance(parent, exp.Filter) and _fixes(parent.expression.this, alias)


def _partitioned(node: exp.Expr, alias: str) -> bool:
    parent = node.parent.parent if isinstance(node.parent, exp.Filter) else node.parent
    return isinstance(parent, exp.Window) and any(
        _is_metric(item, alias) for item in parent.args.get("partition_by") or ()
    )
