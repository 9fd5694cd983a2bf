"""A bound tree in the engine's terms, with PostgreSQL's arithmetic; the same for rows and for merged cells.

integer / integer is integer division; a quotient with an exact decimal takes both at nine places and is rounded once,
half to even, at the ninth; anything with a double is a double; division by zero is an error. Averages are exact sums
over counts, a sum of integers is a BIGINT or an error. Percentiles of rows interpolate between exact order
statistics, as doubles.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlglot import exp

from cubes.histograms import WORDS as HISTOGRAMS
from cubes.route.kinds import kind
from cubes.route.values import SPREADS, fraction_of, latest_of, square_of
from cubes.spread import FORMS, FRACTIONS, SPREAD, SQUARES, is_split
from lake.errors import QueryError
from lake.times import iso

# Made once per connection by the session. The engine writes a macro's arguments out at every mention, so each is
# mentioned as rarely as can be: planning an average costs 4 ms this way and 40 the plain way. The quotient of whole
# numbers n / d is rounded half to even by way of t = 2n // d: (t + 1) // 2, less one for a tie above an even number.
_CALL = exp.Anonymous


def fixed_now(tree: exp.Expr, now: datetime) -> exp.Expr:
    """The tree with now() and current_date as literals: one statement has one present."""
    literal = exp.cast(exp.Literal.string(iso(now)), "TIMESTAMPTZ")

    def fix(node: exp.Expr) -> exp.Expr:
        if isinstance(node, exp.CurrentTimestamp):
            return literal.copy()
        return exp.cast(literal.copy(), "DATE") if isinstance(node, exp.CurrentDate) else node

    return tree.transform(fix, copy=False)


def is_volatile(tree: exp.Expr) -> bool:
    """Whether the statement asks for the present."""
    return tree.find(exp.CurrentTimestamp, exp.CurrentDate) is not None


def lower(tree: exp.Expr) -> exp.Expr:
    """The tree for the engine; the given one is left alone."""
    return _lower(tree.copy())


def engine_sql(tree: exp.Expr) -> str:
    """The engine's text of a bound tree."""
    return lower(tree).sql("duckdb")


def _lower(node: exp.Expr) -> exp.Expr:
    """Children first, except that an aggregate is taken with its FILTER, OVER or WITHIN GROUP."""
    rule = _aggregate_rule(node)
    # The kinds of operands are told before these change form.
    if isinstance(node, exp.TimeToStr) and kind(node.this) not in ("timestamp", "date", "other"):
        todo = "Write round(x, 2), or CAST(x AS text)."
        raise QueryError(f"to_char() of {kind(node.this)} is not supported.", todo=todo, code="0A000")
    operands = (kind(node.this), kind(node.expression)) if isinstance(node, exp.Div) else ("", "")
    made = rule(node) if rule else node
    if made is not node:
        _below(made, skip=True)
        return made
    _below(node)
    if isinstance(node, exp.Div):
        return _division(node, operands)
    simple = _SIMPLE.get(type(node))
    return simple(node) if simple else node


def _below(node: exp.Expr, *, skip: bool = False) -> None:
    for name, value in list(node.args.items()):
        if isinstance(value, exp.Expr):
            node.set(name, _inside(value, skip))
        elif isinstance(value, list):
            node.set(name, [_inside(one, skip) if isinstance(one, exp.Expr) else one for one in value])


def _inside(node: exp.Expr, skip: bool) -> exp.Expr:
    """Aggregates that a rule has made are done; only what stands inside them is still to be lowered."""
    if skip and node.meta.get("lowered"):
        _below(node, skip=True)
        return node
    return _lower(node)


def _done(node: exp.Expr) -> exp.Expr:
    node.meta["lowered"] = True
    return node


def _aggregate_rule(node: exp.Expr) -> Callable[[exp.Expr], exp.Expr] | None:
    core = _core(node)
    if isinstance(core, exp.Avg) and kind(core) == "decimal":
        return _average
    if isinstance(core, exp.Sum) and kind(core) == "integer" and not node.meta.get("lowered"):
        return _integer_sum
    if isinstance(core, (exp.PercentileCont, exp.PercentileDisc)):
        return _percentile
    if isinstance(core, exp.Last):
        return _last
    if isinstance(core, exp.ApproxDistinct):
        return _count_distinct
    if type(core) in SPREADS and _spread_type(core.this):
        return _spread
    if isinstance(core, _CALL):
        return _WORDS.get(core.name)
    return None


def _core(node: exp.Expr) -> exp.Expr:
    while isinstance(node, (exp.Filter, exp.Window, exp.WithinGroup)):
        node = node.this
    return node


def _around(node: exp.Expr, core: exp.Expr) -> exp.Expr:
    """The FILTER and OVER of `node` around another aggregate."""
    if isinstance(node, exp.WithinGroup):
        return _around(node.this, core)
    if not isinstance(node, (exp.Filter, exp.Window)):
        return _done(core)
    shell = node.copy()
    shell.set("this", _around(node.this, core))
    return _done(shell)


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return _done(_CALL(this=name, expressions=list(arguments)))


def _cast(node: exp.Expr, to: str) -> exp.Expr:
    return _done(exp.cast(node, to))


def _average(node: exp.Expr) -> exp.Expr:
    inner = _core(node).this
    return _call("fc_avg", _around(node, exp.Sum(this=inner.copy())), _around(node, exp.Count(this=inner.copy())))


def _integer_sum(node: exp.Expr) -> exp.Expr:
    return _cast(_around(node, exp.Sum(this=_core(node).this.copy())), "BIGINT")


def _last(node: exp.Expr) -> exp.Expr:
    value = _core(node).this
    if not isinstance(value, exp.Column):
        raise QueryError("last takes a column.", todo="Write last(value).", code="42883")
    return _call("struct_extract", _around(node, exp.Max(this=latest_of(value))), _done(exp.Literal.string("v")))


def _count_distinct(node: exp.Expr) -> exp.Expr:
    return _around(node, exp.Count(this=exp.Distinct(expressions=[_core(node).this.copy()])))


def _spread_type(value: exp.Expr) -> str:
    """As which type of a column a value is squared exactly; empty where doubles must do."""
    declared = str(value.meta.get("type", ""))
    if declared in SQUARES:
        return declared
    # Counts and sums of a sub-query, say. Decimals that were computed may have more places than are kept.
    return "integer" if kind(value) == "integer" else ""


def _spread(node: exp.Expr) -> exp.Expr:
    """The exact parts of a variance, each with the FILTER and OVER, under the one formula of `cubes.spread`."""
    core = _core(node)
    value, column_type = core.this, _spread_type(core.this)
    total = {"integer": "DECIMAL(38,0)", "interval": "DECIMAL(38,3)", "duration": "DECIMAL(38,6)"}
    sums = [
        (exp.Sum(this=value.copy()), total.get(column_type, "DECIMAL(38,9)")),
        (exp.Sum(this=square_of(value, column_type)), SQUARES[column_type]),
    ]
    if is_split(column_type):
        sums.append((exp.Sum(this=fraction_of(value)), FRACTIONS))
    parts = [_around(node, exp.Count(this=value.copy()))] + [_cast(_around(node, one), to) for one, to in sums]
    less, rooted = FORMS[SPREADS[type(core)]]
    found = _call(SPREAD[is_split(column_type)], *parts, exp.Literal.number(less))
    return _call("sqrt", found) if rooted else found


def percentile_parts(node: exp.Expr) -> tuple[str, exp.Expr, exp.Expr]:
    """(percentile_cont or percentile_disc, the argument, the share) of a percentile with its WITHIN GROUP.

    Errors: QueryError where the order is missing or descending.
    """
    inner = node.this if isinstance(node, exp.Filter) else node
    core = _core(inner)
    if isinstance(core, _CALL):
        return "percentile_cont", core.expressions[0], core.expressions[1]
    name = "percentile_cont" if isinstance(core, exp.PercentileCont) else "percentile_disc"
    if not isinstance(inner, exp.WithinGroup) or len(inner.expression.expressions) != 1:
        raise QueryError(f"{name} needs an order.", todo=f"Write {name}(0.95) WITHIN GROUP (ORDER BY x).")
    ordered = inner.expression.expressions[0]
    if ordered.args.get("desc"):
        raise QueryError(f"{name} in descending order is not supported.", todo="Use 1 - p in ascending order.")
    return name, ordered.this, core.this


def _percentile(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Window):
        raise QueryError("a percentile can't be a window function.", todo="Group in a sub-query.", code="0A000")
    name, argument, share = percentile_parts(node)
    if not isinstance(share, exp.Literal) or share.is_string or not 0 <= float(share.name) <= 1:
        what = f"a percentile wants a number from 0 to 1, not {share.sql('postgres')}."
        raise QueryError(what, todo="Write 0.95 for the 95th.", code="22003")
    function = "quantile_cont" if name == "percentile_cont" else "quantile_disc"
    core = _call(function, exp.cast(argument.copy(), "DOUBLE"), _done(share.copy()))
    return _around(node, core) if isinstance(node, exp.Filter) else core


def _observed(node: exp.Expr) -> exp.Expr:
    """A percentile of histograms: over the list of what was observed in each row."""
    core = _core(node)
    counts, share, *beside = (one.copy() for one in core.expressions)
    lists = _around(node, _call("list", _CALL(this="fc_observed", expressions=[counts, *beside])))
    return _call(core.name, lists, _done(share))


def _time_average(node: exp.Expr) -> exp.Expr:
    value = _core(node).expressions[0]
    weight = exp.Case().when(value.copy().is_(exp.Null()).not_(), _interval_of(value))
    return _call("fc_time_avg", _weighted(node, value), _around(node, exp.Sum(this=weight)))


def _covered(node: exp.Expr) -> exp.Expr:
    value = _core(node).expressions[0]
    weight = exp.Case().when(value.copy().is_(exp.Null()).not_(), _interval_of(value))
    return _cast(_around(node, exp.Sum(this=weight)), "DECIMAL(38, 3)")


def _integral(node: exp.Expr) -> exp.Expr:
    return _weighted(node, _core(node).expressions[0])


def _weighted(node: exp.Expr, value: exp.Expr) -> exp.Expr:
    return _cast(
        _around(node, exp.Sum(this=exp.Mul(this=value.copy(), expression=_interval_of(value)))), "DECIMAL(38, 12)"
    )


def _interval_of(value: exp.Expr) -> exp.Expr:
    """The weight beside a value of samples: its column interval_s."""
    if not isinstance(value, exp.Column):
        raise QueryError("time_avg and integral take the column value.", todo="Write time_avg(value).", code="42883")
    return exp.column("interval_s", table=value.table, quoted=True)


def _division(node: exp.Expr, operands: tuple[str, str]) -> exp.Expr:
    found = set(operands)
    a, b = node.this, node.expression
    if found == {"integer"}:
        return exp.Paren(this=exp.IntDiv(this=a, expression=b))
    if found <= {"integer", "decimal"}:
        return _CALL(this="fc_divide", expressions=[a, b])
    node.set("typed", False)
    node.set("safe", False)
    return node


def _cast_type(node: exp.Expr) -> exp.Expr:
    """A bare NUMERIC has PostgreSQL's room, not the engine's three places."""
    to = node.args["to"]
    if to.this == exp.DataType.Type.DECIMAL and not to.expressions:
        node.set("to", exp.DataType.build("DECIMAL(38, 9)"))
    elif to.this == exp.DataType.Type.FLOAT:
        node.set("to", exp.DataType.build("DOUBLE"))
    return node


def _like(node: exp.Expr) -> exp.Expr:
    """PostgreSQL's LIKE escapes by a backslash; the engine's by nothing."""
    pattern = node.expression
    plain = isinstance(pattern, exp.Literal) and "\\" not in pattern.name
    return node if plain or isinstance(node.parent, exp.Escape) else exp.Escape(this=node, expression=_BACKSLASH.copy())


def _bucket(node: exp.Expr) -> exp.Expr:
    """date_bin and time_bucket: the width as an interval, the origin as an instant."""
    if isinstance(node, exp.DateBin):
        parts = [node.this, node.expression, node.args.get("unit")]
    elif node.name == "time_bucket":
        parts = [*node.expressions, None][:3]
    else:
        return node
    width, ts, origin = parts
    tail = [exp.cast(origin, "TIMESTAMPTZ")] if origin is not None else []
    return _CALL(this="time_bucket", expressions=[exp.cast(width, "INTERVAL"), ts, *tail])


def _instant(node: exp.Expr) -> exp.Expr:
    """to_timestamp(text, format) is an instant, not a local time."""
    return exp.cast(node, "TIMESTAMPTZ")


def _truncated(node: exp.Expr) -> exp.Expr:
    """date_trunc with a zone: below a day the instant moves back by what its clock shows beyond the unit.

    So the hour that a zone's clock shows twice stays two hours, as in PostgreSQL.
    """
    zone = node.args.get("zone")
    if zone is None or node.args["unit"].name.upper() not in ("HOUR", "MINUTE", "SECOND"):
        return node
    clock = exp.AtTimeZone(this=node.this.copy(), zone=zone.copy())
    start = exp.TimestampTrunc(this=clock.copy(), unit=node.args["unit"].copy())
    beyond = exp.Paren(this=exp.Sub(this=clock, expression=start))
    return exp.Paren(this=exp.Sub(this=node.this.copy(), expression=beyond))


_WORDS: Final[dict[str, Callable[[exp.Expr], exp.Expr]]] = {
    "approx_percentile": _percentile,
    "time_avg": _time_average,
    "integral": _integral,
    "fc_weight": _covered,
    **dict.fromkeys(HISTOGRAMS.values(), _observed),
}
_BACKSLASH: Final = exp.Literal.string("\\")
_SIMPLE: Final[dict[type[exp.Expr], Callable[[exp.Expr], exp.Expr]]] = {
    exp.Cast: _cast_type,
    exp.Like: _like,
    exp.ILike: _like,
    exp.DateBin: _bucket,
    exp.Anonymous: _bucket,
    exp.StrToTime: _instant,
    exp.TimestampTrunc: _truncated,
}
