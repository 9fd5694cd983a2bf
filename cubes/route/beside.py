"""Lookups beside a fact: those that a statement joins itself, and those that derived dimensions come from.

All rows of a cell share the cell's dimensions, so a lookup joined to cells by dimensions meets each cell as often as it
would meet each of the cell's rows: joining first and merging after is exact, even where a row finds several matches. A
condition on the time of rows is the same for a whole bucket where the lookup's times lie on bounds of buckets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from sqlglot import exp

from cubes.derived import inputs, keys, with_derived_sql
from cubes.histograms import CODES, COUNTS, coded_sql
from cubes.model import Derived
from cubes.route.hoist import JOINED, has_half_joins
from lake.facts import load_facts
from lake.lookups import load_lookups
from lake.times import GRAINS

if TYPE_CHECKING:
    from cubes.route.view import CubeState, View


def joined_fact(select: exp.Select) -> exp.Table | None:
    """The one fact of a SELECT that reads it alone or joined to plain lookups and tables of WITH, else None.

    A LEFT JOIN must have the fact on its left, where no row of it is made up.
    """
    from_ = select.args.get("from_")
    if from_ is None:
        return None
    joins = select.args.get("joins") or []
    if has_half_joins(select):
        return None
    tables = [from_.this, *(join.this for join in joins)]
    if not all(isinstance(table, exp.Table) and {"fact", "lookup", JOINED} & table.meta.keys() for table in tables):
        return None
    facts: list[exp.Table] = [table for table in tables if "fact" in table.meta]
    sides = {str(join.args.get("side") or "").upper() for join in joins}
    if len(facts) != 1 or sides - {"", "LEFT"} or ("LEFT" in sides and facts[0] is not tables[0]):
        return None
    return facts[0]


def bucket_bounds(lookup: str, columns: Iterable[str], view: View) -> frozenset[str]:
    """The grains whose buckets no time in these columns of a lookup cuts in two."""
    times = view.times_of(lookup, tuple(columns))
    return frozenset(name for name, grain in GRAINS.items() if all(grain.floor_us(at) == at for at in times))


def is_kept(derived: Derived, state: CubeState, cuboid: int) -> bool:
    """Whether a cuboid holds the dimension itself, made with what its lookup says now."""
    return derived.name in state.cube.kept(cuboid) and derived.lookup not in state.stale


def against_derived(derived: Derived, state: CubeState, cuboid: int, grain: str, view: View) -> str:
    """Why a cuboid can't give a derived dimension, neither of its own nor by joining the lookup; empty if it can."""
    if is_kept(derived, state, cuboid):
        return ""
    if not derived.lookup or not set(keys(derived)) <= set(state.cube.kept(cuboid)):
        changed = derived.lookup in state.stale and derived.name in state.cube.kept(cuboid)
        return f"lookup {derived.lookup} has changed since it was built" if changed else f"lacks {derived.name}"
    if load_lookups()[derived.lookup].temporal:
        fit = bucket_bounds(derived.lookup, ("valid_from", "valid_to"), view)
        if grain not in fit:
            return f"rows of lookup {derived.lookup} change within a {grain} bucket"
    return ""


def with_derived(relation: str, fact: str, columns: Collection[str], view: View) -> str:
    """A relation of a fact's rows or cells with those derived dimensions that `columns` names, as of its `ts`."""
    derived = _looked_up(fact, columns, view)
    lookups = {one.lookup: view.duck.scan(view.lookup(one.lookup)) for one in derived if one.lookup}
    if CODES in derived:
        lookups[CODES.lookup] = coded_sql(lookups[CODES.lookup])
    return with_derived_sql(relation, derived, lookups)


def inputs_of(fact: str, columns: Collection[str], view: View) -> frozenset[str]:
    """The fact's columns that the derived dimensions among `columns` are made of."""
    return inputs(_looked_up(fact, columns, view))


def _looked_up(fact: str, columns: Collection[str], view: View) -> list[Derived]:
    """What of `columns` is no column of the fact: its derived dimensions, and what its histograms' bounds mean."""
    found = [one for name, one in view.derived(fact).items() if name in columns]
    has_counts = any(column.name == COUNTS for column in load_facts()[fact].columns)
    return [*found, CODES] if CODES.name in columns and has_counts else found
