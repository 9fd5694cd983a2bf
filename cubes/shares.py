"""The share of a percentile as a number that ranks can be computed of exactly."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal

from lake.errors import QueryError


def share_of(text: str) -> Decimal:
    """p as an exact decimal of at most 18 places, so that ranks stay within the engine's decimals.

    Errors: QueryError for what is no number from 0 to 1.
    """
    try:
        p = Decimal(text)
    except ArithmeticError:
        p = Decimal("NaN")
    if not p.is_finite() or not 0 <= p <= 1:
        raise QueryError(f"A percentile wants a number from 0 to 1, not {text!r}.", todo="Write 0.95 for the 95th.")
    return p if p == round(p, 18) else p.quantize(Decimal("1e-18"), ROUND_CEILING)
