"""Kinds of expressions: enough typing to keep PostgreSQL's arithmetic (integer division, exact averages) on DuckDB.

A kind is integer, decimal (any exact non-integer), double, text, boolean, timestamp, date, interval or other. Columns
carry theirs in `meta["kind"]`, put there when names are bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from sqlglot import exp

_TYPE = exp.DataType.Type
_CASTS: Final = {
    **dict.fromkeys((_TYPE.SMALLINT, _TYPE.INT, _TYPE.BIGINT, _TYPE.TINYINT), "integer"),
    _TYPE.DECIMAL: "decimal",
    **dict.fromkeys((_TYPE.FLOAT, _TYPE.DOUBLE), "double"),
    **dict.fromkeys((_TYPE.TEXT, _TYPE.VARCHAR, _TYPE.CHAR), "text"),
    _TYPE.BOOLEAN: "boolean",
    **dict.fromkeys((_TYPE.TIMESTAMP, _TYPE.TIMESTAMPTZ), "timestamp"),
    _TYPE.DATE: "date",
    _TYPE.INTERVAL: "interval",
}
_COLUMNS: Final = {
    **dict.fromkeys(("decimal", "duration", "interval"), "decimal"),
    **dict.fromkeys(("string", "labels"), "text"),
    **{same: same for same in ("integer", "double", "boolean", "timestamp", "date")},
}
_EXACT: Final = ("integer", "decimal")


def column_kind(column_type: str) -> str:
    """The kind of a declared column type (see lake.facts)."""
    return _COLUMNS.get(column_type, "other")


def kind(node: exp.Expr | None) -> str:
    """The kind of a bound expression; 'other' where it can't be told."""
    if node is None or isinstance(node, exp.Null):
        return "null"
    for types, rule in _RULES:
        if isinstance(node, types):
            return rule(node)
    return "boolean" if isinstance(node, exp.Predicate) else "other"


def is_exact(kind_name: str) -> bool:
    """Whether values of this kind are exact numbers."""
    return kind_name in _EXACT


def _widest(kinds: Iterable[str]) -> str:
    found = {one for one in kinds if one != "null"}
    if not found:
        return "null"
    if len(found) == 1:
        return found.pop()
    if found <= {*_EXACT, "double"}:
        return "double" if "double" in found else "decimal"
    return "other"


def _literal(node: exp.Expr) -> str:
    if node.args.get("is_string"):
        return "text"
    text = node.name.lower()
    return "double" if "e" in text else "decimal" if "." in text else "integer"


def _arithmetic(node: exp.Expr) -> str:
    sides = {kind(node.this), kind(node.expression)}
    for moment in ("timestamp", "date"):
        if moment in sides:
            return moment if "interval" in sides or "integer" in sides else "other"
    return "interval" if "interval" in sides else _widest(sides)


def _division(node: exp.Expr) -> str:
    found = _widest((kind(node.this), kind(node.expression)))
    return found if found in _EXACT else "double"


def _case(node: exp.Expr) -> str:
    return _widest([kind(branch.args["true"]) for branch in node.args["ifs"]] + [kind(node.args.get("default"))])


def _sum(node: exp.Expr) -> str:
    found = kind(_argument(node))
    return found if found in (*_EXACT, "double") else "other"


def _average(node: exp.Expr) -> str:
    found = kind(_argument(node))
    return "decimal" if found in _EXACT else "double"


def _argument(node: exp.Expr) -> exp.Expr | None:
    inner: exp.Expr | None = node.this
    return inner.expressions[0] if isinstance(inner, exp.Distinct) else inner


def _word(node: exp.Expr) -> str:
    if node.name in ("time_avg", "integral", "rate", "coverage", "fc_divide", "fc_weight"):
        return "decimal"
    if node.name.startswith(("approx_percentile", "percentile_", "fc_percentile")):
        return "double"
    return {"time_bucket": "timestamp"}.get(node.name, "other")


def _scalar(node: exp.Expr) -> str:
    inner = node.this
    while isinstance(inner, (exp.SetOperation, exp.Subquery)):
        inner = inner.this
    return kind(inner.expressions[0]) if isinstance(inner, exp.Select) and inner.expressions else "other"


def _always(name: str) -> Callable[[exp.Expr], str]:
    return lambda node: name


def _of_this(node: exp.Expr) -> str:
    return kind(node.this)


def _of_all(node: exp.Expr) -> str:
    return _widest([kind(node.this), *(kind(item) for item in node.expressions)])


_Rule = tuple[tuple[type[exp.Expr], ...], Callable[[exp.Expr], str]]
_RULES: Final[tuple[_Rule, ...]] = (
    ((exp.Column,), lambda node: str(node.meta.get("kind", "other"))),
    ((exp.Literal,), _literal),
    ((exp.Cast,), lambda node: _CASTS.get(node.args["to"].this, "other")),
    ((exp.ApproxDistinct, exp.Grouping), _always("integer")),
    ((exp.Count, exp.RowNumber, exp.Rank, exp.DenseRank, exp.Ntile, exp.Length, exp.StrPosition), _always("integer")),
    ((exp.Sum,), _sum),
    ((exp.Avg,), _average),
    ((exp.PercentileCont, exp.PercentileDisc, exp.Stddev, exp.StddevSamp, exp.StddevPop), _always("double")),
    ((exp.Variance, exp.VariancePop, exp.Extract, exp.Sqrt, exp.Ln, exp.Log, exp.Exp, exp.Pow), _always("double")),
    ((exp.PercentRank, exp.CumeDist), _always("double")),
    ((exp.TimestampTrunc, exp.DateTrunc, exp.DateBin, exp.CurrentTimestamp, exp.StrToTime), _always("timestamp")),
    ((exp.UnixToTime, exp.AtTimeZone), _always("timestamp")),
    ((exp.CurrentDate, exp.StrToDate), _always("date")),
    ((exp.Interval,), _always("interval")),
    ((exp.Lower, exp.Upper, exp.Left, exp.Right, exp.Substring, exp.Trim, exp.Concat), _always("text")),
    ((exp.DPipe, exp.SplitPart, exp.TimeToStr), _always("text")),
    ((exp.Boolean, exp.Not, exp.And, exp.Or), _always("boolean")),
    ((exp.Div,), _division),
    ((exp.Add, exp.Sub, exp.Mul, exp.Mod), _arithmetic),
    ((exp.Case,), _case),
    ((exp.Coalesce, exp.Greatest, exp.Least), _of_all),
    ((exp.Subquery,), _scalar),
    ((exp.Anonymous,), _word),
    ((exp.Paren, exp.Alias, exp.Filter, exp.Window, exp.WithinGroup, exp.Neg, exp.Abs, exp.Round), _of_this),
    ((exp.Floor, exp.Ceil, exp.Sign, exp.Min, exp.Max, exp.Nullif, exp.Lag, exp.Lead), _of_this),
    ((exp.FirstValue, exp.LastValue, exp.Last), _of_this),
)
