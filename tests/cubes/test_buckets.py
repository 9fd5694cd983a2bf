from __future__ import annotations

import math
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cubeoracle import slot_of

from cubes import buckets
from lake.duck import Duck
from lake.errors import QueryError

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_buckets.py"
GREATEST = Decimal("99999999999999999999999999999.999999999")
TINY = [Decimal(n).scaleb(-9) for n in (*range(1, 200), 1023, 1024, 1025)]
POWERS = [Decimal(2) ** k for k in range(-9, 96)]


@pytest.fixture(autouse=True)
def installed(duck: Duck) -> None:
    buckets.install(duck)


def random_values(seed: int, count: int) -> list[Decimal]:
    """Values spread evenly over the logarithm of their size, of both signs, on the grid of 9 places."""
    rng = random.Random(seed)
    found = [Decimal(int(10 ** rng.uniform(0, 37.99))).scaleb(-9) for _ in range(count)]
    return [value if rng.random() < 0.8 else -value for value in found]


def edges() -> list[Decimal]:
    near = [power + step for power in POWERS for step in (Decimal("-0.000000001"), Decimal("0.000000001"))]
    found = [*TINY, *POWERS, *near, GREATEST, Decimal(0)]
    return [value for value in found if abs(value) <= GREATEST and value == value.quantize(Decimal("1e-9"))]


def as_rows(values: list[Any], kind: str = "DECIMAL(38,9)") -> str:
    return "(VALUES " + ", ".join(f"(CAST('{value:f}' AS {kind}))" for value in values) + ") AS v(x)"


def test_the_committed_table_is_what_the_script_makes() -> None:
    assert subprocess.run([sys.executable, str(SCRIPT), "--check"]).returncode == 0


@pytest.mark.parametrize("values", [edges(), random_values(1, 300)], ids=["edges", "random"])
def test_slots_are_those_of_exact_arithmetic(duck: Duck, values: list[Decimal]) -> None:
    both = [*values, *(-value for value in values)]
    assert duck.sql(f"SELECT x, {buckets.slots_sql('x')} FROM {as_rows(both)}") == [(x, slot_of(x)) for x in both]
    staged = buckets.with_slots_sql(f"(SELECT x FROM {as_rows(both)})", "x")
    assert duck.sql(f"SELECT x, fc_slot FROM {staged}") == [(x, slot_of(x)) for x in both]


@pytest.mark.parametrize("kind, value", [("BIGINT", 7), ("DECIMAL(18,6)", Decimal("0.25")), ("DECIMAL(12,3)", -3)])
def test_slots_of_other_types_and_of_null(duck: Duck, kind: str, value: Any) -> None:
    found = duck.sql(f"SELECT fc_slot(x) FROM {as_rows([value], kind)} UNION ALL SELECT fc_slot(CAST(NULL AS {kind}))")
    assert found == [(slot_of(Decimal(value)),), (None,)]


def test_slots_near_every_bound_are_decided_by_the_table(duck: Duck) -> None:
    wrong = duck.sql(
        """SELECT slot, upper FROM fc_buckets WHERE slot > -2000 AND upper > lower AND (
            fc_slot(upper) <> slot
            OR (upper - lower > 0.000000001 AND fc_slot(CAST(lower + 0.000000001 AS DECIMAL(38,9))) <> slot)
            OR fc_slot(-upper) <> -2000000 - slot)"""
    )
    assert wrong == []


def test_mid_is_within_the_promised_error(duck: Duck) -> None:
    values = [value for value in [*edges(), *random_values(2, 400)] if value]
    rows = duck.sql(f"SELECT x, mid FROM {as_rows(values)} JOIN fc_buckets ON slot = fc_slot(x)")
    assert len(rows) == len(values)
    worst = max(abs(Decimal(mid) - x) / abs(x) for x, mid in rows)
    assert worst <= buckets.RELATIVE_ERROR <= Decimal("0.0055")


def test_slots_sort_as_values(duck: Duck) -> None:
    mids = [mid for (mid,) in duck.sql("SELECT mid FROM fc_buckets ORDER BY slot")]
    assert mids == sorted(mids)
    assert duck.sql("SELECT count(*) FROM fc_buckets WHERE lower > upper") == [(0,)]


def quantiles(duck: Duck, values: list[Decimal], function: str, share: str) -> float | None:
    slots = f"(SELECT fc_slot(x) AS slot, 1 AS n, x FROM {as_rows(values)})"
    ranked = buckets.ranked_sql(slots, [])
    low, high = min(values), max(values)
    found = duck.sql(f"SELECT {buckets.quantile_sql(function, share, f'{low:f}', f'{high:f}')} FROM ({ranked})")
    return found[0][0]


@pytest.mark.parametrize("share", ["0", "0.25", "0.5", "0.95", "0.999", "1"])
@pytest.mark.parametrize("function", ["percentile_cont", "percentile_disc"])
def test_quantiles_are_within_the_error_of_exact_ones(duck: Duck, function: str, share: str) -> None:
    for seed in range(3):
        values = sorted(abs(value) for value in random_values(seed, 101 + seed))
        p = Decimal(share)
        if function == "percentile_cont":
            rank = p * (len(values) - 1)
            below = values[math.floor(rank)]
            exact = below + (values[math.ceil(rank)] - below) * (rank - math.floor(rank))
        else:
            exact = values[max(0, math.ceil(p * len(values)) - 1)]
        found = quantiles(duck, values, function, share)
        assert found is not None
        assert abs(Decimal(found) - exact) <= exact * Decimal("0.0055")
        if share in "01":
            assert found == float(exact)


def test_quantiles_of_one_value_zeros_and_negative_values(duck: Duck) -> None:
    assert quantiles(duck, [Decimal("3.3")], "percentile_cont", "0.5") == 3.3  # clipped by minimum and maximum
    assert quantiles(duck, [Decimal(0)] * 5 + [Decimal(1)], "percentile_disc", "0.5") == 0
    found = quantiles(duck, [Decimal(-8), Decimal(-4), Decimal(-2)], "percentile_cont", "0.5")
    assert found == pytest.approx(-4, rel=0.0055)


def test_quantiles_by_key_and_sketch_merge_counts(duck: Duck) -> None:
    slots = """(VALUES ('a', 's', 64, 2), ('a', 's', 64, 1), ('a', 's', 128, 1), (NULL, 's', 128, 5),
        (NULL, 't', -1000000, 1)) AS v(k, sketch, slot, n)"""
    ranked = buckets.ranked_sql(slots, ["k", "sketch"])
    assert duck.sql(f"SELECT k, sketch, upto, total FROM ({ranked}) ORDER BY ALL") == [
        ("a", "s", 3, 4), ("a", "s", 4, 4), (None, "s", 5, 5), (None, "t", 1, 1),
    ]  # fmt: skip
    disc = buckets.quantile_sql("percentile_disc", "0.75", "0", "9", only="sketch = 's'")
    found = duck.sql(f"SELECT k, {disc} FROM ({ranked}) GROUP BY k ORDER BY k")
    assert found[0][1] == pytest.approx(2, rel=0.0055)
    assert found[1][1] == pytest.approx(4, rel=0.0055)


def test_no_row_has_no_quantile(duck: Duck) -> None:
    ranked = buckets.ranked_sql("(SELECT 1 AS slot, 1 AS n WHERE false)", [])
    for share in ("0", "0.5", "1"):
        value = buckets.quantile_sql("percentile_cont", share, "max(NULL::DOUBLE)", "max(NULL::DOUBLE)")
        assert duck.sql(f"SELECT {value} FROM ({ranked})") == [(None,)]


@pytest.mark.parametrize("share", ["1.5", "-0.1", "many", "NaN"])
def test_a_share_is_a_number_from_0_to_1(share: str) -> None:
    with pytest.raises(QueryError, match="from 0 to 1"):
        buckets.quantile_sql("percentile_cont", share, "0", "1")
