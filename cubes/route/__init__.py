"""The router: SQL on facts to SQL over cells and rows, as a tuple of passes.

parse, named, bind, policy, observed, rates, flatten, sink and blocks read the question; match and tile choose cuboids
and buckets; rewrite and pushdown write the engine's SQL. Each pass takes a statement and the pinned versions, and gives
the statement with more in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cubes.route.bind import bind
from cubes.route.blocks import blocks
from cubes.route.flatten import flatten
from cubes.route.match import match
from cubes.route.named import named
from cubes.route.observed import observed
from cubes.route.parse import parse
from cubes.route.policy import policy
from cubes.route.pushdown import pushdown
from cubes.route.rates import rates
from cubes.route.rewrite import rewrite
from cubes.route.sink import sink
from cubes.route.statement import Statement
from cubes.route.tile import tile
from cubes.route.view import View
from lake.errors import QueryError

Pass = Callable[[Statement, View], Statement]

PASSES: Final[tuple[Pass, ...]] = (
    *(parse, named, bind, policy, observed, rates, flatten, sink),
    *(blocks, match, tile, rewrite, pushdown),
)


def route(text: str, view: View, *, raw: bool = False) -> Statement:
    """The statement after every pass; `raw` answers each block from trusted rows at the same versions."""
    statement = Statement(text, raw)
    try:
        for step in PASSES:
            statement = step(statement, view)
    except RecursionError as error:
        # Chains such as a OR b OR ... are deep trees without a bracket.
        todo = "Write long lists of alternatives as IN (...), or split the statement by WITH."
        raise QueryError("the statement is too deeply nested.", todo=todo, code="54001") from error
    return statement
