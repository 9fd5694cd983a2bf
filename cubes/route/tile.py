"""A time range as whole buckets of the coarsest grains plus raw edges, and the cheapest such tiling among cubes.

Pieces and edges are disjoint and cover the range exactly, so the merge of their partial states is the range's answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cubes.ageout import told_cuboids
from cubes.route.span import Window, micros
from cubes.route.statement import Block, Piece
from cubes.route.suspect import cut
from cubes.segments import segment_range
from lake.times import GRAINS

if TYPE_CHECKING:
    from cubes.expired import Expired
    from cubes.route.match import Fit
    from cubes.route.statement import Statement
    from cubes.route.view import CubeState, FactState, View


@dataclass(frozen=True)
class Plan:
    """How one block is answered from one cube: whole buckets, edges from rows, and the tail that the cube lacks.

    `tail` are the ranges of the pieces where trusted has rows that the cube doesn't. `kept` maps parts to the
    conditional counts of the cube that stand for them.
    """

    block: Block
    cube: CubeState
    pieces: tuple[Piece, ...]
    edges: tuple[Window, ...]
    tail: tuple[Window, ...]
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
            marked = any(fit.cube.suspect for fit in fits)
            wrong = "cells of the range are marked as wrong (`fleetcube status`)"
            none = "the range holds no whole bucket" + ("" if view.past is None else " whose cells are still there")
            block = replace(block, reason=wrong if marked else none)
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
    inside, sides = _split(window, grains[0])
    if inside is None:
        return cover(window, grains[1:])
    left, right = (cover(side, grains[1:]) for side in sides)
    return [*left[0], (grains[0], inside), *right[0]], [*left[1], *right[1]]


def _split(window: Window, grain: str) -> tuple[Window | None, tuple[Window, Window]]:
    """The whole buckets of a grain in a range (None: there are none), and what is left before and after them."""
    nothing = Window(0, 0)
    start = None if window.start is None else GRAINS[grain].ceil_us(window.start)
    end = None if window.end is None else GRAINS[grain].floor_us(window.end)
    inside = Window(start, end)
    if inside.empty:
        return None, (nothing, nothing)
    before = nothing if start is None else Window(window.start, start)
    return inside, (before, nothing if end is None else Window(end, window.end))


@dataclass(frozen=True)
class _Tiling:
    """Runs of whole buckets and edges, both in order of time, and about how many cells and rows they read."""

    runs: tuple[Piece, ...] = ()
    edges: tuple[Window, ...] = ()
    rows: float = 0.0

    def then(self, other: _Tiling) -> _Tiling:
        return _Tiling(self.runs + other.runs, self.edges + other.edges, self.rows + other.rows)


class _Search:
    """Looks for the cheapest tiling; ranges come up again, so what was found for them is kept."""

    def __init__(self, fit: Fit, state: FactState) -> None:
        self.fit, self.state = fit, state
        self.found: dict[tuple[Window, int, bool], _Tiling | None] = {}

    def cheapest(self, window: Window, grains: Sequence[str], *, bucketed: bool) -> _Tiling | None:
        """The tiling that reads least over grains from coarse to fine; `bucketed` wants a whole bucket in it."""
        key = (window, len(grains), bucketed)
        if key not in self.found:
            options = self._options(window, grains, bucketed)
            self.found[key] = min(options, key=lambda one: one.rows, default=None)
        return self.found[key]

    def _options(self, window: Window, grains: Sequence[str], bucketed: bool) -> list[_Tiling]:
        if window.empty:
            return [] if bucketed else [_Tiling()]
        if not grains:
            if bucketed or self.fit.cube.expired.lacks_rows(*window.moments()):
                return []
            return [_Tiling((), (window,), self.state.trusted.rows * _share(window, self.state))]
        options = [self.cheapest(window, grains[1:], bucketed=bucketed)]
        inside, sides = _split(window, grains[0])
        if inside is not None and not self.fit.cube.expired.lacks_cells(grains[0], *inside.moments()):
            middle = self._middle(inside, grains, bucketed)
            before, after = (self.cheapest(side, grains[1:], bucketed=False) for side in sides)
            if before is not None and middle is not None and after is not None:
                options.insert(0, before.then(middle).then(after))
        return [one for one in options if one is not None]

    def _middle(self, inside: Window, grains: Sequence[str], bucketed: bool) -> _Tiling | None:
        """Whole buckets of the first grain, run by run that tells as much; finer ones where it is too little."""
        grain, cube = grains[0], self.fit.cube
        found = _Tiling()
        marked = cube.suspect.get(grain, ())
        told_as = told_runs(inside, grain, cube.expired)
        for dropped, run, bad in ((names, *part) for names, whole in told_as for part in cut(whole, marked)):
            told = [] if bad else told_cuboids(cube.cube, cube.cube.cuboids, dropped)
            cuboid = next((one for one in self.fit.cuboids[grain] if one in told), None)
            if cuboid is None:
                other = self.cheapest(run, grains[1:], bucketed=False)
                if other is None:
                    return None
                found = found.then(other)
            else:
                cells = cube.rows.get((grain, cuboid), 0) * _share(run, self.state)
                found = found.then(_Tiling((Piece(grain, cuboid, run),), (), cells))
        return found if found.runs or not bucketed else None


def told_runs(inside: Window, grain: str, expired: Expired) -> list[tuple[frozenset[str], Window]]:
    """A run of whole buckets in pieces that tell equally much, in order of time, each with what it doesn't tell."""
    found: list[tuple[frozenset[str], Window]] = []

    def add(names: frozenset[str], run: Window) -> None:
        if found and found[-1][0] == names:
            run = Window(found.pop()[1].start, run.end)
        found.append((names, run))

    at = inside.start
    for (of_grain, segment), names in sorted(expired.untold.items()):
        start, end = (micros(moment) for moment in segment_range(of_grain, segment))
        run = Window(start, end).meet(inside)
        if of_grain != grain or run.empty:
            continue
        if at is None or at < start:
            add(frozenset(), Window(at, start))
        add(names, run)
        at = end
    if at is None or inside.end is None or at < inside.end:
        add(frozenset(), Window(at, inside.end))
    return found


def _tilings(block: Block, fit: Fit, state: FactState) -> list[Plan]:
    """The cheapest tiling of the block's range with at least one whole bucket, or none."""
    coarse_first = [grain for grain in reversed(fit.cube.cube.grains) if grain in fit.cuboids]
    best = _Search(fit, state).cheapest(block.window, coarse_first, bucketed=True)
    if best is None:
        return []
    pieces: list[Piece] = []
    tail: list[Window] = []
    for piece in best.runs:
        met = bool(pieces) and pieces[-1].window.end == piece.window.start
        if met and (pieces[-1].grain, pieces[-1].cuboid) == (piece.grain, piece.cuboid):
            piece = Piece(piece.grain, piece.cuboid, Window(pieces.pop().window.start, piece.window.end))
        pieces.append(piece)
        tail.append(Window(tail.pop().start, piece.window.end) if met else piece.window)
    newer = tuple(tail) if fit.cube.lagging else ()
    return [Plan(block, fit.cube, tuple(pieces), best.edges, newer, best.rows, fit.kept)]


def _share(window: Window, state: FactState) -> float:
    """The part of the fact's time that a range takes, as if rows were spread evenly."""
    if window.start is None or window.end is None:
        return 1.0
    return min(1.0, (window.end - window.start) / 1e6 / state.span_s)
