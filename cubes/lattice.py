"""The picture of a cube's lattice as plain text: levels by the number of dimensions, the base on top."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from cubes.cuboids import is_within
from cubes.model import Cube


def draw(cube: Cube, cells: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Lines: for each level its cuboids, from which cuboid each can be made at least cost, and cells at each grain.

    `cells` is {grain: {cuboid as text: cells}}; a cuboid that has none yet shows a dash.
    """
    possible = 1 << len(cube.dimensions)
    lines = [f"lattice: {len(cube.cuboids)} of {possible:,} cuboids; cells at {' | '.join(cube.grains)}"]
    ordered = sorted(cube.cuboids, key=lambda cuboid: (-cuboid.bit_count(), cuboid))
    numbers = {cuboid: number for number, cuboid in enumerate(ordered, 1)}
    width = len(str(len(ordered)))
    for count, level in groupby(ordered, key=int.bit_count):
        lines.append(f"{count} dimension{'' if count == 1 else 's'}")
        for cuboid in level:
            parent = _parent(cube, cuboid, cells)
            made = f" <- {numbers[parent]}" if parent is not None else " (base)"
            held = " | ".join(_shown(cells.get(grain, {}).get(str(cuboid))) for grain in cube.grains)
            lines.append(f"  {numbers[cuboid]:>{width}}  {_kept(cube, cuboid)}{made}: {held}")
    return lines


def _parent(cube: Cube, cuboid: int, cells: Mapping[str, Mapping[str, int]]) -> int | None:
    """Of the cuboids that keep more, that with fewest cells of the finest grain (fewest dimensions where not built)."""
    above = [one for one in cube.cuboids if one != cuboid and is_within(cuboid, one)]
    finest = cells.get(cube.grains[0], {})
    return min(above, key=lambda one: (finest.get(str(one), 0), one.bit_count(), one), default=None)


def _kept(cube: Cube, cuboid: int) -> str:
    derived = {one.name: one.lookup or "band" for one in cube.derived}
    names = (f"{name} ({derived[name]})" if name in derived else name for name in cube.kept(cuboid))
    return ", ".join(names) or "(total)"


def _shown(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
