"""Derived dimensions as SQL: columns of lookups as of a row's time, and bands of numbers, beside a fact's own columns.

A lookup's row holds from its `valid_from` until before its `valid_to`, and gives way to the next row of its key; so at
any moment at most one row holds, and a join never doubles a row of the fact. A row without a match, and a band of no
number, is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from cubes.measures import quoted
from cubes.model import Derived
from lake.lookups import Lookup, load_lookups

if TYPE_CHECKING:
    from collections.abc import Iterable

_OUTSIDE: Final = ("valid_from", "valid_to")


def with_derived_sql(rows: str, derived: Sequence[Derived], lookups: Mapping[str, str], *, time: str = "ts") -> str:
    """The relation `rows` (in brackets) with a column for each of `derived` added, in brackets.

    `lookups` gives a relation in brackets for each lookup that they name; `time` is the column of the row's time.
    """
    if not derived:
        return rows
    names = sorted({one.lookup for one in derived if one.lookup})
    joins = "".join(_join_sql(name, place, lookups[name], derived, time) for place, name in enumerate(names))
    columns = [f"{_value_sql(one, names)} AS {quoted(one.name)}" for one in derived]
    return f"(SELECT fc_fact.*, {', '.join(columns)} FROM {rows} AS fc_fact{joins})"


def inputs(derived: Iterable[Derived]) -> frozenset[str]:
    """The fact's columns that derived dimensions are made of."""
    found: set[str] = set()
    for one in derived:
        found.update(keys(one) if one.lookup else [one.column.partition(".")[0]])
    return frozenset(found)


def keys(derived: Derived) -> tuple[str, ...]:
    """The dimensions by which a derived one is looked up; none for a band of the fact's own."""
    return load_lookups()[derived.lookup].key if derived.lookup else ()


def used_columns(name: str, derived: Iterable[Derived]) -> tuple[str, ...]:
    """The columns of a lookup on which these dimensions rest: its key and times, and what they show."""
    lookup = load_lookups()[name]
    times = _OUTSIDE if lookup.temporal else ()
    return (*lookup.key, *times, *sorted({one.column for one in derived if one.lookup == name}))


def held_sql(lookup: Lookup, scan: str, columns: Sequence[str]) -> str:
    """Rows of a lookup with `fc_from` and `fc_to`, the times between which each holds (null: open), in brackets."""
    names = ", ".join(quoted(name) for name in columns if name not in _OUTSIDE)
    if not lookup.temporal:
        return f"(SELECT {names}, CAST(NULL AS TIMESTAMPTZ) AS fc_from, CAST(NULL AS TIMESTAMPTZ) AS fc_to FROM {scan})"
    key = ", ".join(quoted(name) for name in lookup.key)
    after = f"lead(valid_from) OVER (PARTITION BY {key} ORDER BY valid_from NULLS FIRST)"
    return f"(SELECT {names}, valid_from AS fc_from, least(valid_to, {after}) AS fc_to FROM {scan})"


def band_sql(value: str, edges: Sequence[str]) -> str:
    """CASE that gives the band of a number as text: `(-inf,0)`, `[0,128)`, ..., `[8192,inf)`; null for null."""
    bounds = ["-inf", *edges, "inf"]
    texts = [f"'{'[' if low in edges else '('}{low},{high})'" for low, high in pairwise(bounds)]
    branches = " ".join(f"WHEN {value} < {edge} THEN {text}" for edge, text in zip(edges, texts, strict=False))
    return f"CASE {branches} WHEN {value} IS NOT NULL THEN {texts[-1]} END"


def _join_sql(name: str, place: int, scan: str, derived: Sequence[Derived], time: str) -> str:
    lookup = load_lookups()[name]
    held = held_sql(lookup, scan, used_columns(name, derived))
    alias = f"fc_l{place}"
    same = [f"fc_fact.{quoted(key)} = {alias}.{quoted(key)}" for key in lookup.key]
    if lookup.temporal:
        at = f"fc_fact.{quoted(time)}"
        same += [
            f"({alias}.fc_from IS NULL OR {at} >= {alias}.fc_from)",
            f"({alias}.fc_to IS NULL OR {at} < {alias}.fc_to)",
        ]
    return f" LEFT JOIN {held} AS {alias} ON {' AND '.join(same)}"


def _value_sql(one: Derived, lookups: Sequence[str]) -> str:
    if one.lookup:
        value = f"fc_l{lookups.index(one.lookup)}.{quoted(one.column)}"
    elif one.column.startswith("labels."):
        label = one.column.removeprefix("labels.")
        value = f"""TRY_CAST(json_extract_string(fc_fact.labels, '$."{label}"') AS DECIMAL(38,9))"""
    else:
        value = f"fc_fact.{quoted(one.column)}"
    return band_sql(value, one.edges) if one.edges else value
