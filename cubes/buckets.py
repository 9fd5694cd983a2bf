"""Quantile slots: base-2 exponential buckets at scale 6, exact against one committed table, and their inverse in SQL.

Slot i > -2000 holds the values in (2^((i-1)/64), 2^(i/64)]; ZERO holds exact zeros; a negative value x lies in slot
NEGATIVE - i, where i is the slot of -x. So slots sort as their values do, and merging is adding integers. A value
within the slot's bounds differs from the slot's `mid` by at most RELATIVE_ERROR of itself.

`percentile_cont(p)` has rank p * (rows - 1) and interpolates between the values of both neighbouring ranks' slots;
`percentile_disc(p)` takes the slot of rank ceil(p * rows). Both are DOUBLE, both are clipped by the exact minimum and
maximum, which are also the answers at p = 0 and p = 1. Ranks are exact decimals, so every engine finds the same slot.
The bound holds for percentile_disc, and for percentile_cont unless its two ranks differ in sign: the router looks for
such groups, and takes the rows for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from cubes.shares import share_of

if TYPE_CHECKING:
    from lake.duck import Duck

ZERO: Final = -1_000_000
NEGATIVE: Final = -2_000_000
RELATIVE_ERROR: Final = Decimal("0.005416")  # (r-1)/(r+1) for r = 2^(1/64), rounded up

_FIRST: Final = -1914  # slot of the table's first line, whose upper bound is the lower bound of the first true slot
_TABLE: Final = files(__package__).joinpath("tables", "scale6.csv")

# A logarithm is off by some 1e-12 at most (and differs between libraries in the last bit): only values whose
# logarithm comes within 1e-6 of a bound are compared with the table, all others are certain.
_LOG: Final = "64 * log2(nullif(abs(CAST({value} AS DOUBLE)), 0))"
_MACROS: Final = (
    """CREATE OR REPLACE MACRO fc_slot_bound(x, k) AS
    CASE WHEN abs(CAST(x AS DECIMAL(38,9))) <= (SELECT list(upper ORDER BY slot) FROM fc_bounds)[k + {shift}]
    THEN k ELSE k + 1 END""",
    """CREATE OR REPLACE MACRO fc_slot_size(x, t) AS
    CASE WHEN abs(t - round(t)) > 1e-6 THEN CAST(ceil(t) AS INTEGER)
    ELSE fc_slot_bound(x, CAST(round(t) AS INTEGER)) END""",
    """CREATE OR REPLACE MACRO fc_slot_of(x, t) AS
    CASE WHEN x > 0 THEN fc_slot_size(x, t)
    WHEN x < 0 THEN {negative} - fc_slot_size(x, t)
    WHEN x = 0 THEN {zero} END""",
    "CREATE OR REPLACE MACRO fc_slot(x) AS fc_slot_of(x, {log})",
)


def install(duck: Duck) -> None:
    """Give a connection the table `fc_buckets(slot, lower, upper, mid)` of every slot and the macro `fc_slot(x)`.

    Done once per connection; a second call changes nothing. Other SQL builders of this module need it.
    """
    known = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'fc_buckets'"
    if duck.sql(known) != [(0,)]:
        return
    columns = "{'slot': 'INTEGER', 'upper': 'DECIMAL(38,9)', 'mid': 'DOUBLE'}"
    source = str(_TABLE).replace("'", "''")
    duck.execute(f"CREATE TABLE fc_bounds AS SELECT * FROM read_csv('{source}', header = true, columns = {columns})")
    for macro in _MACROS:
        log = _LOG.format(value="x")
        duck.execute(macro.format(shift=1 - _FIRST, negative=NEGATIVE, zero=ZERO, log=log))
    duck.execute(
        f"""CREATE TABLE fc_buckets AS
        WITH positive AS (
            SELECT slot, lag(upper) OVER (ORDER BY slot) AS lower, upper, mid FROM fc_bounds
            QUALIFY mid IS NOT NULL)
        SELECT slot, lower, upper, mid FROM positive
        UNION ALL SELECT {NEGATIVE} - slot, -upper, -lower, -mid FROM positive
        UNION ALL SELECT {ZERO}, 0, 0, 0 ORDER BY slot"""
    )


def slots_sql(value: str) -> str:
    """Expression for the slot of a value (decimal or integer expression); null for null."""
    return f"fc_slot({value})"


def with_slots_sql(select: str, value: str) -> str:
    """The relation `select` with a column `fc_slot` for its column `value`; over many rows faster than `slots_sql`.

    An expression would take the logarithm anew for each of its branches; a column takes it once.
    """
    logs = f"SELECT *, {_LOG.format(value=value)} AS fc_log FROM {select}"
    return f"(SELECT * EXCLUDE (fc_log), fc_slot_of({value}, fc_log) AS fc_slot FROM ({logs}))"


def ranked_sql(slots: str, keys: Sequence[str]) -> str:
    """Relation (keys, mid, upto, total) from a relation (keys, slot, n) in which a slot may occur many times.

    `upto` is the number of rows in this and all lower slots of the same keys, `total` in all of them. Keys are SQL
    identifiers, nulls are equal; give `sketch` as a key when several columns' slots are mixed.
    """
    by = "".join(f"{key}, " for key in keys)
    partition = f"PARTITION BY {', '.join(keys)} " if keys else ""
    group = f"{by}slot"
    return f"""SELECT {by}mid,
        CAST(sum(merged.n) OVER ({partition}ORDER BY merged.slot) AS BIGINT) AS upto,
        CAST(sum(merged.n) OVER ({partition}) AS BIGINT) AS total
    FROM (SELECT {group}, sum(n) AS n FROM {slots} GROUP BY {group}) AS merged
    JOIN fc_buckets ON fc_buckets.slot = merged.slot"""


def quantile_sql(function: str, share: str, minimum: str, maximum: str, *, only: str = "true") -> str:
    """Aggregate over the rows of `ranked_sql` of one group that gives the quantile as DOUBLE, null for no row.

    `function` is percentile_cont or percentile_disc, `share` the decimal literal p (0 to 1). `minimum` and `maximum`
    are expressions over the group (aggregates or keys) for the exact extremes, and `only` is a filter on the rows,
    such as `sketch = 'e2e_ms'`.
    """
    p = share_of(share)
    low, high = f"CAST({minimum} AS DOUBLE)", f"CAST({maximum} AS DOUBLE)"
    if p in (0, 1):
        return high if p else low
    value = _interpolated(p, only) if function == "percentile_cont" else _at(f"ceil({p:f} * total)", only)
    return f"greatest({low}, least({high}, {value}))"


def crosses_sql(share: str) -> str:
    """Aggregate over the rows of `ranked_sql` of one group: whether percentile_cont lies between values of two signs.

    It is then a difference of two estimates, and no share of itself bounds its error.
    """
    below, above = _neighbours(share_of(share), "true")
    return f"({below} < 0 AND {above} > 0)"


def _at(rank: str, only: str) -> str:
    """The value of the rank-th row, counted from 1: `mid` grows with the slot, so the least that reaches the rank."""
    return f"min(mid) FILTER (WHERE ({only}) AND upto >= {rank})"


def _neighbours(p: Decimal, only: str) -> tuple[str, str]:
    rank = f"({p:f} * (total - 1))"
    return _at(f"floor({rank}) + 1", only), _at(f"ceil({rank}) + 1", only)


def _interpolated(p: Decimal, only: str) -> str:
    rank = f"({p:f} * (total - 1))"
    below, above = _neighbours(p, only)
    part = f"CAST(max({rank} - floor({rank})) FILTER (WHERE {only}) AS DOUBLE)"
    return f"({below} + ({above} - {below}) * {part})"
