"""Numbers: both lanes against Python's decimals, and against each other."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from ingestion.numbers import FORMS, parse_number, plain_rounded_sql, plain_sql
from ingestion.scaling import scaled_sql, shift
from lake.duck import connect
from lake.settings import Settings

ENGINE = connect(Settings(memory_mib=256, threads=1))
SIGNS = st.sampled_from(["", "-", "+"])
DIGITS = st.text("0123456789", min_size=1, max_size=24)
# Fractions that sit on, just above and just below a tie are what rounding gets wrong.
TIES = st.tuples(st.text("0123456789", max_size=9), st.sampled_from(["5", "50", "500001", "49999", "4", "6"])).map(
    "".join
)
PLAIN = st.tuples(SIGNS, DIGITS, st.one_of(st.just(""), st.tuples(st.just("."), st.one_of(TIES, DIGITS)).map("".join)))
TEXTS = st.one_of(
    PLAIN.map("".join),
    st.tuples(PLAIN.map("".join), st.sampled_from(["e", "E"]), st.integers(-40, 40)).map(
        lambda p: f"{p[0]}{p[1]}{p[2]}"
    ),
    st.sampled_from(
        ["", ".", "nan", "1_000", "0x10", " 7 ", ".5", "5.", "--1", "1e", "1e999999999", "٣", "1.8e308", "9" * 40]
    ),
)


def oracle(text: str, places: int, digits: int, factor: Fraction) -> Decimal | None:
    """What a patient person would compute: the exact product, then one rounding half to even."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if "_" in text or not text.isascii() or not number.is_finite():
        return None
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 900, 10**12, -(10**12)
        if number and not -300 < number.adjusted() < 300:
            return Decimal(0) if number.adjusted() < 0 else None
        exact = number * factor.numerator / factor.denominator
        kept = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
        return kept if abs(kept) < Decimal(10) ** (digits - places) else None


@tries(max_examples=250)
@given(
    TEXTS,
    st.sampled_from(["decimal", "duration", "interval"]),
    st.sampled_from([Fraction(1), Fraction(1, 1000), Fraction(2**30), Fraction(1, 60)]),
)
def test_python_reads_a_number_exactly_and_rounds_it_once(text: str, kind: str, factor: Fraction) -> None:
    form = FORMS[kind]
    assert parse_number(text, form, factor).value == oracle(text, form.places, form.digits, factor)


@tries(max_examples=6)
@given(st.lists(TEXTS, min_size=40, max_size=80))
def test_the_plain_lane_equals_the_python_lane_wherever_it_answers(texts: list[str]) -> None:
    for form in FORMS.values():
        select = f"SELECT t, {plain_sql('t', form)}, {plain_rounded_sql('t', form)}"
        for text, value, rounded in ENGINE.sql(f"{select} FROM (SELECT unnest(?::VARCHAR[]) AS t)", [texts]):
            read = parse_number(text, form)
            if value is not None:
                assert (Decimal(value), rounded) == (read.value, read.rounded)


@tries(max_examples=6)
@given(st.lists(PLAIN.map("".join), min_size=40, max_size=80))
def test_moving_digits_in_sql_equals_the_exact_product(texts: list[str]) -> None:
    form = FORMS["decimal"]
    for factor in (
        Fraction(1, 100),
        Fraction(1, 1000),
        Fraction(1000),
        Fraction(2**30),
        Fraction(3600),
        Fraction(1, 8),
    ):
        digits = shift(factor)
        assert digits is not None
        moved = scaled_sql("t", str(digits[0]), str(digits[1]))
        given_texts = f"(SELECT t, {moved} AS m FROM (SELECT unnest(?::VARCHAR[]) AS t))"
        for text, value, plain in ENGINE.sql(f"SELECT t, {plain_sql('m', form)}, m FROM {given_texts}", [texts]):
            assert (plain is None) == (len(text) > 20)
            if value is not None:
                assert value == parse_number(text, form, factor).value


@pytest.mark.parametrize(
    ("text", "kind", "value", "rounded"),
    [
        ("0.0000000005", "decimal", "0", True),
        ("0.0000000015", "decimal", "0.000000002", True),
        ("-0.0000000025", "decimal", "-0.000000002", True),
        ("0.00000000050000000001", "decimal", "0.000000001", True),
        ("85899345921.0", "decimal", "85899345921", False),
        ("1e-400", "decimal", "0", True),
        ("26.0", "integer", "26", False),
        ("2.6e1", "integer", "26", False),
        ("9223372036854775807", "integer", "9223372036854775807", False),
        ("0.0005", "interval", "0", True),
        ("0.0015", "interval", "0.002", True),
    ],
)
def test_known_numbers(text: str, kind: str, value: str, rounded: bool) -> None:
    read = parse_number(text, FORMS[kind])
    assert (read.value, read.rounded) == (Decimal(value), rounded)


@pytest.mark.parametrize(
    ("text", "kind", "problem"),
    [
        ("NaN", "decimal", "non_finite"),
        ("-Infinity", "duration", "non_finite"),
        ("26.5", "integer", "bad_number"),
        ("9223372036854775808", "integer", "bad_number"),
        ("1e30", "decimal", "bad_number"),
        ("999999999.9995", "interval", "bad_number"),
        ("0x1F", "decimal", "bad_number"),
        ("1,5", "decimal", "bad_number"),
        ("1" * 401, "decimal", "bad_number"),
    ],
)
def test_what_is_no_number_is_named(text: str, kind: str, problem: str) -> None:
    read = parse_number(text, FORMS[kind])
    assert (read.value, read.problem) == (None, problem)
    assert read.reason


def test_a_factor_that_digits_cannot_carry_is_left_to_python() -> None:
    assert shift(Fraction(1, 3)) is None
    assert shift(Fraction(10**16)) is None
    assert shift(Fraction(1, 8)) == (125, 3)
