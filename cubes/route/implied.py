"""What a cube's own filter makes certain: parts of WHERE that need not be asked of its cells again.

A cube with `where` holds the rows for which it is true, and no others. A query whose WHERE has all the same parts wants
no others either; of its cells these parts are true, so their columns need be no dimensions of the cuboid, or of the
cube. Parts are compared as trees brought to one form; a part that is only equivalent is another one.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

from cubes.route.parts import predicate_key
from cubes.route.window import conjuncts

if TYPE_CHECKING:
    from cubes.model import Cube
    from cubes.route.statement import Block


@cache
def parts_of(where: str) -> frozenset[str]:
    """The AND parts of a cube's filter, each in its one form."""
    return frozenset(predicate_key(node) for node in conjuncts(sqlglot.parse_one(where, read="duckdb")))


def implied(block: Block, cube: Cube) -> list[exp.Expr]:
    """The parts of the block's WHERE that a cube's filter makes true of all its cells."""
    if not cube.where:
        return []
    held = parts_of(cube.where)
    return [node for node in conjuncts(block.where) if is_of(node, block.alias) and predicate_key(node) in held]


def is_of(node: exp.Expr, alias: str) -> bool:
    """Whether all columns of a predicate are those of one table, and of this query."""
    return all(column.table == alias and not column.meta.get("outer") for column in node.find_all(exp.Column))


def needed_dims(block: Block, cube: Cube, kept: Collection[str] = ()) -> frozenset[str]:
    """The dimensions that a cuboid must keep to answer the block; parts in `kept` are counts that need none."""
    parts = [part.dims for part in block.parts if part.name not in kept]
    certain = implied(block, cube)
    if not certain:
        return block.dims.union(*parts)
    asked = [node for node in conjuncts(block.where) if node not in certain]
    asked += [*block.keys.values(), *(join.args["on"] for join in block.beside[1:] if join.args.get("on"))]
    asked += [one.condition for term in block.terms for one in (term.quantile, term.distinct) if one and one.condition]
    still = {column.name for node in asked for column in node.find_all(exp.Column)}
    gone = {column.name for node in certain for column in node.find_all(exp.Column)} - still
    return (block.dims - gone).union(*parts)
