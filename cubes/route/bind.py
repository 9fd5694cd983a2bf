"""Names to columns, by PostgreSQL's rules: every column gets its table and kind, stars and positions are written out.

In GROUP BY an input column wins over an output name (unless it is one of the lake's own, such as `day`); in ORDER BY
a bare output name wins; WHERE and HAVING see input columns only. So `DATE_TRUNC('hour', ts) AS ts` with
`WHERE ts >= ...` filters by the column, not by the bucket.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from cubes.histograms import COUNTS
from cubes.route.columns import columns_of
from cubes.route.guard import ROLES, VALUE, check_metrics, role_of
from cubes.route.kinds import column_kind, kind
from cubes.route.naming import default_name
from cubes.route.policy import enclosed, shows_derived
from cubes.route.positions import at_position, check_limits
from cubes.route.sets import SETS, leaves
from lake.errors import QueryError, did_you_mean
from lake.facts import load_facts

if TYPE_CHECKING:
    from cubes.route.statement import Statement
    from cubes.route.view import View


@dataclass(frozen=True)
class Output:
    """A column that a query yields: the name users see (may repeat), its name in the engine (does not), its kind.

    `role` says whether it holds values of several metrics, or the metric that tells them apart (`cubes.route.guard`).
    """

    name: str
    column: str
    kind: str
    type: str = ""
    shown: bool = True
    role: str = ""


_Ctes = Mapping[str, tuple[Output, ...]]
_POLICY: Final = "fc_policy"


@dataclass
class _Scope:
    """The tables that a SELECT's names may come from; `parent` is that of the query around it."""

    parent: _Scope | None
    sources: dict[str, tuple[Output, ...]] = field(default_factory=dict)
    merged: dict[str, str] = field(default_factory=dict)

    def holders(self, name: str) -> list[tuple[str, Output]]:
        if name in self.merged:
            return [(alias, one) for alias, one in self._all(name) if alias == self.merged[name]]
        return self._all(name)

    def _all(self, name: str) -> list[tuple[str, Output]]:
        return [(alias, one) for alias, columns in self.sources.items() for one in columns if one.name == name]


def bind(statement: Statement, view: View) -> Statement:
    """The statement with every name resolved and its output columns known.

    Errors: QueryError with the nearest name for an unknown table or column, or for an ambiguous one.
    """
    assert statement.tree is not None, "parse comes first"
    tree = statement.tree.copy()
    # Derived dimensions go along under a name that no statement can use.
    derived = {f"fc_{fact}": _derived(view, fact) for fact in load_facts()}
    outputs = _query(tree, {**derived, **_permitted(view)}, None)
    return replace(statement, tree=tree, outputs=tuple((one.name, one.kind) for one in outputs))


def bind_alone(tree: exp.Query) -> None:
    """Resolve in place the names of a query that knows nothing but facts' and lookups' own columns."""
    _query(tree, {}, None)


def _query(node: exp.Expr, ctes: _Ctes, parent: _Scope | None) -> tuple[Output, ...]:
    clause = node.args.get("with_")
    for cte in clause.expressions if clause else ():
        columns = _query(cte.this, ctes, parent)
        ctes = {**ctes, cte.alias: _renamed(columns, cte.args["alias"])}
    if isinstance(node, exp.Select):
        return _select(node, ctes, parent)
    if isinstance(node, exp.Subquery):
        outputs = _query(node.this, ctes, parent)
    elif isinstance(node, exp.SetOperation):
        outputs = _set_operation(node, ctes, parent)
    else:
        raise QueryError(f"{node.key.upper()} can't stand for a query.", todo="Write a SELECT.", code="0A000")
    _order(node, outputs, None, ctes)
    check_limits(node)
    return outputs


def _set_operation(node: exp.SetOperation, ctes: _Ctes, parent: _Scope | None) -> tuple[Output, ...]:
    left, right = _query(node.this, ctes, parent), _query(node.expression, ctes, parent)
    if len(left) != len(right):
        what = f"{node.key.upper()} of {len(left)} and {len(right)} columns."
        raise QueryError(what, todo="Select as many columns in both.")
    pairs = zip(left, right, strict=True)
    return tuple(
        replace(
            a,
            kind=a.kind if a.kind == b.kind else _both(a.kind, b.kind),
            role=VALUE if VALUE in (a.role, b.role) else a.role if a.role == b.role else "",
        )
        for a, b in pairs
    )


def _both(a: str, b: str) -> str:
    return "decimal" if {a, b} == {"integer", "decimal"} else a if b == "null" else b if a == "null" else "other"


def _select(select: exp.Select, ctes: _Ctes, parent: _Scope | None) -> tuple[Output, ...]:
    scope = _Scope(parent)
    from_ = select.args.get("from_")
    joins: Sequence[exp.Join] = select.args.get("joins") or ()
    if from_ is not None:
        _source(from_.this, scope, ctes)
    for join in joins:
        _join(join, scope, ctes)
    select.set("expressions", [item for node in select.expressions for item in _expanded(node, scope)])
    for node in select.expressions:
        _expression(node, scope, ctes)
    outputs = _named(select)
    for clause in ("where", "having", "distinct"):
        if select.args.get(clause):
            _expression(select.args[clause], scope, ctes)
    for node in select.args.get("windows") or ():
        _expression(node, scope, ctes)
    _group(select, scope, ctes)
    _order(select, outputs, scope, ctes)
    check_limits(select)
    roles = {alias: {one.column: one.role for one in held if one.role} for alias, held in scope.sources.items()}
    check_metrics(select, roles)
    made = zip(outputs, select.expressions, strict=True)
    return tuple(replace(one, role=role_of(item.this, one.kind, select, roles)) for one, item in made)


def _source(node: exp.Expr, scope: _Scope, ctes: _Ctes) -> str:
    """Add one table or sub-query to the scope; gives its alias."""
    alias = node.args.get("alias")
    if isinstance(node, exp.Table) and node.name not in ctes and alias is not None and alias.args.get("columns"):
        node = enclosed(node)
        alias = node.args["alias"]
    if isinstance(node, exp.Subquery):
        columns = _query(node.this, ctes, scope.parent)
        if alias is None:
            alias = exp.TableAlias(this=exp.to_identifier(f"sub{len(scope.sources)}", quoted=True))
            node.set("alias", alias)
    elif isinstance(node, exp.Table):
        columns = _table(node, ctes)
        if alias is None:
            alias = exp.TableAlias(this=exp.to_identifier(node.name, quoted=True))
            node.set("alias", alias)
    else:
        raise QueryError(f"{node.key.upper()} can't stand after FROM.", todo="Name a fact or a lookup.", code="0A000")
    if alias.name in scope.sources:
        raise QueryError(f"table name '{alias.name}' is used twice.", todo="Give one an alias.", code="42712")
    scope.sources[alias.name] = _renamed(columns, alias)
    return str(alias.name)


def _table(node: exp.Table, ctes: _Ctes) -> tuple[Output, ...]:
    if node.name in ctes:
        return ctes[node.name]
    of_policy = ctes.get(f"{_POLICY}_{node.name}")
    if of_policy is None and _POLICY in ctes:
        near = did_you_mean(node.name, (one.name for one in ctes[_POLICY]))
        raise QueryError(f"there is no table '{node.name}'.", todo=near, code="42P01")
    columns = columns_of(node.name)
    node.meta["fact" if node.name in load_facts() else "lookup"] = node.name
    roles = ROLES.get(node.name, {})
    own = tuple(
        Output(name, name, column_kind(kind), kind, shown, roles.get(name, ""))
        for name, (kind, shown) in columns.items()
    )
    hidden = {one.name for one in of_policy or ()}
    return tuple(one for one in (*own, *ctes.get(f"fc_{node.name}", ())) if one.name not in hidden)


def _derived(view: View, fact: str) -> tuple[Output, ...]:
    """The derived dimensions of a fact as columns that `*` doesn't show."""
    found = [one for one in view.derived(fact).values() if shows_derived(view.policy, fact, one)]
    return tuple(Output(one.name, one.name, column_kind(one.type), one.type, shown=False) for one in found)


def _permitted(view: View) -> _Ctes:
    """The tables of the user's policy, and what each hides, under names that no statement can use."""
    if view.policy is None:
        return {}
    tables = view.policy.tables
    hidden = {f"{_POLICY}_{name}": tuple(Output(one, one, "") for one in tables[name].hidden) for name in tables}
    return {_POLICY: tuple(Output(name, name, "") for name in tables), **hidden}


def _renamed(columns: tuple[Output, ...], alias: exp.TableAlias) -> tuple[Output, ...]:
    """Columns under the names of `AS t(a, b)`; the engine sees that list too, so its names are the new ones."""
    names = [identifier.name for identifier in alias.args.get("columns") or ()]
    if len(names) > len(columns):
        raise QueryError(f"{alias.name} has {len(columns)} columns, not {len(names)}.", todo="Name fewer.")
    renamed = [replace(one, name=name, column=name) for one, name in zip(columns, names, strict=False)]
    return (*renamed, *columns[len(names) :])


def _join(join: exp.Join, scope: _Scope, ctes: _Ctes) -> None:
    if join.args.get("method"):
        raise QueryError("NATURAL JOIN is not supported.", todo="Write JOIN ... ON.", code="0A000")
    before = list(scope.sources)
    alias = _source(join.this, scope, ctes)
    if join.args.get("on"):
        _expression(join.args["on"], scope, ctes)
    using = join.args.get("using") or ()
    if using and join.side in ("RIGHT", "FULL"):
        raise QueryError(f"USING with a {join.side} JOIN is not supported.", todo="Write ON.", code="0A000")
    conditions = []
    for identifier in using:
        left = next((one for one in before if any(c.name == identifier.name for c in scope.sources[one])), alias)
        scope.merged[identifier.name] = left
        pair = [exp.column(identifier.name, table=table, quoted=True) for table in (left, alias)]
        for column in pair:
            _column(column, scope)
        conditions.append(exp.EQ(this=pair[0], expression=pair[1]))
    if using:
        join.set("using", None)
        join.set("on", exp.and_(*conditions))


def _expanded(node: exp.Expr, scope: _Scope) -> list[exp.Expr]:
    """`*` and `t.*` as the columns they stand for."""
    if isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
        if node.table not in scope.sources:
            raise _no_table(node.table, scope)
        aliases = [node.table]
    elif isinstance(node, exp.Star):
        aliases = list(scope.sources)
        if not aliases:
            raise QueryError("SELECT * needs a FROM.", todo="Name a fact.")
    else:
        return [node]
    found = []
    for alias in aliases:
        for one in scope.sources[alias]:
            merged = isinstance(node, exp.Star) and scope.merged.get(one.name, alias) != alias
            if one.shown and not merged:
                column = exp.column(one.column, table=alias, quoted=True)
                column.meta["output"] = one
                found.append(exp.alias_(column, one.name, quoted=True))
    return list(found)


def _named(select: exp.Select) -> tuple[Output, ...]:
    """Give every projection the name PostgreSQL would, and the engine a name that does not repeat."""
    outputs: list[Output] = []
    taken: set[str] = set()
    for node in select.expressions:
        name = node.alias if isinstance(node, exp.Alias) else default_name(node)
        column, number = name, 1
        while column.lower() in taken:
            number += 1
            column = f"{name}_{number}"
        taken.add(column.lower())
        value = node.this if isinstance(node, exp.Alias) else node
        # Of what a column of a sub-query is made matters for histograms only.
        made = COUNTS if value.meta.get("type") == COUNTS else ""
        outputs.append(Output(name, column, kind(value), made))
        if not isinstance(node, exp.Alias) or node.alias != column:
            node.replace(exp.alias_(value.copy(), column, quoted=True))
    return tuple(outputs)


def _group(select: exp.Select, scope: _Scope, ctes: _Ctes) -> None:
    group = select.args.get("group")
    if group is None:
        return
    group.set("expressions", [_group_item(node, select, scope) for node in group.expressions])
    for item in group.expressions:
        for node in leaves(item):
            if not node.meta.get("bound"):
                _expression(node, scope, ctes)


def _group_item(node: exp.Expr, select: exp.Select, scope: _Scope) -> exp.Expr:
    if isinstance(node, (*SETS, exp.Tuple)):
        node.set("expressions", [_group_item(one, select, scope) for one in node.expressions])
        return node
    if isinstance(node, exp.Paren):
        return _group_item(node.this, select, scope)
    found: exp.Expr | None = None
    if isinstance(node, exp.Literal) and not node.is_string:
        found = at_position(node, select.expressions, "GROUP BY")
    elif isinstance(node, exp.Column) and not node.table and not any(one.shown for _, one in scope.holders(node.name)):
        # A column that * does not show must not take the name of an output either.
        found = next((item for item in select.expressions if item.alias == node.name), None)
    if found is None:
        return node
    value: exp.Expr = found.this.copy()
    if isinstance(value, (exp.Literal, exp.Null, exp.Boolean)):
        # A bare number would be a position again.
        types = {"integer": "BIGINT", "decimal": "DECIMAL(38, 9)", "boolean": "BOOLEAN", "double": "DOUBLE"}
        value = exp.cast(value, types.get(kind(value), "TEXT"))
    value.meta["bound"] = True
    return value


def _order(node: exp.Expr, outputs: Sequence[Output], scope: _Scope | None, ctes: _Ctes) -> None:
    order = node.args.get("order")
    for ordered in order.expressions if order else ():
        item = ordered.this
        if isinstance(item, exp.Literal) and not item.is_string:
            at_position(item, [exp.Null()] * len(outputs), "ORDER BY")
            continue
        place = next((i for i, one in enumerate(outputs, 1) if one.name == item.name), 0)
        if isinstance(item, exp.Column) and not item.table and place:
            ordered.set("this", exp.Literal.number(place))
        elif scope is None:
            near = did_you_mean(item.name, (one.name for one in outputs))
            raise QueryError("ORDER BY after UNION takes output names or positions.", todo=near)
        else:
            _expression(item, scope, ctes)


def _expression(node: exp.Expr, scope: _Scope, ctes: _Ctes) -> None:
    """Resolve the columns of an expression in place, and the queries inside with this scope around them."""
    if isinstance(node, (exp.Select, exp.SetOperation, exp.Subquery)):
        _query(node, ctes, scope)
    elif isinstance(node, exp.Column):
        _column(node, scope)
    else:
        for child in list(node.iter_expressions()):
            _expression(child, scope, ctes)


def _column(node: exp.Column, scope: _Scope) -> None:
    if "output" in node.meta:
        found = node.meta.pop("output")
        node.meta.update(kind=found.kind, type=found.type)
        return
    at: _Scope | None = scope
    while at is not None:
        if node.table and node.table in at.sources:
            held = [(node.table, one) for one in at.sources[node.table] if one.name == node.name]
        else:
            held = [] if node.table else at.holders(node.name)
        if len(held) > 1:
            # What * doesn't show gives way to what it does.
            held = [pair for pair in held if pair[1].shown] or held
        if len(held) > 1:
            raise QueryError(f"column '{node.name}' is ambiguous.", todo="Write table.column.", code="42702")
        if held:
            alias, found = held[0]
            node.set("table", exp.to_identifier(alias, quoted=True))
            node.set("this", exp.to_identifier(found.column, quoted=True))
            node.meta.update(kind=found.kind, type=found.type)
            if at is not scope:
                node.meta["outer"] = True
            return
        at = at.parent
    raise _no_column(node, scope)


def _no_column(node: exp.Column, scope: _Scope) -> QueryError:
    if node.table and node.table not in scope.sources:
        return _no_table(node.table, scope)
    known = [one.name for columns in scope.sources.values() for one in columns if one.shown]
    near = did_you_mean(node.name, known)
    place = f" in {', '.join(scope.sources)}" if scope.sources else ""
    return QueryError(f"there is no column '{node.name}'{place}.", todo=near, code="42703")


def _no_table(name: str, scope: _Scope) -> QueryError:
    return QueryError(f"there is no table '{name}' in FROM.", todo=did_you_mean(name, scope.sources), code="42P01")
