"""Variance and standard deviation from exact parts: a count, a sum and a sum of squares, of which no digit is lost.

A square of a DECIMAL(38,9) needs 18 places, and 128 bits hold no square of a memory size at that scale. So its sum is
kept as two states: `squares`, the sum of the squares' whole parts, and `fractions`, the sum of what is left of each,
to the 18th place. Types with fewer places keep one sum of whole squares. A value over 1e19, and sums over 38 digits,
are an error of the engine, never a wrap.

The final value is made on 128-bit integers around the whole part of the mean, so that nothing cancels: with c that
whole part, sum((x-c)^2) = sum(x^2) - 2c sum(x) + n c^2. Only then is it a DOUBLE, by one division and one addition,
within 1e-15 of itself; the deviation is its square root. It depends on the parts alone, so it has the same bits over
rows and over cells, in any order. It takes up to 1.3e10 values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from lake.duck import Duck

# SQL function -> (what is subtracted from the count below the sum of squared deviations, whether the root is taken)
FORMS: Final = {
    "var_pop": (0, False),
    "var_samp": (1, False),
    "variance": (1, False),
    "stddev_pop": (0, True),
    "stddev_samp": (1, True),
    "stddev": (1, True),
}

# Whether fractions are kept beside the squares -> the macro that makes the variance of the parts.
SPREAD: Final = {True: "fc_spread", False: "fc_spread_whole"}

# A lambda over a list of one names a value that is mentioned often: a macro's argument is written out each time. Its
# fields are taken by brackets, since HAVING takes p.n for a column.
_UNIT: Final = "CAST(1000000000000000000 AS HUGEINT)"
_MACROS: Final = (
    # Below 1e9, which most values are, the square fits a decimal: some ten times faster than the way for all values.
    """CREATE OR REPLACE MACRO fc_small_square(fc_x) AS
    TRY_CAST(fc_x AS DECIMAL(18, 9)) * TRY_CAST(fc_x AS DECIMAL(18, 9))""",
    # Of x = h + f, whole part and fraction: x*x = h*h + 2hf + f*f, and f*f < 1.
    "CREATE OR REPLACE MACRO fc_fraction(fc_x) AS CAST(fc_x - trunc(fc_x) AS DECIMAL(9, 9))",
    """CREATE OR REPLACE MACRO fc_cross(fc_x) AS
    trunc(fc_x) * fc_fraction(fc_x) + trunc(fc_x) * fc_fraction(fc_x)""",
    """CREATE OR REPLACE MACRO fc_low(fc_x) AS
    CAST(fc_fraction(fc_x) * fc_fraction(fc_x) AS DECIMAL(38, 18))
    + CAST(fc_fraction(fc_cross(fc_x)) AS DECIMAL(38, 18))""",
    """CREATE OR REPLACE MACRO fc_square(fc_x) AS
    CASE WHEN abs(fc_x) < 1000000000 THEN CAST(trunc(fc_small_square(fc_x)) AS DECIMAL(38, 0))
    ELSE trunc(fc_x) * trunc(fc_x) + trunc(fc_cross(fc_x)) + trunc(fc_low(fc_x)) END""",
    """CREATE OR REPLACE MACRO fc_square_rest(fc_x) AS
    CASE WHEN abs(fc_x) < 1000000000
    THEN CAST(fc_small_square(fc_x) - trunc(fc_small_square(fc_x)) AS DECIMAL(38, 18))
    ELSE CAST(fc_low(fc_x) - trunc(fc_low(fc_x)) AS DECIMAL(38, 18)) END""",
    """CREATE OR REPLACE MACRO fc_u18(fc_x) AS
    CAST(replace(CAST(CAST(fc_x AS DECIMAL(38, 18)) AS VARCHAR), '.', '') AS HUGEINT)""",
    # p: n values, their sum s (ninth place), the whole w and the 18th places f of their squares; d: n less 0 or 1.
    # Then c; then what the deviations from c leave; then whole squares q over d, and what is left over n*d.
    f"""CREATE OR REPLACE MACRO fc_spread(fc_n, fc_s, fc_w, fc_f, fc_less) AS
    list_transform(list_transform(list_transform(list_transform(
        [struct_pack(n := CAST(fc_n AS HUGEINT), d := CAST(fc_n - fc_less AS HUGEINT), s := fc_u9(fc_s),
            w := CAST(fc_w AS HUGEINT), f := fc_u18(fc_f))],
        lambda p : CASE WHEN p['d'] > 0 THEN
            struct_pack(n := p['n'], d := p['d'], s := p['s'], w := p['w'], f := p['f'],
                c := p['s'] // (p['n'] * 1000000000)) END),
        lambda p : struct_pack(n := p['n'], d := p['d'], r := p['s'] - p['n'] * p['c'] * 1000000000,
            q := p['w'] + p['n'] * p['c'] * p['c'] - 2 * p['c'] * (p['s'] // 1000000000),
            f := p['f'] - 2 * p['c'] * (p['s'] % 1000000000) * 1000000000)),
        lambda p : struct_pack(n := p['n'], d := p['d'], q := p['q'], rest := (p['r'] * p['r']) % p['n'],
            f := p['f'] - (p['r'] * p['r']) // p['n'])),
        lambda p : fc_over(p['q'] + fc_floor(p['f']), p['f'] - fc_floor(p['f']) * {_UNIT}, p['rest'], p['n'], p['d']))
    [1]""",
    """CREATE OR REPLACE MACRO fc_spread_whole(fc_n, fc_s, fc_q, fc_less) AS
    fc_spread(fc_n, fc_s, trunc(fc_q), fc_q - trunc(fc_q), fc_less)""",
    f"CREATE OR REPLACE MACRO fc_floor(fc_x) AS (fc_x // {_UNIT} - CAST(fc_x < 0 AND fc_x % {_UNIT} <> 0 AS INTEGER))",
    f"""CREATE OR REPLACE MACRO fc_over(fc_q, fc_f, fc_rest, fc_n, fc_d) AS
    CAST(fc_q // fc_d AS DOUBLE) + CAST((fc_q % fc_d * {_UNIT} + fc_f) * fc_n - fc_rest AS DOUBLE)
    / CAST(fc_n * fc_d * {_UNIT} AS DOUBLE)""",
)


def install(duck: Duck) -> None:
    """Give a connection the macros of this module; a second call changes nothing."""
    for macro in _MACROS:
        duck.execute(macro)


def is_split(column_type: str) -> bool:
    """Whether the squares of a fact's column type are kept as two sums."""
    return column_type == "decimal"


# The fact's column type -> type of the sum of its squares (of their whole parts, where there are fractions beside).
SQUARES: Final = {
    "decimal": "DECIMAL(38,0)",
    "duration": "DECIMAL(38,12)",
    "interval": "DECIMAL(38,6)",
    "integer": "DECIMAL(38,0)",
}
FRACTIONS: Final = "DECIMAL(38,18)"
# Types that a value is squared in, by that of the sum (a product of two of 18 digits would stay at 18); others go
# through fc_square, which gives the whole part.
PLAIN: Final = {"DECIMAL(38,12)": "DECIMAL(38,6)", "DECIMAL(38,6)": "DECIMAL(38,3)"}


def square_sql(value: str, total: str) -> str:
    """Expression for a value's square, or its whole part, for a sum of type `total` (one of SQUARES)."""
    if total in PLAIN:
        return f"CAST({value} AS {PLAIN[total]}) * CAST({value} AS {PLAIN[total]})"
    return f"fc_square(CAST({value} AS DECIMAL(38,9)))"


def final_sql(function: str, parts: tuple[str, str, str, str]) -> str:
    """The value of one of FORMS from expressions of its parts (count, sum, squares, fractions); null as in SQL.

    `fractions` is empty where one sum holds the whole squares.
    """
    count, total, squares, fractions = parts
    less, rooted = FORMS[function]
    held = f"{squares}, {fractions}" if fractions else squares
    value = f"{SPREAD[bool(fractions)]}({count}, {total}, {held}, {less})"
    return f"sqrt({value})" if rooted else value
