"""Numbers as text, read once and exactly: rounded half to even at the last place that a column keeps.

Two lanes read the same grammar. The plain lane is SQL over digits, for what nearly all rows hold; the other is Python
over distinct texts, for exponents, uncommon units and everything that is wrong. A test holds them equal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Final

_FINITE: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")
_NON_FINITE: Final = re.compile(r"[+-]?(?:nan|inf|infinity|1\.#(?:inf|ind|qnan))", re.IGNORECASE)
# Longer texts are no measurements; the bound keeps a hostile line from costing quadratic time.
_LONGEST: Final = 400
# Beyond these powers of ten a number can't fit, or can't reach the last place, whatever the unit.
_HUGE: Final = 120
_TINY: Final = -240


# Wide enough for the longest text in the largest number that is still read.
_WIDE: Final = Context(prec=_LONGEST + _HUGE + 80, Emax=MAX_EMAX, Emin=MIN_EMIN)


@dataclass(frozen=True)
class Form:
    """How a column keeps numbers: DECIMAL(digits, places), or whole numbers up to `digits` digits (BIGINT)."""

    sql: str
    digits: int
    places: int
    whole: bool = False


FORMS: Final[dict[str, Form]] = {
    "decimal": Form("DECIMAL(38,9)", 38, 9),
    "duration": Form("DECIMAL(18,6)", 18, 6),
    "interval": Form("DECIMAL(12,3)", 12, 3),
    "integer": Form("BIGINT", 19, 0, whole=True),
}


@dataclass(frozen=True)
class Parsed:
    """A text's number, or the check that it fails: `bad_number` or `non_finite`. `rounded`: digits were dropped."""

    value: Decimal | None
    problem: str = ""
    reason: str = ""
    rounded: bool = False


def parse_number(text: str, form: Form, factor: Fraction = Fraction(1)) -> Parsed:
    """Read any text; `factor` turns its unit into the column's, exactly, before the one rounding.

    >>> parse_number("2.5e-9", FORMS["decimal"]).value
    Decimal('2E-9')
    """
    bare = text.strip(" \t\r\n")
    if _NON_FINITE.fullmatch(bare):
        return Parsed(None, "non_finite", "is not a finite number")
    if len(bare) > _LONGEST or not _FINITE.fullmatch(bare):
        return Parsed(None, "bad_number", "is not a number")
    number = Decimal(bare)
    if number and number.adjusted() > _HUGE:
        return _too_large(form)
    if number and number.adjusted() < _TINY:
        return _not_whole() if form.whole else Parsed(Decimal(0), rounded=True)
    if factor == 1 and not form.whole:
        kept = number.quantize(Decimal(f"1E-{form.places}"), ROUND_HALF_EVEN, _WIDE)
        fits = kept.adjusted() < form.digits - form.places
        return Parsed(kept, rounded=kept != number) if fits else _too_large(form)
    above, below = number.as_integer_ratio()
    return _rounded(above * factor.numerator, below * factor.denominator, form)


def plain_sql(text: str, form: Form) -> str:
    """SQL that reads the plain texts of column or expression `text`; NULL for NULL and for what it leaves to Python."""
    if form.whole:
        return (
            f"CASE WHEN regexp_full_match({text}, '[+-]?[0-9]{{1,18}}') THEN CAST({text} AS BIGINT) "
            f"WHEN regexp_full_match({text}, '{_long(form)}') THEN CAST(split_part({text}, '.', 1) AS BIGINT) END"
        )
    kept = f"CAST(left({text}, strpos({text}, '.') + {form.places}) AS {form.sql})"
    step = f"CAST('0.{'1'.rjust(form.places, '0')}' AS {form.sql})"
    rest = f"rtrim(substr({text}, strpos({text}, '.') + {form.places + 1}), '0')"
    odd = f"substr({text}, strpos({text}, '.') + {form.places}, 1) IN ('1', '3', '5', '7', '9')"
    signed = f"CASE WHEN starts_with({text}, '-') THEN -{step} ELSE {step} END"
    up = f"{rest} > '5' OR ({rest} = '5' AND {odd})"
    return (
        f"CASE WHEN regexp_full_match({text}, '{_short(form)}') THEN CAST({text} AS {form.sql}) "
        f"WHEN regexp_full_match({text}, '{_long(form)}') "
        f"THEN CAST({kept} + CASE WHEN {up} THEN {signed} ELSE CAST(0 AS {form.sql}) END AS {form.sql}) END"
    )


def plain_rounded_sql(text: str, form: Form) -> str:
    """SQL that is TRUE where `plain_sql` dropped digits other than zeros."""
    if form.whole:
        return "false"
    rest = f"rtrim(substr({text}, strpos({text}, '.') + {form.places + 1}), '0')"
    return (
        f"CASE WHEN regexp_full_match({text}, '{_short(form)}') THEN false "
        f"WHEN regexp_full_match({text}, '{_long(form)}') THEN {rest} <> '' ELSE false END"
    )


def _short(form: Form) -> str:
    """Texts that the column's own type holds without rounding."""
    return f"[+-]?[0-9]{{1,{form.digits - form.places}}}(\\.[0-9]{{0,{form.places}}})?"


def _long(form: Form) -> str:
    """Texts that need rounding; one digit fewer before the point, so that a carry still fits."""
    if form.whole:
        return "[+-]?[0-9]{1,18}\\.0*"
    return f"[+-]?[0-9]{{1,{form.digits - form.places - 1}}}\\.[0-9]{{1,{_LONGEST}}}"


def _rounded(above: int, below: int, form: Form) -> Parsed:
    """above/below rounded half to even at the form's last place, on integers only."""
    quotient, rest = divmod(abs(above) * 10**form.places, below)
    if form.whole and rest:
        return _not_whole()
    if 2 * rest > below or (2 * rest == below and quotient % 2):
        quotient += 1
    signed = -quotient if above < 0 else quotient
    fits = -(2**63) <= signed < 2**63 if form.whole else quotient < 10**form.digits
    if not fits:
        return _too_large(form)
    return Parsed(Decimal(f"{signed}E-{form.places}"), rounded=rest != 0)  # from text: no context rounds it


def _too_large(form: Form) -> Parsed:
    return Parsed(None, "bad_number", f"does not fit {form.sql}")


def _not_whole() -> Parsed:
    return Parsed(None, "bad_number", "is not a whole number")
