"""rate(x) and coverage(x) written out: a sum over the seconds asked for, so that all else treats them as a quotient.

The seconds are those of the time bucket that the query groups by, cut by the range of ts, or of that range where it
groups by none. rate is the sum of a counter's increases per second; coverage is the seconds for which the values stand
(their interval_s) per second: 1 for one series without a gap, and so the number of series that were there for several.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from cubes.route.beside import joined_fact
from cubes.route.lower import fixed_now
from cubes.route.span import moment
from cubes.route.window import is_time, split_window
from lake.errors import QueryError
from lake.times import iso

if TYPE_CHECKING:
    from cubes.route.statement import Statement
    from cubes.route.view import View

_WORDS: Final = ("rate", "coverage")


def rates(statement: Statement, view: View) -> Statement:
    """The statement without rate and coverage.

    Errors: QueryError where a query has neither one plain time bucket nor a range with two ends.
    """
    assert statement.tree is not None, "bind comes first"
    if not any(_is_rate(node) for node in statement.tree.find_all(exp.Anonymous)):
        return statement
    tree = fixed_now(statement.tree.copy(), view.now)
    for node in [node for node in tree.find_all(exp.Anonymous) if _is_rate(node)]:
        select = node.find_ancestor(exp.Select)
        table = joined_fact(select) if select is not None else None
        if select is None or table is None or isinstance(node.parent, exp.Window):
            what = f"{node.name}() is of the rows of one fact, in groups."
            raise QueryError(what, todo="Take it in a sub-query over the fact.", code="0A000")
        around = node.parent if isinstance(node.parent, exp.Filter) else None
        argument = node.expressions[0]
        total: exp.Expr = exp.Sum(this=argument) if node.name == "rate" else _word("fc_weight", argument)
        if around is not None:
            total = exp.Filter(this=total, expression=around.expression)
        (around or node).replace(_word("fc_divide", total, _seconds(select, table, node.name, view)))
    return replace(statement, tree=tree)


def _is_rate(node: exp.Anonymous) -> bool:
    return str(node.name) in _WORDS


def _word(name: str, *arguments: exp.Expr) -> exp.Anonymous:
    return exp.Anonymous(this=name, expressions=list(arguments))


def _seconds(select: exp.Select, table: exp.Table, word: str, view: View) -> exp.Expr:
    alias = table.alias
    where, group = select.args.get("where"), select.args.get("group")
    window, _ = split_window(where.this if where is not None else None, alias, view.duck)
    ends = [_instant(at) for at in (window.start, window.end)]
    timed = [node for node in (group.expressions if group else ()) if _of_time(node, alias)]
    if not timed:
        if window.start is None or window.end is None:
            todo = "Add WHERE ts >= ... AND ts < ..., or group by date_trunc('hour', ts)."
            raise QueryError(f"{word}() needs to know for how long.", todo=todo, code="42803")
        return _word("fc_seconds", *ends, *(end.copy() for end in ends))
    width = _width(timed[0], alias) if len(timed) == 1 else None
    if width is None:
        todo = "Group by one of date_trunc, date_bin or time_bucket of ts, without a zone."
        raise QueryError(f"{word}() can't tell how long the groups are.", todo=todo, code="42803")
    start = timed[0]
    return _word("fc_seconds", start.copy(), exp.Add(this=start.copy(), expression=width), *ends)


def _instant(us: int | None) -> exp.Expr:
    return exp.Null() if us is None else exp.cast(exp.Literal.string(iso(moment(us))), "TIMESTAMPTZ")


def _of_time(node: exp.Expr, alias: str) -> bool:
    return any(is_time(column, alias) for column in node.find_all(exp.Column))


def _width(node: exp.Expr, alias: str) -> exp.Expr | None:
    """The length of a plain bucket of the time column as an interval; None for another expression."""
    match node:
        case exp.TimestampTrunc() | exp.DateTrunc() if is_time(node.this, alias) and not node.args.get("zone"):
            return exp.cast(exp.Literal.string(f"1 {node.args['unit'].name.lower()}"), "INTERVAL")
        case exp.DateBin() if is_time(node.expression, alias):
            return exp.cast(node.this.copy(), "INTERVAL")
        case exp.Anonymous() if node.name == "time_bucket" and is_time(node.expressions[1], alias):
            return exp.cast(node.expressions[0].copy(), "INTERVAL")
    return None
