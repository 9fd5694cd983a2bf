"""Write cubes/tables/scale6.csv: the bounds and middles of the quantile slots, by exact integer arithmetic.

Slot i holds the values in (2^((i-1)/64), 2^(i/64)]. A value has at most 9 decimal places, so it lies above a bound
exactly if it lies above the bound cut to 9 places: the cut table decides exactly as the irrational bounds would.
`mid` is the value whose greatest relative error over the slot is least, 2*l*u/(l+u), for the uncut bounds l and u.
"""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from pathlib import Path

FIRST, LAST = -1913, 6166  # 0.000000001 .. the greatest DECIMAL(38,9)
PLACES = 9
GREATEST = 10**38 - 1
FINE = 40  # places of the uncut bounds, far beyond a double's 17 digits
TARGET = Path(__file__).resolve().parents[1] / "cubes" / "tables" / "scale6.csv"


def power(slot: int, places: int) -> int:
    """floor(10**places * 2**(slot/64)), exact: six integer square roots are a 64th root."""
    root: int = 10 ** (64 * places)
    root = root << slot if slot >= 0 else root >> -slot
    for _ in range(6):
        root = math.isqrt(root)
    return root


def table() -> str:
    """The whole file: slot, upper bound (the lower one is the slot before's), middle as the shortest exact double."""
    lines = ["slot,upper,mid"]
    ratio = Fraction(power(1, FINE), 10**FINE)
    lines.append(f"{FIRST - 1},{decimal(power(FIRST - 1, PLACES))},")
    for slot in range(FIRST, LAST + 1):
        middle = 2 * Fraction(power(slot, FINE), 10**FINE) / (1 + ratio)
        lines.append(f"{slot},{decimal(min(power(slot, PLACES), GREATEST))},{float(middle)!r}")
    return "\n".join(lines) + "\n"


def decimal(scaled: int) -> str:
    """A number of billionths as decimal text."""
    whole, rest = divmod(scaled, 10**PLACES)
    return f"{whole}.{rest:0{PLACES}d}"


def main() -> int:
    """Write the table, or with `--check` say whether the committed one is the same."""
    if "--check" in sys.argv[1:]:
        return 0 if TARGET.read_text(encoding="utf-8") == table() else 1
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
