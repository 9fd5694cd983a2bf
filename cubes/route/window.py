"""Event time in predicates: comparisons that come down to one range, and expressions that are constant in a bucket."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import gcd
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from cubes.route.lower import engine_sql
from cubes.route.span import Window
from cubes.route.templates import units_of
from lake.times import EPOCH, GRAINS, WEEKS

if TYPE_CHECKING:
    from lake.duck import Duck

TIME: Final = "ts"

# Units of the clock by their seconds, and those of the calendar by the grains above a day that lie within them.
_UNITS: Final = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600}
_DAYS: Final = frozenset("DAY DOW ISODOW DOY DAYOFWEEK DAYOFWEEKISO DAYOFYEAR".split())
_WEEKS: Final = frozenset("WEEK WEEKOFYEAR ISOYEAR".split())
_MONTHS: Final = frozenset("MONTH QUARTER YEAR DECADE".split())
_WEEK_S: Final = 7 * 86400
_MIRROR: Final = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE, exp.EQ: exp.EQ}
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{3}|\.\d{6})?)?(Z|[+-]\d\d(:\d\d)?)?)?")
_HAS_ROWS: Final = (exp.Column, exp.Select, exp.Subquery, exp.SetOperation, exp.AggFunc, exp.Window)


@dataclass(frozen=True)
class _Bound:
    """One comparison of the time column with a constant."""

    relation: type[exp.Expr]
    value: exp.Expr


def conjuncts(predicate: exp.Expr | None) -> list[exp.Expr]:
    """The parts of an AND, without brackets around them."""
    if predicate is None:
        return []
    node = predicate
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.And):
        return [*conjuncts(node.this), *conjuncts(node.expression)]
    return [node]


def split_window(predicate: exp.Expr | None, alias: str, duck: Duck) -> tuple[Window, list[exp.Expr]]:
    """The time range that a predicate's AND parts set on `alias`.ts, and the parts that are no such comparison.

    Constants are folded by the engine, so text, casts, intervals and to_timestamp mean here what they mean there.
    """
    bounds: list[_Bound] = []
    rest: list[exp.Expr] = []
    for node in conjuncts(predicate):
        found = _bounds(node, alias)
        if found:
            bounds.extend(found)
        else:
            rest.append(node)
    window = Window()
    for bound, us in zip(bounds, _fold([bound.value for bound in bounds], duck), strict=True):
        window = window.meet(_range(bound.relation, us))
    return window, rest


def is_time(node: exp.Expr | None, alias: str) -> bool:
    """Whether a node is the time column itself, perhaps AT TIME ZONE 'UTC' or in brackets."""
    while isinstance(node, exp.Paren) or (isinstance(node, exp.AtTimeZone) and node.args["zone"].name.upper() == "UTC"):
        node = node.this
    return isinstance(node, exp.Column) and node.name == TIME and node.table == alias


@dataclass(frozen=True)
class Step:
    """An expression of time that is constant within every bucket of its `grains`, on the clock of a `zone`."""

    grains: frozenset[str]
    zone: str = "UTC"


def time_step(node: exp.Expr, alias: str, duck: Duck) -> Step | None:
    """What an expression is constant in; None: it is no function of the bare time column, so look at its operands."""
    match node:
        case exp.TimestampTrunc() | exp.DateTrunc():
            zone = _zone(node.this, alias)
            if zone is not None and node.args.get("zone") is not None:
                zone = _named_zone(node.args["zone"]) if isinstance(node.this, exp.Column) else None
            return None if zone is None else Step(_unit(node.args["unit"]), zone)
        case exp.Extract():
            zone = _zone(node.expression, alias)
            return None if zone is None else Step(_unit(node.this), zone)
        case exp.Cast():
            zone = _zone(node.this, alias)
            is_date = node.to.this == exp.DataType.Type.DATE
            return None if zone is None else Step(_dividing(86400) if is_date else frozenset(), zone)
        case exp.TimeToStr():
            zone = _zone(node.this, alias)
            told = [_unit(exp.Var(this=unit)) for unit in units_of(node)]
            return None if zone is None or not told else Step(frozenset.intersection(*told), zone)
        case exp.DateBin() if is_time(node.expression, alias):
            return Step(_binned(node.this, node.args.get("unit"), duck))
        case exp.Anonymous() if node.name == "time_bucket" and is_time(node.expressions[1], alias):
            origin = node.expressions[2] if len(node.expressions) > 2 else None
            return Step(_binned(node.expressions[0], origin, duck))
        case exp.Floor():
            return _part_of_unit(node.this, alias)
    return None


def _zone(node: exp.Expr, alias: str) -> str | None:
    """The zone whose clock shows the time column: UTC for itself, else that of its AT TIME ZONE; None for others."""
    while isinstance(node, exp.Paren):
        node = node.this
    if isinstance(node, exp.AtTimeZone):
        inner = node.this
        while isinstance(inner, exp.Paren):
            inner = inner.this
        return _named_zone(node.args["zone"]) if isinstance(inner, exp.Column) and is_time(inner, alias) else None
    return "UTC" if is_time(node, alias) else None


def _named_zone(node: exp.Expr) -> str | None:
    return node.name if isinstance(node, exp.Literal) and node.is_string else None


def _dividing(seconds: int) -> frozenset[str]:
    return frozenset(name for name, grain in GRAINS.items() if grain.divides(seconds)) if seconds else frozenset()


def _unit(node: exp.Expr) -> frozenset[str]:
    """The grains whose buckets lie within one bucket of a unit."""
    name = node.name.upper()
    if name in _MONTHS:
        return _dividing(86400) | {"1mo"}
    if name in _WEEKS:
        return _dividing(86400) | {"1w"}
    return _dividing(86400 if name in _DAYS else _UNITS.get(name, 0))


def _part_of_unit(node: exp.Expr, alias: str) -> Step | None:
    """FLOOR(EXTRACT(MINUTE FROM ts) / 5), as tools write five-minute buckets: 300 seconds."""
    while isinstance(node, exp.Paren):
        node = node.this
    if (
        not isinstance(node, exp.Div)
        or not isinstance(node.this, exp.Extract)
        or not isinstance(node.expression, exp.Literal)
    ):
        return None
    extract, divisor = node.this, node.expression.name
    unit, zone = _UNITS.get(extract.name.upper(), 0), _zone(extract.expression, alias)
    if zone is None or unit not in (1, 60) or not divisor.isdigit():
        return None
    return Step(_dividing(unit * int(divisor) if int(divisor) and 60 % int(divisor) == 0 else 0), zone)


def _binned(width: exp.Expr, origin: exp.Expr | None, duck: Duck) -> frozenset[str]:
    """The grains whose buckets lie within buckets of one width: these begin at its multiples from the origin on."""
    if width.find(*_HAS_ROWS) or (origin is not None and origin.find(*_HAS_ROWS)):
        return frozenset()
    length = engine_sql(exp.cast(width.copy(), "INTERVAL"))
    start = engine_sql(exp.cast(origin.copy(), "TIMESTAMPTZ")) if origin is not None else "TIMESTAMPTZ '2000-01-03'"
    months = "datepart('month', x) + 12 * datepart('year', x)"
    text = f"SELECT {months}, epoch_us(x), epoch_us({start}) FROM (SELECT {length} AS x)"
    by_month, width_us, start_us = duck.sql(text)[0]
    if start_us is None or not (by_month or width_us):
        return frozenset()
    if by_month:
        # Without an origin the engine counts months from a January.
        first = origin is None or GRAINS["1mo"].floor_us(start_us) == start_us
        whole_days = _dividing(86400) if start_us % (86400 * 10**6) == 0 else frozenset()
        return whole_days | ({"1mo"} if first else frozenset())
    if width_us % 10**6 or start_us % 10**6:
        return frozenset()
    found = _dividing(gcd(width_us // 10**6, start_us // 10**6))
    weeks = (grain for grain in WEEKS.values() if grain.floor_us(start_us) == start_us)
    return found | {grain.name for grain in weeks if width_us % (_WEEK_S * 10**6) == 0}


def _bounds(node: exp.Expr, alias: str) -> list[_Bound]:
    if isinstance(node, exp.Between) and is_time(node.this, alias) and not node.args.get("symmetric"):
        low, high = (_as_compared(node.args[end], node.this) for end in ("low", "high"))
        sides = [_Bound(exp.GTE, low), _Bound(exp.LTE, high)]
        return sides if all(_constant(side.value) for side in sides) else []
    relation = type(node)
    if relation not in _MIRROR:
        return []
    if is_time(node.this, alias) and _constant(node.expression):
        return [_Bound(relation, _as_compared(node.expression, node.this))]
    if is_time(node.expression, alias) and _constant(node.this):
        return [_Bound(_MIRROR[relation], _as_compared(node.this, node.expression))]
    return []


def _as_compared(value: exp.Expr, time: exp.Expr) -> exp.Expr:
    """A constant as the comparison takes it: beside a local time, a text's offset counts for nothing."""
    local = time.find(exp.AtTimeZone) is not None
    return exp.cast(value.copy(), "TIMESTAMP") if local else value


def _constant(node: exp.Expr) -> bool:
    """Whether it can be folded; a text by a cast is no time, and rows tell so."""
    text = isinstance(node, exp.Cast) and node.to.this in exp.DataType.TEXT_TYPES
    return node.find(*_HAS_ROWS) is None and not text


def _fold(values: Sequence[exp.Expr], duck: Duck) -> list[int | float | None]:
    """Instants in microseconds; infinities as floats; None for NULL."""
    plain = [_plain_instant(value) for value in values]
    if None not in plain:
        return list(plain)
    texts = [engine_sql(exp.cast(value.copy(), "TIMESTAMPTZ")) for value in values]
    columns = ", ".join(
        f"CASE x{i} WHEN 'infinity' THEN 'inf' WHEN '-infinity' THEN '-inf' ELSE CAST(epoch_us(x{i}) AS VARCHAR) END"
        for i in range(len(texts))
    )
    inner = ", ".join(f"{text} AS x{i}" for i, text in enumerate(texts))
    row = duck.sql(f"SELECT {columns} FROM (SELECT {inner})")[0]
    return [None if us is None else float(us) if us.endswith("inf") else int(us) for us in row]


def _plain_instant(value: exp.Expr) -> int | None:
    """An instant written as plain ISO text, which needs no engine; None for anything else."""
    if isinstance(value, exp.Cast) and value.to.this == exp.DataType.Type.TIMESTAMPTZ:
        value = value.this
    if not isinstance(value, exp.Literal) or not value.is_string or not _ISO.fullmatch(value.name):
        return None
    try:
        at = datetime.fromisoformat(value.name)
    except ValueError:
        return None
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)


def _range(relation: type[exp.Expr], us: int | float | None) -> Window:
    """The times that stand in a relation to an instant: microseconds are whole, so > is >= of the next one."""
    if us is None:
        return Window(0, 0)
    if isinstance(us, float):
        inside = relation in (exp.GT, exp.GTE) if us < 0 else relation in (exp.LT, exp.LTE)
        return Window() if inside else Window(0, 0)
    if relation is exp.GTE:
        return Window(us, None)
    if relation is exp.GT:
        return Window(us + 1, None)
    if relation is exp.LT:
        return Window(None, us)
    return Window(us, us + 1) if relation is exp.EQ else Window(None, us + 1)
