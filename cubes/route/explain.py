"""How a statement is answered, as lines to act on: blocks, candidates with the reason against each, the SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from cubes.route.receipt import path_of

if TYPE_CHECKING:
    from cubes.route.match import Candidate
    from cubes.route.statement import Block, Statement
    from cubes.route.tile import Plan


def explain_lines(
    statement: Statement, *, whole: bool = True, advice: Mapping[int, Sequence[str]] = MappingProxyType({})
) -> list[str]:
    """The plan as text lines; nothing is run for it.

    Without `whole` it tells no counts and no SQL of the engine: those speak of rows that a user may not see, and of
    files. `advice` says by a block's place what would make it fit.
    """
    lines = [f"path: {path_of(statement)}"]
    plans = statement.plans or (None,) * len(statement.blocks)
    for number, (block, tried, plan) in enumerate(zip(statement.blocks, statement.candidates, plans, strict=True), 1):
        lines.append(f"block {number} on {block.fact}: {_verdict(block, plan, whole)}")
        if plan is not None:
            lines.extend(f"  {line}" for line in _tiles(plan))
        lines.extend(f"  {_candidate(one, whole)}" for one in tried)
        if number - 1 in advice:
            told = advice[number - 1] or ("no change of a definition was found that would make it fit",)
            lines.extend(f"  {line}" for line in told)
    joined = len(statement.scanned) - sum(1 for block in statement.blocks if block.reason)
    if joined > 0:
        lines.append(f"{joined} more read of trusted rows, below a join")
    return [*lines, f"sql: {statement.sql}"] if whole else lines


def _verdict(block: Block, plan: Plan | None, whole: bool) -> str:
    if plan is None:
        return f"trusted rows, since {block.reason}"
    return f"cube {plan.cube.cube.name}" + (f", about {plan.rows:.0f} rows to read" if whole else "")


def _tiles(plan: Plan) -> list[str]:
    lines = []
    for piece in plan.pieces:
        start, end = (at or "unbounded" for at in piece.window.shown())
        kept = " × ".join(plan.cube.cube.kept(piece.cuboid)) or "(total)"
        lines.append(f"{piece.grain} cells of [{kept}] from {start} to {end}")
    for edge in plan.edges:
        start, end = (at or "unbounded" for at in edge.shown())
        lines.append(f"raw edge from {start} to {end}")
    if plan.tail:
        lines.append(f"tail of rows after batch {plan.cube.watermark}")
    return lines


def _candidate(one: Candidate, whole: bool) -> str:
    verdict = f"no: {one.reason}" if one.reason else "fits"
    cells = f" of {one.rows} cells" if whole else ""
    return f"candidate {one.cube} {one.grain} [{one.cuboid}]{cells}: {verdict}"
