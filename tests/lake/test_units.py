"""Units: exact factors, aliases, and what must not convert."""

from __future__ import annotations

from fractions import Fraction

import pytest

from lake.catalogue import load_catalogue
from lake.units import checked, known, scale

FACTORS = [
    ("%", "1", Fraction(1, 100)),
    ("percent", "1", Fraction(1, 100)),
    ("ratio", "1", Fraction(1)),
    ("1", "%", Fraction(100)),
    ("KiB", "By", Fraction(1024)),
    ("MiBy", "By", Fraction(1024**2)),
    ("GiB", "By", Fraction(1024**3)),
    ("kB", "By", Fraction(1000)),
    ("MB", "By", Fraction(10**6)),
    ("GB", "MiBy", Fraction(10**9, 1024**2)),
    ("Mbit/s", "By/s", Fraction(125_000)),
    ("kBy/s", "By/s", Fraction(1000)),
    ("ms", "s", Fraction(1, 1000)),
    ("us", "ms", Fraction(1, 1000)),
    ("ns", "s", Fraction(1, 10**9)),
    ("µs", "s", Fraction(1, 10**6)),
    ("min", "s", Fraction(60)),
    ("h", "ms", Fraction(3_600_000)),
    ("d", "h", Fraction(24)),
    ("mW", "W", Fraction(1, 1000)),
    ("kW", "W", Fraction(1000)),
    ("mJ", "J", Fraction(1, 1000)),
    ("kWh", "J", Fraction(3_600_000)),
    ("J", "kW.h", Fraction(1, 3_600_000)),
    ("MHz", "Hz", Fraction(10**6)),
    ("kHz", "MHz", Fraction(1, 1000)),
    ("Cel", "Cel", Fraction(1)),
    ("kg", "g", Fraction(1000)),
    ("g/(kW.h)", "g/J", Fraction(1, 3_600_000)),
    ("T{operation}/s", "{operation}/s", Fraction(10**12)),
    ("{USD}/h", "{USD}/s", Fraction(1, 3600)),
    ("1", "{token}", Fraction(1)),
    ("{request}", "1", Fraction(1)),
    ("1/s", "{request}/s", Fraction(1)),
    (" ms ", "s", Fraction(1, 1000)),
]

NONE = [
    ("K", "Cel"), ("Cel", "K"), ("[degF]", "Cel"), ("s", "By"), ("W", "J"), ("Hz", "1/s"), ("{token}", "{request}"),
    ("%", "{token}"), ("kBy", "By/s"), ("By/s", "By"), ("", "1"), ("furlong", "m"), ("1", "furlong"), ("kmin", "s"),
    ("Kis", "s"), ("{token", "1"), ("/", "1"), ("By//s", "By/s"), ("m%", "1"), ("()", "1"),
]  # fmt: skip


@pytest.mark.parametrize("source, target, factor", FACTORS)
def test_factors_are_exact_both_ways(source: str, target: str, factor: Fraction) -> None:
    assert scale(source, target) == factor
    assert scale(target, source) == 1 / factor


@pytest.mark.parametrize("source, target", NONE)
def test_what_has_no_factor(source: str, target: str) -> None:
    assert scale(source, target) is None


def test_documents_use_the_canonical_spelling() -> None:
    assert checked("{token}/s") == "{token}/s"
    with pytest.raises(ValueError, match="unit 'kB' is written 'kBy' here"):
        checked("kB")
    with pytest.raises(ValueError, match="unit 'furlong' is not known"):
        checked("furlong")


def test_every_unit_of_the_catalogue_is_its_own_factor_one() -> None:
    for metric in load_catalogue().metrics.values():
        assert known(metric.unit)
        assert scale(metric.unit, metric.unit) == 1
