"""Percentiles of histograms in plain Python: what is known of each observation, sorted, and read at the rank.

An observation is a pair of ends, widened to powers of 2^(1/64); nothing here is shared with cubes/.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

Ends = tuple[float, float]
_STEP = Decimal("0.000000001")


def observations(row: Mapping[str, Any], bounds: Mapping[str, list[str]]) -> list[Ends]:
    """The ends of each observation of a row of samples, as often as it was counted."""
    if row.get("counts") is None:
        return [] if row.get("value") is None else [_around(row["value"], row["value"])]
    counts, name = row["counts"], row["bounds_id"] or ""
    scaled = name.startswith("base2:") and "oops" not in name
    ends = _of_base2(name, len(counts)) if scaled else _of_bounds(bounds.get(name), len(counts))
    return [pair for pair, count in zip(ends, counts, strict=True) for _ in range(count)]


def percentile(ends: Iterable[Ends], share: str) -> tuple[float | None, float, float] | tuple[None, None, None]:
    """(estimate, low, high) at rank share * (n - 1) of the observations."""
    found = list(ends)
    if not found:
        return None, None, None
    lows, highs = sorted(low for low, _ in found), sorted(high for _, high in found)
    rank = Fraction(share) * (len(found) - 1)
    at, part = math.floor(rank), float(rank - math.floor(rank))
    after = math.ceil(rank)
    middle = _between(_middle(lows[at], highs[at]), _middle(lows[after], highs[after]), part)
    low, high = _between(lows[at], lows[after], part), _between(highs[at], highs[after], part)
    assert low is not None
    assert high is not None
    return middle, low, high


def _between(a: float | None, b: float | None, part: float) -> float | None:
    if part == 0 or a == b:
        return a
    if a is None or b is None:
        return None
    if math.isinf(a) and math.isinf(b):
        return None
    return a if math.isinf(a) else b if math.isinf(b) else a * (1 - part) + b * part


def _middle(low: float, high: float) -> float | None:
    if math.isinf(low) and math.isinf(high):
        return None
    same_slot = low and high and low * high > 0 and max(low / high, high / low) < 2 ** (1.5 / 64)
    return 2 * low * high / (low + high) if same_slot else (low + high) / 2


def _of_bounds(bounds: list[str] | None, length: int) -> list[Ends]:
    if bounds is None or len(bounds) + 1 != length:
        return [(-math.inf, math.inf)] * length
    edges = [Decimal(text) for text in bounds]
    first = 0.0 if edges[0] >= 0 else -math.inf
    found = [(first, _around(edges[0], edges[0])[1] if edges[0] else 0.0)]
    found += [_around(low + _STEP, high) for low, high in pairwise(edges)]
    return [*found, (_around(edges[-1] + _STEP, edges[-1] + _STEP)[0], math.inf)]


def _of_base2(name: str, length: int) -> list[Ends]:
    scale, offset, below_from, below = (int(part) for part in [*name.split(":")[1:], "0", "0"][:4])
    found: list[Ends] = []
    for index in range(below_from + below - 1, below_from - 1, -1):
        low, high = _exponential(scale, index)
        found.append((-high, -low))
    found.append((0.0, 0.0))
    return found + [_exponential(scale, index) for index in range(offset, offset + length - 1 - below)]


def _exponential(scale: int, index: int) -> Ends:
    """(2^(index/2^scale), 2^((index+1)/2^scale)], widened to 64 steps to a doubling."""
    low, high = Fraction(index) / Fraction(2) ** scale * 64, Fraction(index + 1) / Fraction(2) ** scale * 64
    return 2.0 ** (math.floor(low) / 64), 2.0 ** (math.ceil(high) / 64)


def _around(low: Decimal, high: Decimal) -> Ends:
    """The slots' ends around both: of a positive x the least power that is not below it, and the one before."""
    return _slot(low)[0], _slot(high)[1]


def _slot(value: Decimal) -> Ends:
    if value == 0:
        return 0.0, 0.0
    if value < 0:
        low, high = _slot(-value)
        return -high, -low
    step = math.floor(64 * math.log2(float(value))) - 2
    while Fraction(2) ** step < Fraction(value) ** 64:
        step += 1
    return (0.0 if step == -1913 else 2.0 ** ((step - 1) / 64)), 2.0 ** (step / 64)
