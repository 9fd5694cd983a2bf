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
    "GroupingSets Window WindowSpec Filter WithinGroup Var DataType DataTypeParam Interval IntervalSpan LimitOptions"
)
_OPERATORS = (
    "And Or Not EQ NEQ GT GTE LT LTE Is In Between Like ILike Escape Add Sub Mul Div Mod Neg DPipe NullSafeEQ "
    "NullSafeNEQ RegexpLike RegexpILike Exists Case If Cast Any All"
)
_AGGREGATES = "Count Sum Avg Min Max Stddev StddevSamp StddevPop Variance VariancePop PercentileCont PercentileDisc"
_FUNCTIONS = (
    "Coalesce Nullif Greatest Least Abs Round Floor Ceil Sign Sqrt Ln Log Exp Pow Lower Upper Length Left Right "
    "Substring Trim Concat StrPosition SplitPart TimestampTrunc DateTrunc DateBin Extract AtTimeZone CurrentTimestamp "
    "CurrentDate StrToTime StrToDate UnixToTime TimeToStr"
)
_WINDOWS = "RowNumber Rank DenseRank Lag Lead FirstValue LastValue Ntile PercentRank CumeDist"


def _kinds(names: str) -> frozenset[type[exp.Expr]]:
    return frozenset(getattr(exp, name) for name in names.split())


AGGREGATES: Final = _kinds(_AGGREGATES)
NODES: Final = _kinds(" ".join((_STRUCTURE, _OPERATORS, _AGGREGATES, _FUNCTIONS, _WINDOWS)))

# Functions of the project's own, by name and number of arguments; the first three aggregate.
WORDS: Final = {"approx_percentile": (2,), "time_avg": (1,), "integral": (1,), "time_bucket": (2, 3)}

# Clauses of a SELECT; others (INTO, FOR UPDATE, LATERAL, TABLESAMPLE, QUALIFY) have no place in a read of facts.
_SELECT_PARTS = (
    "kind expressions from_ where group having order limit offset distinct joins windows with_ operation_modifiers"
)
CLAUSES: Final = frozenset(_SELECT_PARTS.split())

_TYPES = (
    "BOOLEAN SMALLINT INT BIGINT DECIMAL FLOAT DOUBLE TEXT VARCHAR CHAR DATE TIMESTAMP TIMESTAMPTZ INTERVAL TINYINT"
)
TYPES: Final = frozenset(getattr(exp.DataType.Type, name) for name in _TYPES.split())
