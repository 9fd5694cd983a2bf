"""Moving a plain number from one unit to another in SQL, to the last digit: digits times an integer, then a point.

A factor that is not an integer over a power of ten, and every unusual text, is left to Python (`parse_number`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

# A factor n/10^k up to this size times up to 20 digits stays inside a HUGEINT (38 digits).
_WIDEST: Final = 10**15


def shift(factor: Fraction) -> tuple[int, int] | None:
    """`factor` as (n, k) with factor = n / 10^k, if SQL can apply it to digits; None leaves it to Python."""
    for places in range(16):
        scaled = factor * 10**places
        if scaled.denominator == 1:
            return (scaled.numerator, places) if 0 < scaled.numerator <= _WIDEST else None
    return None


def scaled_sql(text: str, multiplier: str, places: str) -> str:
    """SQL for the plain text of `text` times n / 10^k, to the last digit; NULL where Python must read it.

    `multiplier` (n) and `places` (k) are SQL expressions of a positive integer and a small one.
    """
    digits = f"replace(ltrim({text}, '+-'), '.', '')"
    product = f"CAST(CAST({digits} AS HUGEINT) * CAST({multiplier} AS HUGEINT) AS VARCHAR)"
    point = f"(CASE WHEN contains({text}, '.') THEN length({text}) - strpos({text}, '.') ELSE 0 END + {places})"
    padded = f"lpad({product}, CAST(greatest(length({product}), {point} + 1) AS INTEGER), '0')"
    sign = f"CASE WHEN starts_with({text}, '-') THEN '-' ELSE '' END"
    return (
        f"CASE WHEN regexp_full_match({text}, '[+-]?[0-9]{{1,20}}(\\.[0-9]*)?') AND length({text}) <= 20 "
        f"THEN {sign} || left({padded}, CAST(length({padded}) - {point} AS BIGINT)) || '.' "
        f"|| right({padded}, CAST({point} AS BIGINT)) END"
    )
