from __future__ import annotations

import pytest

from cubes.measures import final_sql, merge_sql, partial_sql, quoted, states_of
from cubes.model import Measure, State
from lake.duck import Duck
from lake.errors import DefinitionError

ROWS = """(VALUES (1.5::DECIMAL(38,9), 60::DECIMAL(12,3), 2::BIGINT), (NULL, 60, NULL), (2.5, NULL, 3), (-1, 15, 4))
    AS r(value, interval_s, tokens)"""


def names(function: str, kind: str = "decimal") -> list[tuple[str, str]]:
    return [(state.name, state.type) for state in states_of(Measure("m", function, "value"), kind)]


@pytest.mark.parametrize(
    "function, kind, states",
    [
        ("count", "string", [("count_value", "BIGINT")]),
        ("sum", "decimal", [("sum_value", "DECIMAL(38,9)")]),
        ("sum", "duration", [("sum_value", "DECIMAL(38,6)")]),
        ("sum", "interval", [("sum_value", "DECIMAL(38,3)")]),
        ("sum", "integer", [("sum_value", "DECIMAL(38,0)")]),
        ("min", "duration", [("min_value", "DECIMAL(18,6)")]),
        ("avg", "integer", [("sum_value", "DECIMAL(38,0)"), ("count_value", "BIGINT")]),
        ("time_avg", "decimal", [("weighted_value", "DECIMAL(38,12)"), ("weight_value", "DECIMAL(38,3)")]),
        ("quantiles", "integer", [("count_value", "BIGINT"), ("min_value", "BIGINT"), ("max_value", "BIGINT")]),
    ],
)
def test_measures_are_made_of_shared_states(function: str, kind: str, states: list[tuple[str, str]]) -> None:
    assert names(function, kind) == states


def test_a_count_of_rows_needs_no_state_and_a_conditional_one_its_own() -> None:
    assert states_of(Measure("rows", "count"), "") == ()
    assert states_of(Measure("bad", "count", where="x > 1"), "") == (State("where", "bad", "BIGINT", "x > 1"),)


@pytest.mark.parametrize("function", ["sum", "min", "max", "avg", "quantiles"])
@pytest.mark.parametrize("kind", ["string", "timestamp", "labels", "counts", "boolean"])
def test_arithmetic_on_other_types_is_refused(function: str, kind: str) -> None:
    if (function, kind) == ("quantiles", "counts"):
        assert names(function, kind) == []  # of histograms all that is known are slots
        return
    with pytest.raises(DefinitionError, match=f"type '{kind}' has no"):
        names(function, kind)


@pytest.mark.parametrize(
    "measure, kind, text",
    [
        (Measure("m", "count"), "", "4"),
        (Measure("m", "count", "value"), "decimal", "3"),
        (Measure("m", "count", where="value > 1"), "", "2"),
        (Measure("m", "sum", "value"), "decimal", "3.000000000"),
        (Measure("m", "sum", "tokens"), "integer", "9"),
        (Measure("m", "min", "value"), "decimal", "-1.000000000"),
        (Measure("m", "max", "value"), "decimal", "2.500000000"),
        (Measure("m", "avg", "value"), "decimal", "1.000000000"),
        (Measure("m", "avg", "tokens"), "integer", "3.000000000"),
        (Measure("m", "time_avg", "value"), "decimal", "1.000000000"),  # (1.5 * 60 - 1 * 15) / 75
    ],
)
def test_partials_merge_to_the_value_however_rows_are_split(duck: Duck, measure: Measure, kind: str, text: str) -> None:
    states = states_of(measure, kind)
    partials = "".join(f", {partial_sql(state)} AS {quoted(state.name)}" for state in states)
    merges = "".join(f", {merge_sql(state)} AS {quoted(state.name)}" for state in states)
    for split in ("()", "interval_s", "tokens", "value"):
        cells = f"SELECT count(*) AS rows{partials} FROM {ROWS} GROUP BY {split}"
        merged = f"SELECT CAST(sum(rows) AS BIGINT) AS rows{merges} FROM ({cells})"
        assert duck.sql(f"SELECT CAST({final_sql(measure)} AS VARCHAR) FROM ({merged})") == [(text,)]
        kinds = dict(row[:2] for row in duck.sql(f"DESCRIBE {merged}"))
        assert {state.name: kinds[state.name] for state in states} == {state.name: state.type for state in states}


def test_of_no_rows_counts_are_zero_and_all_else_is_null(duck: Duck) -> None:
    for function, value in (("count", 0), ("sum", None), ("max", None), ("avg", None), ("time_avg", None)):
        measure = Measure("m", function, "value")
        states = states_of(measure, "decimal")
        cells = ", ".join(f"{partial_sql(state)} AS {state.name}" for state in states)
        merged = ", ".join(f"{merge_sql(state)} AS {state.name}" for state in states)
        none = f"SELECT {merged} FROM (SELECT {cells} FROM {ROWS} WHERE false GROUP BY value)"
        assert duck.sql(f"SELECT {final_sql(measure)} FROM ({none})") == [(value,)]


def test_a_sum_over_the_greatest_decimal_is_an_error_not_a_wrap(duck: Duck) -> None:
    big = "CAST('99999999999999999999999999999' AS DECIMAL(38,9))"
    with pytest.raises(Exception, match=r"(?i)overflow|out of range|could not cast"):
        duck.sql(f"SELECT {partial_sql(State('sum', 'x', 'DECIMAL(38,9)'))} FROM (VALUES ({big}), ({big})) AS r(x)")


def test_quantiles_have_no_single_value_and_dialects_are_known() -> None:
    with pytest.raises(DefinitionError, match="rank"):
        final_sql(Measure("m", "quantiles", "value"))
    with pytest.raises(DefinitionError, match="no SQL dialect 'spark'"):
        merge_sql(State("sum", "x", "DECIMAL(38,9)"), "spark")
