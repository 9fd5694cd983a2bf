"""Cells that are marked as wrong, as ranges that a plan goes round: finer cells or rows answer there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

from cubes.route.span import Window, micros
from cubes.stored import inherited
from lake.suspects import Suspect, active
from lake.times import GRAINS

if TYPE_CHECKING:
    from cubes.model import Cube
    from lake.delta import Snapshot


def suspect_windows(marks: Iterable[Suspect], cube: Cube, cells: Snapshot) -> Mapping[str, tuple[Window, ...]]:
    """By grain, the ranges of whole buckets that are marked in a version of a cube's table, in order of time."""
    mine = [one for one in marks if one.cube == cube.name]
    found: dict[str, list[Window]] = {}
    for one in active(mine, (cube.digest, *inherited(cells)), cells.version) if mine else ():
        if one.grain in cube.grains:
            found.setdefault(one.grain, []).append(_window(one))
    return {grain: tuple(sorted(windows, key=lambda one: one.start or 0)) for grain, windows in found.items()}


def cut(run: Window, suspects: Sequence[Window]) -> list[tuple[Window, bool]]:
    """A range in pieces, in order of time, each with whether it is marked; `suspects` are in order of time.

    >>> [(piece.start, piece.end, bad) for piece, bad in cut(Window(0, 9), [Window(2, 4), Window(3, 5)])]
    [(0, 2, False), (2, 4, True), (4, 5, True), (5, 9, False)]
    """
    found: list[tuple[Window, bool]] = []
    left = run
    for suspect in suspects:
        bad = suspect.meet(left)
        if bad.empty:
            continue
        before = Window(left.start, bad.start)
        if left.start is None or left.start < (bad.start or 0):
            found.append((before, False))
        found.append((bad, True))
        left = Window(bad.end, left.end)
    return found if left.empty else [*found, (left, False)]


def _window(one: Suspect) -> Window:
    grain = GRAINS[one.grain]
    first, after = (datetime.combine(day, time(), tzinfo=UTC) for day in (one.first, one.last + timedelta(days=1)))
    return Window(micros(grain.floor(first)), micros(grain.ceil(after)))
