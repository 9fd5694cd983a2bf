"""Grouping sets written out: ROLLUP, CUBE, GROUPING SETS and their products as the lists of keys that they mean.

Cells merge along every set at once, so a block with sets is answered like any other, by the cuboid that has all keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product
from typing import Final

from sqlglot import exp

SETS: Final = (exp.Rollup, exp.Cube, exp.GroupingSets)
# As in PostgreSQL: beyond, a statement is refused by the engine.
_MOST: Final = 4096

_Set = tuple[exp.Expr, ...]


def has_sets(group: exp.Expr | None) -> bool:
    """Whether a GROUP BY has other sets of keys than all of them."""
    return group is not None and group.find(*SETS) is not None


def leaves(node: exp.Expr) -> Iterator[exp.Expr]:
    """The keys that stand in an item of GROUP BY."""
    if isinstance(node, exp.Paren):
        yield from leaves(node.this)
    elif isinstance(node, (*SETS, exp.Tuple)):
        for child in node.expressions:
            yield from leaves(child)
    else:
        yield node


def grouping_sets(group: exp.Group) -> list[_Set] | None:
    """Every set of keys that a GROUP BY means, in order and with repeats; None where they are too many."""
    if sum(1 for item in group.expressions for _ in leaves(item)) > _MOST.bit_length() - 1:
        return None
    found: list[_Set] = [()]
    for item in group.expressions:
        found = [left + right for left, right in product(found, _alternatives(item))]
        if len(found) > _MOST:
            return None
    return found


def sets_sql(sets: Iterable[Sequence[str]]) -> str:
    """GROUP BY of sets of columns.

    >>> sets_sql([("a", "b"), ()])
    ' GROUP BY GROUPING SETS ((a, b), ())'
    """
    listed = ", ".join("(" + ", ".join(names) + ")" for names in sets)
    return f" GROUP BY GROUPING SETS ({listed})"


def _alternatives(node: exp.Expr) -> list[_Set]:
    """The sets that one item of GROUP BY stands for."""
    if isinstance(node, exp.GroupingSets):
        return [one for child in node.expressions for one in _alternatives(child)]
    parts = [tuple(leaves(child)) for child in node.expressions]
    if isinstance(node, exp.Rollup):
        return [_joined(parts[:count]) for count in range(len(parts), -1, -1)]
    if isinstance(node, exp.Cube):
        return [_joined(one) for count in range(len(parts), -1, -1) for one in combinations(parts, count)]
    return [tuple(leaves(node))]


def _joined(parts: Iterable[_Set]) -> _Set:
    return tuple(node for part in parts for node in part)
