"""Each pass by its file of SQL pairs: the text or plan it makes, and both sides run, with equal rows."""

from __future__ import annotations

import pytest
from sqlcorpus import Pair, pairs, same

from cubes.route import blocks, match, tile
from cubes.route.bind import bind
from cubes.route.lower import engine_sql
from cubes.route.parse import parse
from cubes.route.sink import sink
from cubes.route.statement import Statement
from cubes.session import Session

PAIRS = pairs("*.sql")


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.place)
def test_pair(asked: Session, pair: Pair) -> None:
    """The left side through the router equals the right side from rows; and is planned as the file says."""
    statement = Statement(pair.left)
    view = asked.view()
    for step in (parse, bind, sink, blocks, match, tile):
        statement = step(statement, view)
        if step is bind and pair.meta.get("text") == "bind":
            assert statement.tree is not None
            assert statement.tree.sql("postgres") == pair.right
        if step is bind and pair.meta.get("text") == "lower":
            assert statement.tree is not None
            assert engine_sql(statement.tree) == pair.right
    _as_planned(statement, pair)
    if "text" not in pair.meta:
        same(asked.query(pair.left), asked.query(pair.right, raw=True), pair.place)


def _as_planned(statement: Statement, pair: Pair) -> None:
    block, plan = statement.blocks[0], statement.plans[0]
    if "window" in pair.meta:
        assert " ".join(str(end) for end in block.window.shown()) == pair.meta["window"]
    if "reason" in pair.meta:
        assert pair.meta["reason"] in {one.reason for one in statement.blocks}
    if "cuboid" in pair.meta:
        assert plan is not None
        assert {" × ".join(plan.cube.cube.kept(piece.cuboid)) for piece in plan.pieces} == {pair.meta["cuboid"]}
    if "pieces" in pair.meta:
        assert plan is not None
        assert " ".join(piece.grain for piece in plan.pieces) == pair.meta["pieces"]
        assert len(plan.edges) == int(pair.meta.get("edges", len(plan.edges)))
