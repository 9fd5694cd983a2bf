"""What may stand in a statement: lists of node kinds, functions and types that are allowed; all else is refused.

An allow-list on the parsed tree, never a deny-list on text: what nobody thought of is outside.
"""

from __future__ import annotations

from typing import Final

from sqlglot import exp

MAX_BYTES: Final = 256 * 1024
MAX_TOKENS: Final = 50_000
MAX_DEPTH: Final = 64

_STRUCTURE = (
    "Select Union Except Intersect Subquery With CTE TableAlias From Join Where Group Having Order Ordered Limit "
    "Offset Fetch Distinct Alias Column Identifier Table Star Literal Boolean Null Paren Tuple Cube Rollup "
    "GroupingSets Window WindowSpec Filter WithinGroup Var DataType DataTypeParam Interval IntervalSpan LimitOptions "
    "Version"
)
_OPERATORS = (
    "And Or Not EQ NEQ GT GTE LT LTE Is In Between Like ILike Escape Add Sub Mul Div Mod Neg DPipe NullSafeEQ "
    "NullSafeNEQ RegexpLike RegexpILike Exists Case If Cast Any All"
)
AGGREGATE_NAMES: Final = (
    "Count Sum Avg Min Max Stddev StddevSamp StddevPop Variance VariancePop PercentileCont PercentileDisc Last "
    "ApproxDistinct"
)
FUNCTION_NAMES: Final = (
    "Coalesce Nullif Greatest Least Abs Round Floor Ceil Sign Sqrt Ln Log Exp Pow Lower Upper Length Left Right "
    "Substring Trim Concat StrPosition SplitPart TimestampTrunc DateTrunc DateBin Extract AtTimeZone CurrentTimestamp "
    "CurrentDate StrToTime StrToDate UnixToTime TimeToStr Grouping"
)
WINDOW_NAMES: Final = "RowNumber Rank DenseRank Lag Lead FirstValue LastValue Ntile PercentRank CumeDist"


def _kinds(names: str) -> frozenset[type[exp.Expr]]:
    return frozenset(getattr(exp, name) for name in names.split())


AGGREGATES: Final = _kinds(AGGREGATE_NAMES)
NODES: Final = _kinds(" ".join((_STRUCTURE, _OPERATORS, AGGREGATE_NAMES, FUNCTION_NAMES, WINDOW_NAMES)))

# Functions of the project's own, by name and number of arguments; all but the last aggregate.
_WORDS: Final = dict.fromkeys(("time_avg", "integral", "rate", "coverage"), (1,))
_PERCENTILES: Final = dict.fromkeys(("approx_percentile", "percentile_high", "percentile_low"), (2,))
WORDS: Final[dict[str, tuple[int, ...]]] = {**_PERCENTILES, **_WORDS, "measure": (1, 2), "time_bucket": (2, 3)}

# Units of an interval, by every name that PostgreSQL gives them.
_UNIT_NAMES: Final = {
    "microsecond": "us usec usecs usecond useconds microsecs microsec microseconds",
    "millisecond": "ms msec msecs msecond mseconds millisecs millisec milliseconds",
    "second": "s sec secs seconds",
    "minute": "m min mins minutes",
    "hour": "h hr hrs hours",
    "day": "d days",
    "week": "w weeks",
    "month": "mon mons months",
    "year": "y yr yrs years",
    "decade": "dec decs decades",
    "century": "c cent centuries",
    "millennium": "mil mils millennia",
}
UNITS: Final = {name: unit for unit, names in _UNIT_NAMES.items() for name in (unit, *names.split())}

# What a node may carry beside its operands. The parser fills in more than anybody reads (WITH TIES, * EXCLUDE, BY
# NAME), and what nobody reads would be dropped in silence. SELECT has CLAUSES; tables and casts are checked elsewhere.
_SET = ("distinct", "order", "limit", "offset", "with_")
_ALSO: Final[dict[str, tuple[str, ...]]] = {
    "Alias": ("alias",),
    "AtTimeZone": ("zone",),
    "Between": ("low", "high"),
    "CTE": ("alias",),
    "Case": ("ifs", "default"),
    "Coalesce": ("is_nvl", "is_null"),
    "Column": ("table", "db"),
    "Concat": ("safe", "coalesce"),
    "Count": ("big_int",),
    "DPipe": ("safe",),
    "DataType": ("nested", "kind"),
    "DateBin": ("unit", "origin"),
    "DateTrunc": ("unit", "zone", "input_type_preserved"),
    "Distinct": ("on",),
    "Div": ("typed", "safe"),
    "Except": _SET,
    "Fetch": ("count", "direction", "limit_options"),
    "Greatest": ("ignore_nulls",),
    "Group": ("cube", "rollup", "grouping_sets"),
    "ILike": ("negate",),
    "Identifier": ("quoted",),
    "If": ("true", "false"),
    "In": ("query",),
    "Intersect": _SET,
    "Interval": ("unit", "fraction_in_string"),
    "Is": ("negate",),
    "Join": ("kind", "side", "on", "using"),
    "Lag": ("offset", "default"),
    "Lead": ("offset", "default"),
    "Least": ("ignore_nulls",),
    "Left": ("negative_length_returns_empty",),
    "Like": ("negate",),
    "LimitOptions": ("rows",),
    "Literal": ("is_string",),
    "Ordered": ("desc", "nulls_first"),
    "RegexpLike": ("flag",),
    "Right": ("negative_length_returns_empty",),
    "Round": ("decimals",),
    "SplitPart": ("delimiter", "part_index"),
    "StrPosition": ("substr",),
    "StrToDate": ("format",),
    "StrToTime": ("format",),
    "Subquery": ("alias", "order", "limit", "offset", "with_"),
    "Substring": ("start", "length"),
    "TableAlias": ("columns",),
    "TimeToStr": ("format",),
    "TimestampTrunc": ("unit", "zone", "input_type_preserved"),
    "Trim": ("position",),
    "Union": _SET,
    "Version": ("kind",),
    "Window": ("partition_by", "order", "over", "spec", "alias"),
    "WindowSpec": ("kind", "start", "start_side", "end", "end_side"),
}
PARTS: Final = {
    kind: frozenset(("this", "expression", "expressions", *_ALSO.get(kind.__name__, ())))
    for kind in NODES
    if kind not in (exp.Select, exp.Table, exp.Cast)
}

# Clauses of a SELECT; others (INTO, FOR UPDATE, LATERAL, TABLESAMPLE, QUALIFY) have no place in a read of facts.
_SELECT_PARTS = (
    "kind expressions from_ where group having order limit offset distinct joins windows with_ operation_modifiers"
)
CLAUSES: Final = frozenset(_SELECT_PARTS.split())

TYPE_NAMES: Final = (
    "BOOLEAN SMALLINT INT BIGINT DECIMAL FLOAT DOUBLE TEXT VARCHAR CHAR DATE TIMESTAMP TIMESTAMPTZ INTERVAL TINYINT"
)
TYPES: Final = frozenset(getattr(exp.DataType.Type, name) for name in TYPE_NAMES.split())
