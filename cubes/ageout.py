"""Age-out: what a segment of cells holds once it no longer tells some of the dimensions.

Every cuboid gives those dimensions up: its cells are merged under the dimensions that are left, and cuboids that then
keep the same ones are one. So a segment that has aged holds a cuboid for each question that it could answer before
without the dimension, distributions included; and it holds no more cells than it did.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cubes.compact import merged_sql
from cubes.measures import quoted
from cubes.model import Cube


def told_cuboids(cube: Cube, cuboids: Iterable[int], dropped: Collection[str]) -> dict[int, int]:
    """{cuboid without the dropped dimensions: the one of `cuboids` that it is made of}, that with fewest dimensions."""
    left = told_mask(cube, dropped)
    found: dict[int, int] = {}
    for cuboid in sorted(cuboids, key=lambda one: (one.bit_count(), one)):
        found.setdefault(cuboid & left, cuboid)
    return found


def told_mask(cube: Cube, dropped: Collection[str]) -> int:
    """The cuboid of all dimensions that are still told."""
    return cube.base & ~cube.mask(name for name in dropped if name in cube.dimensions)


def told_sql(cube: Cube, cells: str, dropped: Collection[str], held: Collection[str] = ()) -> str:
    """SELECT of partial cells and slots of a relation (in brackets) without these dimensions, one way to each cuboid.

    `held` are those of them that the relation's cells don't tell already.
    """
    left = told_mask(cube, dropped)

    def listed(cuboids: Iterable[int]) -> str:
        ways = told_cuboids(cube, told_cuboids(cube, cuboids, held), dropped)
        return ", ".join(map(str, sorted(ways.values())))

    slots = "".join(f" OR (sketch = '{one.name}' AND cuboid IN ({listed(one.cuboids)}))" for one in cube.sketches)
    texts = "".join(f", CAST(NULL AS VARCHAR) AS {quoted(name)}" for name in cube.dimensions if name in dropped)
    return f"""SELECT * REPLACE (cuboid & {left} AS cuboid{texts}) FROM {cells}
        WHERE (sketch IS NULL AND cuboid IN ({listed(cube.cuboids)})){slots}"""


def told_merged_sql(cube: Cube, cells: str, dropped: Collection[str], held: Collection[str] = ()) -> str:
    """The same, merged: what a segment's file holds."""
    return merged_sql(cube, f"({told_sql(cube, cells, dropped, held)})")
