"""Chance that depends on nothing but its key: the same on every machine, engine version and thread count.

Integers only: a mixing function in SQL, and log-normal factors from a table of quantiles in thousandths.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Final

from lake.duck import Duck

_STEPS: Final = 1024
# Three rounds of multiply and shift, kept below 2^62 so that BIGINT holds every product.
_MACROS: Final = (
    "CREATE OR REPLACE MACRO fs_fold(x, k) AS xor(x, x >> k)",
    "CREATE OR REPLACE MACRO fs_mix(x) AS fs_fold((fs_fold((((x)::BIGINT % 2147483647) * 1540483477) % 4294967296, 15) "
    "* 2022813797) % 4294967296, 13)",
)


def prepare(duck: Duck) -> None:
    """Make the SQL functions: fs_mix(BIGINT above 0) -> 0..2^32-1, and fs_log_20, _35, _80 (draw) -> thousandths.

    The latter turn a draw into a log-normal factor with median 1 and sigma 0.20, 0.35 or 0.80.
    """
    for macro in _MACROS:
        duck.execute(macro)
    for sigma in (20, 35, 80):
        table = ", ".join(str(factor) for factor in _log_normal(sigma / 100))
        duck.execute(f"CREATE OR REPLACE MACRO fs_log_{sigma}(draw) AS ([{table}]::BIGINT[])[1 + draw % {_STEPS}]")


def key(*parts: object) -> int:
    """A number below 2^30 for this combination, to which rows add their own numbers before they are mixed."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 2


def make_table(duck: Duck, name: str, columns: Mapping[str, str], rows: Sequence[Sequence[object]]) -> None:
    """Make the temporary table `name`, its SQL types given by column; as parameters, since literals parse slowly."""
    lists = ", ".join(f"unnest(CAST(? AS {kind}[])) AS {column}" for column, kind in columns.items())
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {lists}", [list(cells) for cells in zip(*rows, strict=True)]
    )


def _log_normal(sigma: float) -> list[int]:
    """Quantiles of exp(sigma z) in thousandths, at the middles of equal steps of probability."""
    normal = NormalDist()
    return [round(1000 * math.exp(sigma * normal.inv_cdf((step + 0.5) / _STEPS))) for step in range(_STEPS)]
