"""The user's policy as a predicate on every scan: of facts and lookups, in whatever clause, join or sub-query.

Runs after names are bound, on the tree itself. So the rest of the router sees the policy as one more part of WHERE: a
cuboid that lacks its columns isn't eligible, receipts count what it lets through, and nothing else need know of it.
Which tables and columns exist is `bind`'s part. The engine may take the conditions of a WHERE in any order, so one of
the user's can fail on a row that the policy would have taken away, and tell of it: a statement that fails is run once
more over relations that are barred, where nothing is asked of a row before the policy has let it through.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from cubes.measures import quoted
from lake.errors import QueryError

if TYPE_CHECKING:
    from cubes.access import Policy
    from cubes.model import Derived
    from cubes.route.statement import Statement
    from cubes.route.view import View

# No condition is moved below a LIMIT, which would change the rows that it counts.
_BAR: Final = 2**63 - 1
_PLAIN_JOINS: Final = ("", "INNER", "CROSS", "OUTER")


def policy(statement: Statement, view: View) -> Statement:
    """The statement with the policy's predicate on each fact and lookup; as it is where the operator asks."""
    if view.policy is None:
        return statement
    assert statement.tree is not None, "bind comes first"
    tree = statement.tree.copy()
    for select in list(tree.find_all(exp.Select)):
        _guard(select, view.policy)
    unguarded = [table for table in tree.find_all(exp.Table) if _name(table) and not table.meta.get("guarded")]
    if unguarded:
        # Not reachable by the grammar of today: a table that is read anywhere but after FROM stays shut.
        raise QueryError(f"{unguarded[0].name} can't be read here.", todo="Read it in FROM or JOIN.", code="0A000")
    return replace(statement, tree=tree)


def shows_derived(policy: Policy | None, fact: str, derived: Derived) -> bool:
    """Whether a derived dimension exists for the user: all that it is made of must, and its lookup's every row."""
    if policy is None:
        return True
    if not policy.reads(fact) or any(not policy.shows(fact, name) for name in _inputs(derived)):
        return False
    if not derived.lookup:
        return True
    held = policy.tables.get(derived.lookup)
    return held is not None and held.predicate is None and derived.column not in held.hidden


def enclosed(node: exp.Table) -> exp.Subquery:
    """`fact AS t(a, b)` as a sub-query, so that the names go to the columns that `*` shows, and to no others."""
    inner = exp.Table(this=node.this.copy())
    made = exp.Subquery(
        this=exp.Select(expressions=[exp.Star()], from_=exp.From(this=inner)), alias=node.args["alias"].copy()
    )
    node.replace(made)
    return made


def barred(relation: str, table: str, view: View) -> str:
    """A fact's or lookup's relation for a view that is barred: its permitted rows, judged before anything else."""
    held = view.policy.tables.get(table) if view.policy is not None and view.barred else None
    if held is None or held.predicate is None:
        return relation
    return f"(SELECT * FROM {relation} AS {quoted(table)} WHERE {_sql(held.predicate)} LIMIT {_BAR})"


def permitted(table: str, view: View) -> tuple[str, frozenset[str]]:
    """The policy's predicate on a table in the engine's words, with the columns that it reads; ("", none) without."""
    held = view.policy.tables.get(table) if view.policy is not None else None
    if held is None or held.predicate is None:
        return "", frozenset()
    return _sql(held.predicate), frozenset(column.name for column in held.predicate.find_all(exp.Column))


def _guard(select: exp.Select, policy: Policy) -> None:
    """Put the predicates of one SELECT's tables where they mean the same as on the tables themselves."""
    from_ = select.args.get("from_")
    if from_ is None:
        return
    joins: list[exp.Join] = select.args.get("joins") or []
    plain = all(_is_plain(join) for join in joins)
    for place, source in enumerate([from_.this, *(join.this for join in joins)]):
        name = _name(source)
        if not name:
            continue
        source.meta["guarded"] = True
        predicate = policy.tables[name].predicate
        if predicate is None:
            continue
        asked = exp.paren(_under(predicate, source.alias), copy=False)
        join = joins[place - 1] if place else None
        if not plain:
            _enclose(source, asked)
        elif join is not None and str(join.side or "").upper() == "LEFT":
            # Of the right side of a LEFT JOIN rows are taken away by its own condition, not by WHERE.
            join.set("on", _both(join.args.get("on"), asked))
        else:
            where = select.args.get("where")
            select.set("where", exp.Where(this=_both(where.this if where is not None else None, asked)))


def _both(condition: exp.Expr | None, asked: exp.Expr) -> exp.Expr:
    return asked if condition is None else exp.And(this=asked, expression=exp.paren(condition, copy=False))


def _is_plain(join: exp.Join) -> bool:
    """Whether a join makes up no row of what stands left of it."""
    return str(join.side or "").upper() in ("", "LEFT") and str(join.kind or "").upper() in _PLAIN_JOINS


def _enclose(table: exp.Table, asked: exp.Expr) -> None:
    """The table as a sub-query of its permitted rows, under its alias."""
    alias = table.args["alias"]
    inner = table.copy()
    inner.set("alias", exp.TableAlias(this=alias.this.copy()))
    inner.meta["guarded"] = True
    select = exp.Select(expressions=[exp.Star()], from_=exp.From(this=inner), where=exp.Where(this=asked))
    table.replace(exp.Subquery(this=select, alias=alias.copy()))


def _under(predicate: exp.Expr, alias: str) -> exp.Expr:
    """A copy of the predicate with its columns under the table's alias in the statement."""
    made = predicate.copy()
    for column in made.find_all(exp.Column):
        column.set("table", exp.to_identifier(alias, quoted=True))
    return made


def _name(node: exp.Expr) -> str:
    """The fact or lookup that a table of the tree is; empty for a WITH's name and for sub-queries."""
    return str(node.meta.get("fact") or node.meta.get("lookup") or "") if isinstance(node, exp.Table) else ""


def _sql(predicate: exp.Expr) -> str:
    from cubes.route.lower import engine_sql

    return engine_sql(predicate)


def _inputs(derived: Derived) -> Collection[str]:
    from cubes.derived import inputs

    return [name.partition(".")[0] for name in inputs([derived])]
