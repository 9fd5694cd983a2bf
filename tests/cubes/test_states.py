"""States of random rows in random splits against exact arithmetic in plain Python: variance, latest value, distinct."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cubes import distinct
from cubes.measures import final_sql, install, merge_sql, partial_sql, quoted, states_of
from cubes.model import Measure
from lake.duck import Duck, connect
from lake.errors import QueryError
from lake.settings import Settings

FORMS = {"var_pop": (0, 1), "var_samp": (1, 1), "stddev_pop": (0, 2), "stddev_samp": (1, 2), "variance": (1, 1)}
_small = st.integers(-(10**13), 10**13)
_large = st.builds(
    lambda sign, power, near: sign * 10**power + near, st.sampled_from((-1, 1)), st.integers(14, 26), _small
)
VALUES = st.lists(st.none() | st.just(0) | st.integers(-3, 3) | _small | _large, min_size=1, max_size=12)


@pytest.fixture(scope="module")
def engine() -> Iterator[Duck]:
    """One connection for all examples."""
    duck = connect(Settings(lake=Path("none"), memory_mib=256))
    install(duck)
    yield duck
    duck.connection.close()


def _merged(duck: Duck, measure: Measure, kind: str, rows: Sequence[tuple[str, ...]], names: str) -> tuple[Any, ...]:
    """The measure's value over the merged states of rows, the first column of which says in which cell a row is."""
    states = states_of(measure, kind)
    partials = "".join(f", {partial_sql(state)} AS {quoted(state.name)}" for state in states)
    merges = ", ".join(f"{merge_sql(state)} AS {quoted(state.name)}" for state in states)
    values = ", ".join(f"({', '.join(row)})" for row in rows)
    cells = f"SELECT cell{partials} FROM (VALUES {values}) AS r(cell, {names}) GROUP BY cell"
    return duck.sql(f"SELECT {final_sql(measure, split=kind == 'decimal')} FROM (SELECT {merges} FROM ({cells}))")[0]


@settings(max_examples=60, deadline=None)
@given(units=VALUES, cells=st.integers(1, 4), kind=st.sampled_from(("decimal", "duration", "integer")))
def test_a_spread_is_exact_however_rows_are_split(engine: Duck, units: list[int | None], cells: int, kind: str) -> None:
    scale, type_name, limit = {
        "decimal": (9, "DECIMAL(38,9)", 10**27),
        "duration": (6, "DECIMAL(18,6)", 10**18),
        "integer": (0, "BIGINT", 2**63),
    }[kind]
    values = [None if unit is None or abs(unit) >= limit else Decimal(unit).scaleb(-scale) for unit in units]
    texts = ["NULL" if value is None else f"{value:f}" for value in values]
    rows = [(str(place % cells), f"CAST({text} AS {type_name})") for place, text in enumerate(texts)]
    known = [Fraction(value) for value in values if value is not None]
    for form, (less, root) in FORMS.items():
        (found,) = _merged(engine, Measure("m", form, "value"), kind, rows, "value")
        whole = _merged(engine, Measure("m", form, "value"), kind, [("0", row[1]) for row in rows], "value")
        assert (found,) == whole, "another split gives other bits"
        if len(known) <= less:
            assert found is None
            continue
        mean = sum(known) / len(known)
        variance = sum((value - mean) ** 2 for value in known) / (len(known) - less)
        wanted = math.sqrt(variance) if root == 2 else float(variance)
        assert abs(found - wanted) <= 1e-15 * wanted, (form, known)


def test_squares_that_do_not_fit_are_an_error_not_a_wrap(engine: Duck) -> None:
    huge = [("0", "CAST(20000000000000000000 AS DECIMAL(38,9))")]
    with pytest.raises(QueryError, match=r"(?i)overflow|out of the range"):
        _merged(engine, Measure("m", "stddev", "value"), "decimal", huge, "value")


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(-5, 5)), min_size=1, max_size=12),
    cells=st.integers(1, 4),
)
def test_the_latest_is_by_time_then_by_value(engine: Duck, rows: list[tuple[int, int | None]], cells: int) -> None:
    made = [
        (str(place % cells), f"make_timestamptz({at})", "NULL::BIGINT" if value is None else f"({value})::BIGINT")
        for place, (at, value) in enumerate(rows)
    ]
    (found,) = _merged(engine, Measure("m", "last", "value"), "integer", made, "ts, value")
    assert found == max(((at, value) for at, value in rows if value is not None), default=(0, None))[1]


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.none() | st.text(max_size=3), max_size=30),
    cells=st.integers(1, 4),
    most=st.integers(3, 12),
)
def test_distinct_hashes_merge_to_those_of_all_rows(
    engine: Duck, texts: list[str | None], cells: int, most: int
) -> None:
    engine.execute("CREATE OR REPLACE TEMP TABLE given (cell INTEGER, value VARCHAR)")
    for place, text in enumerate(texts):
        engine.execute("INSERT INTO given VALUES ($1, $2)", [place % cells, text])
    hashed = f"(SELECT cell, {distinct.hash_sql('value')} AS slot, 1 AS n FROM given WHERE value IS NOT NULL)"
    parts = distinct.smallest_sql(hashed, ["cell"], most)
    merged = distinct.smallest_sql(f"(SELECT slot, n FROM ({parts}))", [], most)
    found = engine.sql(f"SELECT slot, n FROM ({merged}) ORDER BY slot")
    known = [text for text in texts if text is not None]
    counts: dict[int, int] = {}
    for text in known:
        number = int.from_bytes(hashlib.md5(text.encode()).digest()[:8], "little") >> 1
        counts[number] = counts.get(number, 0) + 1
    assert found == sorted(counts.items())[:most]
    [(number,)] = engine.sql(f"SELECT {distinct.count_sql(most)} FROM ({merged})")
    if len(counts) < most:
        assert number == len(set(known))
    else:
        assert number == 2**63 * (most - 1) // (sorted(counts)[most - 1] + 1)


def test_estimates_stay_within_what_is_promised(engine: Duck) -> None:
    """Of 40 sets of 20,000 values each, estimated by 257 hashes."""
    bound = distinct.relative_error(256)
    for seed in range(40):
        hashed = f"(SELECT {distinct.hash_sql(f'{seed} * 1000000 + i')} AS slot, 1 AS n FROM range(20000) AS t(i))"
        [(number,)] = engine.sql(f"SELECT {distinct.count_sql(257)} FROM ({distinct.smallest_sql(hashed, [], 257)})")
        assert abs(number - 20_000) <= bound * 20_000
    assert bound == pytest.approx(3 / math.sqrt(255), rel=1e-3)


def test_finals_of_the_other_measures() -> None:
    count, total = Measure("calls", "count"), Measure("tokens", "sum", "n")
    ratio = Measure("per_call", "ratio", of="tokens", over="calls")
    assert final_sql(ratio, others={"calls": count, "tokens": total}) == 'fc_divide("sum_n", nullif(rows, 0))'
    assert final_sql(Measure("r", "rate", "value"), seconds="3600") == 'fc_divide("sum_value", nullif(3600, 0))'
    assert final_sql(Measure("c", "coverage", "value"), seconds="60") == 'fc_divide("weight_value", nullif(60, 0))'
    assert final_sql(Measure("i", "integral", "value")) == '"weighted_value"'
