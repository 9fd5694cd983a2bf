"""Measures as mergeable states: partial over rows, merge over partial cells, final value over merged states.

Rows and cells meet only here, so a late row, a coarser grain and another cuboid are one operation. Null rules, the
same as SQL's own: a null value counts in `rows` and in nothing else; a sum, minimum, maximum or average of no value
is null; a count of nothing is 0; a conditional count takes the rows for which its predicate is true, not null;
a time-weighted mean takes the rows in which both the value and `interval_s` are there, and is null where their
weight is 0. NaN and infinities never enter trusted. Sums are exact decimals, and overflow is an error of the engine.
"""

from __future__ import annotations

from typing import Final

from cubes.model import Measure, State
from lake.errors import DefinitionError

# The fact's column type -> engine type of a value and of its sum. Every other type has no arithmetic.
_VALUE_TYPES: Final = {
    "decimal": ("DECIMAL(38,9)", "DECIMAL(38,9)"),
    "duration": ("DECIMAL(18,6)", "DECIMAL(38,6)"),
    "interval": ("DECIMAL(12,3)", "DECIMAL(38,3)"),
    "integer": ("BIGINT", "DECIMAL(38,0)"),
}
WEIGHT: Final = "interval_s"

# measure function -> functions of the states that it is made of
_PARTS: Final = {
    "count": ("count",),
    "sum": ("sum",),
    "min": ("min",),
    "max": ("max",),
    "avg": ("sum", "count"),
    "time_avg": ("weighted", "weight"),
    "quantiles": ("count", "min", "max"),
}


def states_of(measure: Measure, column_type: str) -> tuple[State, ...]:
    """The states that a measure needs, over a column of the fact's type `column_type`; none for a count of rows.

    Quantiles need their slots beside; their count, minimum and maximum are exact states.
    """
    if measure.where:
        return (State("where", measure.name, "BIGINT", measure.where),)
    if not measure.column:
        return ()
    return tuple(State(part, measure.column, _state_type(part, column_type)) for part in _PARTS[measure.function])


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
    return f"CAST(sum({column}) AS {state.type})"


def final_sql(measure: Measure, dialect: str = "duckdb") -> str:
    """Expression over one merged cell (`rows` and state columns) that gives the measure's value.

    Quantiles have no single value: the router makes them from slots with `cubes.buckets`.
    """
    _only_duckdb(dialect)
    if measure.where:
        return quoted(f"where_{measure.name}")
    if not measure.column:
        return "rows"
    match measure.function:
        case "avg":
            return f"fc_avg({quoted('sum_' + measure.column)}, {quoted('count_' + measure.column)})"
        case "time_avg":
            return f"fc_time_avg({quoted('weighted_' + measure.column)}, {quoted('weight_' + measure.column)})"
        case "quantiles":
            raise DefinitionError(f"'{measure.name}' holds quantiles, which need a rank.", todo="Ask percentile_cont.")
    return quoted(f"{measure.function}_{measure.column}")


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


def _only_duckdb(dialect: str) -> None:
    # The seam for a second engine: its expressions belong beside these, and nowhere else.
    if dialect != "duckdb":
        raise DefinitionError(f"There is no SQL dialect '{dialect}' for measures.", todo="Use duckdb.")
