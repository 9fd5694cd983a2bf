"""Sub-queries that only pick columns and rows of one fact, as virtual datasets of dashboards do: the fact instead.

`SELECT model, count(*) FROM (SELECT ts, model FROM requests WHERE tenant = 'a') AS t GROUP BY 1` becomes a query on
requests with that condition, and so one that cells may answer. Runs on a bound tree, innermost first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlglot import exp

from cubes.route.hoist import has_half_joins

if TYPE_CHECKING:
    from cubes.route.statement import Statement
    from cubes.route.view import View

_PICKS = frozenset(("expressions", "from_", "where"))


def flatten(statement: Statement, view: View) -> Statement:
    """The statement without such sub-queries; what answers from rows alone (`raw`) takes it as it is written."""
    assert statement.tree is not None, "bind comes first"
    if statement.raw or statement.tree.find(exp.Subquery) is None:
        return statement
    tree = statement.tree.copy()
    for item in reversed(list(tree.find_all(exp.Subquery))):
        select = around(item)
        if select is not None and _picks(item) and not _named_again(select, item):
            _merge(select, item)
    return replace(statement, tree=tree)


def around(item: exp.Subquery) -> exp.Select | None:
    """The SELECT in whose FROM a sub-query stands, where a condition of its own may as well be the SELECT's."""
    parent = item.parent
    select = parent.parent if isinstance(parent, (exp.From, exp.Join)) else None
    if not isinstance(select, exp.Select) or (isinstance(parent, exp.Join) and parent.args.get("side")):
        return None
    if has_half_joins(select):
        return None
    sides = {str(join.args.get("side") or "").upper() for join in select.args.get("joins") or ()}
    return None if sides - {"", "LEFT"} else select


def _picks(item: exp.Subquery) -> bool:
    """Whether a sub-query is nothing but plain columns of one fact, under a condition without queries of its own."""
    inner, alias = item.this, item.args.get("alias")
    if not isinstance(inner, exp.Select) or any(value for part, value in inner.args.items() if part not in _PICKS):
        return False
    if (
        alias is None
        or alias.args.get("columns")
        or any(item.args.get(part) for part in item.args if part not in ("this", "alias"))
    ):
        return False
    from_ = inner.args.get("from_")
    table = from_.this if from_ is not None else None
    if not isinstance(table, exp.Table) or "fact" not in table.meta:
        return False
    columns = all(
        isinstance(node.unalias(), exp.Column) and not node.unalias().meta.get("outer") for node in inner.expressions
    )
    where = inner.args.get("where")
    if where is None:
        return columns
    # A column of a query around it would be taken for one of what stands beside it.
    outer = any(column.meta.get("outer") for column in where.find_all(exp.Column))
    return columns and where.find(exp.Select) is None and not outer


def _named_again(select: exp.Select, item: exp.Subquery) -> bool:
    """Whether a query inside the SELECT gives the sub-query's alias to something else."""
    if any(column.meta.get("outer") and column.table == item.alias for column in _beside(select, item)):
        return True
    tables = [node for node in select.find_all(exp.Table, exp.Subquery) if node is not item]
    return any(node.alias_or_name == item.alias and node.parent_select is not item.this for node in tables)


def _beside(select: exp.Select, item: exp.Subquery) -> Iterator[exp.Column]:
    """The columns inside the other items of FROM."""
    items = [select.args["from_"].this, *(join.this for join in select.args.get("joins") or ())]
    for other in items:
        if other is not item:
            yield from other.find_all(exp.Column)


def _merge(select: exp.Select, item: exp.Subquery) -> None:
    inner, alias = item.this, item.alias
    table = inner.args["from_"].this
    meant = {node.alias_or_name: node.unalias().name for node in inner.expressions}
    for column in list(select.find_all(exp.Column)):
        if column.table == alias and column.parent_select is not inner:
            column.set("this", exp.to_identifier(meant[column.name], quoted=True))
    where = inner.args.get("where")
    own = table.alias
    table.set("alias", exp.TableAlias(this=exp.to_identifier(alias, quoted=True)))
    item.replace(table)
    if where is not None:
        for column in where.find_all(exp.Column):
            if column.table == own and not column.meta.get("outer"):
                column.set("table", exp.to_identifier(alias, quoted=True))
        select.where(where.this, copy=False)
