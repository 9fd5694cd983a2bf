"""Two answers to one question, from cells and from rows: whether they say the same, and which questions allow that.

Order and ties are a statement's own business, so LIMIT and ORDER BY of the whole are left out before both are asked;
statements whose rows depend on ties within (LIMIT or windows inside, DISTINCT ON) are not compared at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import sqlglot
from sqlglot import exp

from cubes.route.asof import respelled

if TYPE_CHECKING:
    import pyarrow as pa

    from cubes.access import Policy

_TIED: Final = (exp.Limit, exp.Offset, exp.Fetch, exp.Window)
# Sums of doubles depend on the order of their rows.
_DOUBLES: Final = 1e-9
_Key = tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """An answer to be asked again: its statement, versions, present, and whose it was."""

    sql: str
    versions: Mapping[str, int]
    now: datetime
    policy: Policy | None


def comparable(text: str) -> str | None:
    """The statement as it is to be asked twice; None for one whose rows depend on ties."""
    tree = sqlglot.parse_one(respelled(text), read="postgres")
    cut = [tree.args.pop(clause, None) for clause in ("limit", "offset", "order")]
    distinct = (one.args.get("on") for one in tree.find_all(exp.Distinct))
    if tree.find(*_TIED) is not None or any(on is not None for on in distinct):
        return None
    # As it was written, where nothing was left out.
    return str(tree.sql("postgres")) if any(cut) else text


def difference(routed: pa.Table, raw: pa.Table, errors: Sequence[float]) -> str:
    """What two tables differ in, in words, '' where they say the same; `errors` bound each column's relative error."""
    if routed.num_rows != raw.num_rows:
        return f"{routed.num_rows} rows by cells, {raw.num_rows} by rows"
    kinds = [str(column.type) for column in routed.schema]
    loose = [place for place, kind in enumerate(kinds) if errors[place] or kind in ("double", "float")]
    names = routed.schema.names
    for one, other in zip(_sorted(routed, loose), _sorted(raw, loose), strict=True):
        for place, name in enumerate(names):
            bound = (max(errors[place], _DOUBLES)) if place in loose else 0.0
            if not _same(one[place], other[place], bound):
                return f"{name} is {one[place]} by cells, {other[place]} by rows"
    return ""


def _sorted(table: pa.Table, loose: Sequence[int]) -> list[tuple[Any, ...]]:
    """Rows in an order that both tables share: by the exact columns, then by the others, whose order bounds keep."""
    rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True)) if table.num_columns else []

    def key(row: tuple[Any, ...]) -> tuple[_Key, tuple[tuple[bool, Any], ...]]:
        exact = tuple(repr(value) for place, value in enumerate(row) if place not in loose)
        return exact, tuple((row[place] is not None, row[place] or 0) for place in loose)

    return sorted(rows, key=key)


def _same(one: Any, other: Any, bound: float) -> bool:
    if one is None or other is None or not bound:
        return bool(one == other) or bool(one != one and other != other)
    if not (math.isfinite(one) and math.isfinite(other)):
        return str(one) == str(other)
    # Both may be off by the bound, from the value that neither shows.
    return bool(abs(one - other) <= bound * max(abs(one), abs(other)) * (1 + _DOUBLES))
