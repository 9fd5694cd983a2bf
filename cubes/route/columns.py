"""The columns of facts and lookups as statements may name them."""

from __future__ import annotations

from typing import Final

from lake.errors import QueryError, did_you_mean
from lake.facts import load_facts
from lake.lookups import load_lookups

_LAKE_COLUMNS: Final = {
    "agent": ("string", False),
    "boot": ("string", False),
    "seq": ("integer", False),
    "idx": ("integer", False),
    "row_key": ("string", False),
    "batch": ("integer", False),
    "day": ("date", False),
}


def columns_of(table: str) -> dict[str, tuple[str, bool]]:
    """Columns of a fact or lookup: name to (type, whether `*` shows it); QueryError for another table's name."""
    facts, lookups = load_facts(), load_lookups()
    if table in lookups:
        return {column.name: (column.type, True) for column in lookups[table].columns}
    if table not in facts:
        near = did_you_mean(table, (*facts, *lookups))
        raise QueryError(f"there is no table '{table}'.", todo=near, code="42P01")
    shown = {column.name: (column.type, True) for column in facts[table].columns}
    return {**shown, **_LAKE_COLUMNS}
