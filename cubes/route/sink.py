"""Conditions on a sub-query's columns, put inside it too: what a dashboard filters of a virtual dataset prunes rows.

`SELECT ... FROM (SELECT model, date_trunc('hour', ts) AS ts, sum(n) FROM requests GROUP BY 1, 2) AS t WHERE ts >= X`
reads from X on, not everything. The condition outside stays, so what goes inside need only follow from it: rows that it
takes away may belong to no row that is kept. That holds for a column that is a key of the grouping (all rows of a group
have the same), or any column where nothing is grouped; not beside a LIMIT, a window or a rolled-up key. Nothing goes
inside that could fail on a row: comparisons of columns with constants of their own kind, and ranges of time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from cubes.route.flatten import around
from cubes.route.kinds import kind
from cubes.route.lower import fixed_now
from cubes.route.parts import aggregates
from cubes.route.sets import has_sets
from cubes.route.span import micros, moment
from cubes.route.window import TIME, conjuncts, split_window

if TYPE_CHECKING:
    from cubes.route.statement import Statement
    from cubes.route.view import View

# An end of a range to the first bucket that begins at it or after it.
_Ceil = Callable[[int], int]
_CLAUSES: Final = frozenset("with_ expressions from_ joins where group having order distinct".split())
_SECONDS: Final = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400}
_MONTHS: Final = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}
_WEEK_US: Final = 7 * 86_400 * 10**6
# 1970-01-05, a Monday.
_MONDAY_US: Final = 4 * 86_400 * 10**6
# The part of a truncated time that FLOOR(EXTRACT(part FROM ts) / n) counts in, by the unit that it was truncated to.
_PARTS: Final = {"HOUR": ("MINUTE", 60), "MINUTE": ("SECOND", 1)}
_COMPARED: Final = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.In, exp.Between, exp.Like, exp.ILike)
_LOGIC: Final = (exp.And, exp.Or, exp.Not, exp.Paren)
_FAMILIES: Final = {"text": "text", "integer": "number", "decimal": "number", "boolean": "boolean"}
_INSTANT: Final = "fc_instant"


def sink(statement: Statement, view: View) -> Statement:
    """The statement with such conditions inside too; what answers from rows alone (`raw`) takes it as it is written."""
    assert statement.tree is not None, "bind comes first"
    if statement.raw or statement.tree.find(exp.Subquery) is None:
        return statement
    tree = statement.tree.copy()
    # From the outside in, so that what has come one level down may go on.
    for select in list(tree.find_all(exp.Select)):
        where = select.args.get("where")
        parts = [] if where is None else conjuncts(where.this)
        for item in _derived(select) if parts else ():
            for part in parts:
                _into(item, part, view)
    return replace(statement, tree=tree)


def _derived(select: exp.Select) -> Iterator[exp.Subquery]:
    """The sub-queries in a SELECT's FROM whose rows its condition may take away beforehand."""
    for parent in (select.args.get("from_"), *(select.args.get("joins") or ())):
        item = parent.this if parent is not None else None
        if isinstance(item, exp.Subquery) and around(item) is select:
            alias = item.args.get("alias")
            if alias is not None and not alias.args.get("columns"):
                yield item


def _into(item: exp.Subquery, part: exp.Expr, view: View) -> None:
    columns = list(part.find_all(exp.Column))
    theirs = any(column.table != item.alias or column.meta.get("outer") for column in columns)
    arms = _arms(item)
    if not columns or theirs or part.find(exp.Query) is not None or not arms:
        return
    names = [one.alias for one in arms[0].expressions]
    if any(names.count(column.name) != 1 for column in columns):
        return
    for arm in filter(_takes, arms):
        meant = {column.name: arm.expressions[names.index(column.name)].unalias() for column in columns}
        if all(_is_key(value, arm) for value in meant.values()):
            made = _as_range(part, meant, arm, view) or _as_it_is(part, meant)
            if made is not None:
                arm.where(made, copy=False)


def _arms(query: exp.Expr) -> list[exp.Select]:
    """The SELECTs whose rows a query puts together; nothing for another query."""
    if isinstance(query, exp.Select):
        return [query]
    if isinstance(query, exp.Subquery):
        more = any(value for name, value in query.args.items() if name not in ("this", "alias"))
        return [] if more else _arms(query.this)
    if type(query) is not exp.Union or query.args.get("distinct"):
        return []
    if any(query.args.get(name) for name in ("limit", "offset", "with_")):
        return []
    left, right = _arms(query.this), _arms(query.expression)
    return [*left, *right] if left and right else []


def _takes(select: exp.Select) -> bool:
    """Whether fewer rows in mean fewer rows out, and nothing else; keys are looked at one by one."""
    if any(value and name not in _CLAUSES for name, value in select.args.items()) or not select.args.get("from_"):
        return False
    distinct, group = select.args.get("distinct"), select.args.get("group")
    if distinct is not None and distinct.args.get("on") is not None:
        return False
    if group is not None and (has_sets(group) or any(v for name, v in group.args.items() if name != "expressions")):
        return False
    clauses = (*select.expressions, select.args.get("having"), select.args.get("order"))
    return not any(clause is not None and clause.find(exp.Window) for clause in clauses)


def _is_key(value: exp.Expr, select: exp.Select) -> bool:
    """Whether all rows behind a row of the result have this value."""
    group = select.args.get("group")
    if group is not None:
        return value in group.expressions
    return not any(True for clause in (*select.expressions, select.args.get("having")) for _ in aggregates(clause))


def _as_it_is(part: exp.Expr, meant: dict[str, exp.Expr]) -> exp.Expr | None:
    """The condition on the columns inside, where these are plain ones of the kinds that it compares."""
    for column in part.find_all(exp.Column):
        value = meant[column.name]
        same = kind(value) == kind(column) and kind(value) in _FAMILIES
        if not isinstance(value, exp.Column) or value.meta.get("outer") or not same:
            return None
    if not _is_plain(part):
        return None
    made = part.copy().transform(lambda node: meant[node.name].copy() if isinstance(node, exp.Column) else node)
    return exp.paren(made, copy=False)


def _is_plain(node: exp.Expr | None) -> bool:
    """Whether a condition can't fail on any row: its operands are columns and constants of one kind."""
    if isinstance(node, _LOGIC):
        return all(map(_is_plain, node.iter_expressions()))
    if isinstance(node, exp.Is):
        return isinstance(node.this, exp.Column) and isinstance(node.expression, (exp.Null, exp.Boolean))
    if isinstance(node, exp.Column):
        return kind(node) == "boolean"
    if not isinstance(node, _COMPARED):
        return False
    operands = list(node.iter_expressions())
    leaves = [one.this if isinstance(one, exp.Neg) else one for one in operands]
    if not all(isinstance(one, (exp.Column, exp.Literal, exp.Boolean, exp.Null)) for one in leaves):
        return False
    families = {_FAMILIES.get(kind(one), "") for one in leaves if not isinstance(one, exp.Null)}
    return len(families) == 1 and "" not in families


def _as_range(part: exp.Expr, meant: dict[str, exp.Expr], select: exp.Select, view: View) -> exp.Expr | None:
    """The range of time that a condition on an instant, or on the bucket of one, comes down to."""
    if len(meant) != 1:
        return None
    [found] = map(_bucket, meant.values())
    if found is None or not _is_instant(found[0], select):
        return None
    column, ceil = found
    asked = fixed_now(part.copy(), view.now)
    for node in [asked, *asked.find_all(exp.Column)]:
        if isinstance(node, exp.Column):
            node.set("this", exp.to_identifier(TIME, quoted=True))
            node.set("table", exp.to_identifier(_INSTANT, quoted=True))
    window, rest = split_window(asked, _INSTANT, view.duck)
    if rest:
        return None
    sides: list[exp.Expr] = []
    for relation, at in ((exp.GTE, window.start), (exp.LT, window.end)):
        try:
            text = None if at is None else moment(ceil(at)).isoformat()
        except (OverflowError, ValueError):
            text = None  # Beyond the years that can be written: without a bound more is read, no more is answered.
        if text is not None:
            end = exp.cast(exp.Literal.string(text), "TIMESTAMPTZ")
            sides.append(relation(this=column.copy(), expression=end))
    return exp.and_(*sides, copy=False) if sides else None


def _is_instant(column: exp.Column, select: exp.Select) -> bool:
    """Whether a column is a fact's time, or the bucket of one, by way of any number of sub-queries."""
    items = (select.args["from_"], *(select.args.get("joins") or ()))
    source = next((one.this for one in items if one.this.alias_or_name == column.table), None)
    if column.meta.get("outer") or source is None:
        return False
    if isinstance(source, exp.Table):
        return "fact" in source.meta and column.name == TIME
    arms = _arms(source)
    names = [one.alias for one in arms[0].expressions] if arms else []
    if names.count(column.name) != 1:
        return False
    found = [(_bucket(arm.expressions[names.index(column.name)].unalias()), arm) for arm in arms]
    return all(one is not None and _is_instant(one[0], arm) for one, arm in found)


def _bucket(value: exp.Expr) -> tuple[exp.Column, _Ceil] | None:
    """The column of which a value is the beginning of its bucket, or the column itself; with the ceiling of both."""
    while isinstance(value, exp.Paren):
        value = value.this
    if isinstance(value, exp.Column):
        return value, lambda us: us
    if isinstance(value, (exp.TimestampTrunc, exp.DateTrunc)):
        unit = _unit(value.args["unit"])
        if not isinstance(value.this, exp.Column) or value.args.get("zone") or unit is None:
            return None
        return value.this, _ceil_of(unit)
    return _part_of_unit(value) if isinstance(value, exp.Add) else None


def _unit(node: exp.Expr) -> str | None:
    name = node.name.upper()
    return name if name in _SECONDS or name in _MONTHS or name == "WEEK" else None


def _ceil_of(unit: str) -> _Ceil:
    if unit in _MONTHS:
        return lambda us: _ceil_months(us, _MONTHS[unit])
    if unit == "WEEK":
        return lambda us: _ceil_by(us - _MONDAY_US, _WEEK_US) + _MONDAY_US
    return lambda us: _ceil_by(us, _SECONDS[unit] * 10**6)


def _ceil_by(us: int, width_us: int) -> int:
    return -(-us // width_us) * width_us


def _ceil_months(us: int, months: int) -> int:
    """The first month, quarter or year that begins at an instant or after it."""
    at = moment(us)
    number = at.year * 12 + at.month - 1
    begins = at == at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    number = -(-(number + (not begins)) // months) * months
    first = at.replace(year=number // 12, month=number % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0)
    return micros(first)


def _part_of_unit(value: exp.Add) -> tuple[exp.Column, _Ceil] | None:
    """DATE_TRUNC('HOUR', ts) + INTERVAL '5 MINUTES' * FLOOR(EXTRACT(MINUTE FROM ts) / 5), as tools write it."""
    trunc, times = value.this, value.expression
    if not isinstance(trunc, exp.TimestampTrunc) or trunc.args.get("zone") or not isinstance(times, exp.Mul):
        return None
    part, seconds = _PARTS.get(trunc.args["unit"].name.upper(), ("", 0))
    length, floor = times.this, times.expression
    while isinstance(floor, exp.Floor):
        floor = floor.this
    if not isinstance(length, exp.Interval) or not isinstance(times.expression, exp.Floor):
        return None
    if not isinstance(floor, exp.Div) or not isinstance(floor.this, exp.Extract):
        return None
    extract, many = floor.this, floor.expression.name
    same = isinstance(trunc.this, exp.Column) and extract.expression == trunc.this
    counted = isinstance(floor.expression, exp.Literal) and many.isdigit() and length.this.name == many
    units = {extract.this.name.upper(), str(length.args["unit"].name).upper().removesuffix("S")}
    if not (same and counted and int(many) and 60 % int(many) == 0 and units == {part}):
        return None
    width_us = timedelta(seconds=seconds * int(many)) // timedelta(microseconds=1)
    return trunc.this, lambda us: _ceil_by(us, width_us)
