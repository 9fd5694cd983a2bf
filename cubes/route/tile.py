"""A time range as whole buckets of the coarsest grains plus raw edges, and the cheapest such tiling among cubes.

Pieces and edges are disjoint and cover the range exactly, so the merge of their partial states is the range's answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from cubes.route.span import Window
from cubes.route.statement import Block, Piece
from lake.times import GRAINS

if TYPE_CHECKING:
    from cubes.route.match import Fit
    from cubes.route.statement import Statement
    from cubes.route.view import CubeState, FactState, View


@dataclass(frozen=True)
class Plan:
    """How one block is answered from one cube: whole buckets, edges from rows, and the tail that the cube lacks.

    `kept` maps parts to the conditional counts of the cube that stand for them.
    """

    block: Block
    cube: CubeState
    pieces: tuple[Piece, ...]
    edges: tuple[Window, ...]
    tail: Window | None
    rows: float
    kept: Mapping[str, str]


def tile(statement: Statement, view: View) -> Statement:
    """The statement with a plan for each block that some cube fits; the cheapest by estimated rows."""
    plans: list[Plan | None] = []
    blocks = []
    for block, fits in zip(statement.blocks, statement.fits, strict=True):
        state = view.fact(block.fact)
        found = [plan for fit in fits for plan in _tilings(block, fit, state)]
        best = min(found, key=lambda plan: (plan.rows, plan.cube.cube.name)) if found else None
        if best is None and not block.reason:
            block = replace(block, reason="the range holds no whole bucket")
        blocks.append(block)
        plans.append(best)
    return replace(statement, blocks=tuple(blocks), plans=tuple(plans))


def cover(window: Window, grains: Sequence[str]) -> tuple[list[tuple[str, Window]], list[Window]]:
    """(whole buckets, rest) of a range over grains from coarse to fine, greedily; both in order of time.

    >>> [(grain, run.start, run.end) for grain, run in cover(Window(0, 3_900_000_000), ["1h", "5m"])[0]]
    [('1h', 0, 3600000000), ('5m', 3600000000, 3900000000)]
    """
    if window.empty:
        return [], []
    if not grains:
        return [], [window]
    size = GRAINS[grains[0]].seconds * 10**6
    start = None if window.start is None else -(-window.start // size) * size
    end = None if window.end is None else window.end // size * size
    inside = Window(start, end)
    if inside.empty:
        return cover(window, grains[1:])
    left = cover(Window(window.start, start), grains[1:]) if start is not None else ([], [])
    right = cover(Window(end, window.end), grains[1:]) if end is not None else ([], [])
    return [*left[0], (grains[0], inside), *right[0]], [*left[1], *right[1]]


def _tilings(block: Block, fit: Fit, state: FactState) -> list[Plan]:
    """One plan for each choice of grains that leaves at least one whole bucket."""
    coarse_first = [grain for grain in reversed(fit.cube.cube.grains) if grain in fit.cuboids]
    found = []
    for count in range(1, len(coarse_first) + 1):
        for grains in combinations(coarse_first, count):
            runs, edges = cover(block.window, grains)
            if not runs:
                continue
            pieces = tuple(Piece(grain, fit.cuboids[grain], run) for grain, run in runs)
            rows = _estimate(pieces, edges, fit.cube, state)
            inner = Window(pieces[0].window.start, pieces[-1].window.end)
            tail = inner if fit.cube.lagging else None
            found.append(Plan(block, fit.cube, pieces, tuple(edges), tail, rows, fit.kept))
    return found


def _estimate(pieces: Sequence[Piece], edges: Sequence[Window], cube: CubeState, state: FactState) -> float:
    cells = sum(cube.rows.get((piece.grain, piece.cuboid), 0) * _share(piece.window, state) for piece in pieces)
    return cells + sum(state.trusted.rows * _share(edge, state) for edge in edges)


def _share(window: Window, state: FactState) -> float:
    """The part of the fact's time that a range takes, as if rows were spread evenly."""
    if window.start is None or window.end is None:
        return 1.0
    return min(1.0, (window.end - window.start) / 1e6 / state.span_s)
