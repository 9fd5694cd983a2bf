"""What a row gives to the parts of a variance and of the latest value, as expressions over the fact's columns."""

from __future__ import annotations

from typing import Final

from sqlglot import exp

from cubes.spread import PLAIN, SQUARES

# Aggregate -> its name in cubes.spread.FORMS.
SPREADS: Final[dict[type[exp.Expr], str]] = {
    exp.Stddev: "stddev",
    exp.StddevSamp: "stddev_samp",
    exp.StddevPop: "stddev_pop",
    exp.Variance: "variance",
    exp.VariancePop: "var_pop",
}


def square_of(value: exp.Expr, column_type: str) -> exp.Expr:
    """The square of a value of a fact's column type, or its whole part, as `cubes.spread` keeps its sum."""
    if SQUARES[column_type] in PLAIN:
        cast = exp.cast(value.copy(), PLAIN[SQUARES[column_type]])
        return exp.Mul(this=cast, expression=cast.copy())
    return exp.Anonymous(this="fc_square", expressions=[exp.cast(value.copy(), "DECIMAL(38, 9)")])


def fraction_of(value: exp.Expr) -> exp.Expr:
    """What lies after the point in the square of a decimal."""
    return exp.Anonymous(this="fc_square_rest", expressions=[value.copy()])


def latest_of(value: exp.Expr, at: exp.Expr | None = None) -> exp.Expr:
    """A value with its time, whose greatest is the latest; the time is that of the value's row unless given."""
    if at is None:
        at = exp.Anonymous(
            this="epoch_us", expressions=[exp.column("ts", table=value.args["table"].copy(), quoted=True)]
        )
    return exp.Anonymous(this="fc_latest", expressions=[at, value.copy()])
