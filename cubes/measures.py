"""Measures as mergeable states: partial over rows, merge over partial cells, final value over merged states.

Rows and cells meet only here, so a late row, a coarser grain and another cuboid are one operation. Null rules, the
same as SQL's own: a null value counts in `rows` and in nothing else; a sum, minimum, maximum or average of no value
is null; a count of nothing is 0; a conditional count takes the rows for which its predicate is true, not null;
a time-weighted mean takes the rows in which both the value and `interval_s` are there, and is null where their
weight is 0. NaN and infinities never enter trusted. Sums are exact decimals, and overflow is an error of the engine.
docs/measures.md tells each measure's state, merge, value and error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from cubes import buckets, distinct, histograms, spread
from cubes.model import Measure, State
from lake.errors import DefinitionError

if TYPE_CHECKING:
    from lake.duck import Duck

# The fact's column type -> engine type of a value and of its sum. Every other type has no arithmetic.
_VALUE_TYPES: Final = {
    "decimal": ("DECIMAL(38,9)", "DECIMAL(38,9)"),
    "duration": ("DECIMAL(18,6)", "DECIMAL(38,6)"),
    "interval": ("DECIMAL(12,3)", "DECIMAL(38,3)"),
    "integer": ("BIGINT", "DECIMAL(38,0)"),
}
WEIGHT: Final = "interval_s"
_TIME: Final = "epoch_us(ts)"

# measure function -> functions of the states that it is made of; a part that a column's type has no need of is left out
_SPREAD: Final = ("count", "sum", "squares", "fractions")
_PARTS: Final = {
    "count": ("count",),
    "sum": ("sum",),
    "min": ("min",),
    "max": ("max",),
    "avg": ("sum", "count"),
    "time_avg": ("weighted", "weight"),
    "integral": ("weighted",),
    "coverage": ("weight",),
    "rate": ("sum",),
    "last": ("last", "last_at"),
    **dict.fromkeys(spread.FORMS, _SPREAD),
    "ratio": (),
    "quantiles": ("count", "min", "max"),
    "distinct": (),
}
FUNCTIONS: Final = tuple(_PARTS)
# Functions that weigh by interval_s, and those that are kept as long rows beside the cells.
WEIGHED: Final = ("time_avg", "integral", "coverage")
SKETCHED: Final = ("quantiles", "distinct")
# Functions whose values add up, so that a ratio can be made of two of them.
ADDITIVE: Final = ("count", "sum", "integral")
# What `last` takes the greatest of, for expressions over rows and cells: a value and its time; null for no value.
_LATEST: Final = """CREATE OR REPLACE MACRO fc_latest(fc_at, fc_v) AS
    CASE WHEN fc_v IS NOT NULL THEN struct_pack(at := fc_at, v := fc_v) END"""
# Seconds between two times, cut by a range whose ends may be null; null for none.
_SECONDS: Final = """CREATE OR REPLACE MACRO fc_seconds(fc_from, fc_to, fc_low, fc_high) AS
    nullif(CAST(epoch_us(least(fc_to, fc_high)) - epoch_us(greatest(fc_from, fc_low)) AS DECIMAL(18, 0))
    * CAST(0.000001 AS DECIMAL(6, 6)), 0)"""
_INSTALLED: Final = "measures"
_NONE: Final[Mapping[str, Measure]] = {}


def states_of(measure: Measure, column_type: str) -> tuple[State, ...]:
    """The states that a measure needs, over a column of the fact's type `column_type`; none for a count of rows.

    Quantiles need their slots beside; their count, minimum and maximum are exact states. Of histograms nothing more is
    known than their slots.
    """
    if measure.function == "quantiles" and column_type == "counts":
        return ()
    if measure.where:
        return (State("where", measure.name, "BIGINT", measure.where),)
    if not measure.column:
        return ()
    parts = [part for part in _PARTS[measure.function] if part != "fractions" or spread.is_split(column_type)]
    return tuple(State(part, measure.column, _state_type(part, column_type)) for part in parts)


def partial_sql(state: State, dialect: str = "duckdb") -> str:
    """Aggregate over the fact's rows that gives the state of a cell."""
    _only_duckdb(dialect)
    column = quoted(state.column)
    match state.function:
        case "count":
            return f"count({column})"
        case "where":
            return f"count(*) FILTER (WHERE {state.predicate})"
        case "sum":
            return f"CAST(sum({column}) AS {state.type})"
        case "min" | "max":
            return f"{state.function}({column})"
        case "weighted":
            return f"CAST(sum({column} * {WEIGHT}) AS {state.type})"
        case "weight":
            return f"CAST(sum({WEIGHT}) FILTER (WHERE {column} IS NOT NULL) AS {state.type})"
        case "squares":
            return f"CAST(sum({spread.square_sql(column, state.type)}) AS {state.type})"
        case "fractions":
            return f"CAST(sum(fc_square_rest({column})) AS {state.type})"
        case "last":
            return f"CAST({_latest(column, _TIME)}.v AS {state.type})"
        case "last_at":
            return f"{_latest(column, _TIME)}.at"
    raise DefinitionError(f"There is no state '{state.function}'.", todo="Use the states of cubes.measures.")


def merge_sql(state: State, dialect: str = "duckdb") -> str:
    """Aggregate over partial cells that gives the merged state; counts of no cell at all are 0, never null."""
    _only_duckdb(dialect)
    column = quoted(state.name)
    match state.function:
        case "count" | "where":
            return f"CAST(coalesce(sum({column}), 0) AS BIGINT)"
        case "min" | "max":
            return f"{state.function}({column})"
        case "last" | "last_at":
            held = _latest(quoted(f"last_{state.column}"), quoted(f"last_at_{state.column}"))
            return f"CAST({held}.v AS {state.type})" if state.function == "last" else f"{held}.at"
    return f"CAST(sum({column}) AS {state.type})"


def final_sql(
    measure: Measure,
    dialect: str = "duckdb",
    *,
    seconds: str = "",
    split: bool = True,
    others: Mapping[str, Measure] = _NONE,
) -> str:
    """Expression over one merged cell (`rows` and state columns) that gives the measure's value.

    `seconds` is an expression for the length of the time asked for, which rate and coverage divide by; `split` says
    whether the column's squares are kept in two states (`cubes.spread.is_split`); `others` are the cube's measures by
    name, for a ratio. Quantiles and distinct have no value in the cell: the router makes them with `cubes.buckets` and
    `cubes.distinct`.
    """
    _only_duckdb(dialect)
    if measure.function == "ratio":
        return f"fc_divide({final_sql(others[measure.of])}, nullif({final_sql(others[measure.over])}, 0))"
    if measure.where:
        return quoted(f"where_{measure.name}")
    if not measure.column:
        return "rows"
    match measure.function:
        case "avg":
            return f"fc_avg({quoted('sum_' + measure.column)}, {quoted('count_' + measure.column)})"
        case "time_avg":
            return f"fc_time_avg({quoted('weighted_' + measure.column)}, {quoted('weight_' + measure.column)})"
        case "integral":
            return quoted(f"weighted_{measure.column}")
        case "rate" | "coverage":
            part = {"rate": "sum", "coverage": "weight"}[measure.function]
            return f"fc_divide({quoted(f'{part}_{measure.column}')}, nullif({seconds}, 0))"
        case function if function in spread.FORMS:
            count, total, squares, fractions = (quoted(f"{part}_{measure.column}") for part in _SPREAD)
            return spread.final_sql(function, (count, total, squares, fractions if split else ""))
        case "quantiles":
            raise DefinitionError(f"'{measure.name}' holds quantiles, which need a rank.", todo="Ask percentile_cont.")
        case "distinct":
            raise DefinitionError(f"'{measure.name}' holds hashes, which are counted.", todo="Ask count(DISTINCT ...).")
    return quoted(f"{measure.function}_{measure.column}")


def install(duck: Duck) -> None:
    """Give a database every table and macro that the expressions of measures need; a second call changes nothing."""
    if _INSTALLED in duck.installed:
        return
    buckets.install(duck)
    histograms.install(duck)
    distinct.install(duck)
    spread.install(duck)
    duck.execute(_LATEST)
    duck.execute(_SECONDS)
    duck.installed.add(_INSTALLED)


def quoted(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _state_type(function: str, column_type: str) -> str:
    value, total = _VALUE_TYPES.get(column_type, ("", ""))
    match function:
        case "count":
            return "BIGINT"
        case "weighted":
            return "DECIMAL(38,12)"
        case "weight":
            return "DECIMAL(38,3)"
        case "last_at":
            return "BIGINT"
        case "fractions":
            return spread.FRACTIONS
        case "squares":
            found = spread.SQUARES.get(column_type, "")
        case "sum":
            found = total
        case _:
            found = value
    if not found:
        raise DefinitionError(
            f"A column of type '{column_type}' has no {function}.",
            todo=f"Measure a column of type {', '.join(_VALUE_TYPES)}, or count it.",
        )
    return found


def _latest(value: str, at: str) -> str:
    """Aggregate: the greatest (at, v) of those whose value is not null, as a struct in brackets."""
    return f"(max(struct_pack(at := {at}, v := {value})) FILTER (WHERE {value} IS NOT NULL))"


def _only_duckdb(dialect: str) -> None:
    # The seam for a second engine: its expressions belong beside these, and nowhere else.
    if dialect != "duckdb":
        raise DefinitionError(f"There is no SQL dialect '{dialect}' for measures.", todo="Use duckdb.")
