"""A segment of cells without some dimensions: written beside the old one, and proven before anything goes.

Each cuboid that gives a dimension up is set against what is then stored of the dimensions that it has left: its own
cells, merged, must be those cells, in every state, and its slots those slots.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cubes.ageout import told_cuboids, told_mask, told_merged_sql
from cubes.compact import layout_of
from cubes.expired import Expired
from cubes.measures import install, quoted
from cubes.model import Cube
from cubes.reconcile import summed
from cubes.segments import table_of
from lake import delta

if TYPE_CHECKING:
    from lake.delta import DataFile
    from lake.duck import Duck
    from lake.settings import Settings


@dataclass(frozen=True)
class Untold:
    """Files to put in the place of a segment's: `against` says why they must not be (empty: they hold all they should).

    `shown` is the proof, for the record.
    """

    adds: tuple[DataFile, ...]
    removes: tuple[DataFile, ...]
    against: str
    shown: dict[str, Any]


def untell(
    settings: Settings,
    duck: Duck,
    cube: Cube,
    gone: Expired,
    *,
    grain: str,
    segment: str,
    dropped: Collection[str],
    stem: str,
) -> Untold:
    """Write a segment's cells without the dimensions `dropped` to files named by `stem`; nothing is committed.

    The caller holds the table's lease.
    """
    install(duck)
    cells = delta.open_snapshot(settings.lake, table_of(cube))
    place = {"grain": grain, "segment": segment}
    removes = tuple(file for file in cells.files if dict(file.partition) == place)
    old = duck.scan(cells, cells.paths(lambda file: file in removes))
    held = gone.dropped(grain, segment)
    names = held | frozenset(dropped)
    layout = layout_of(cube)
    adds = duck.write(
        told_merged_sql(cube, old, names, held),
        settings.lake,
        cells.ref,
        stem,
        stats=layout.stats,
        order=layout.order,
        partition=place,
    )
    written = {file.path for file in adds}
    there = delta.Snapshot(cells.ref, cells.root, cells.version, tuple(adds), None)
    new = duck.scan(there, there.paths(lambda file: file.path in written))
    against = _differences(duck, cube, (old, new), names, held)
    [(before,)] = duck.sql(f"SELECT count(*) FROM {old}")
    after, rows, digest = summed(duck, cube, f"(SELECT * FROM {new} WHERE cuboid = {told_mask(cube, names)})")
    shown = {
        "definition": cube.digest,
        "version": cells.version,
        "dropped": sorted(names),
        "cells": [before, sum(file.rows for file in adds)],
        "base": {"cells": after, "rows": rows, "digest": digest},
    }
    return Untold(tuple(adds), removes, "; ".join(against), shown)


def _differences(
    duck: Duck, cube: Cube, sides: tuple[str, str], dropped: frozenset[str], held: frozenset[str]
) -> list[str]:
    """What the new cells hold otherwise than the old ones, cuboid by cuboid."""
    old, new = sides
    left = told_mask(cube, dropped)
    texts = "".join(f", CAST(NULL AS VARCHAR) AS {quoted(name)}" for name in cube.dimensions if name in dropped)
    found = []
    stored: dict[tuple[int, str], tuple[Any, ...]] = {}
    for cuboid in told_cuboids(cube, cube.cuboids, held):
        slots = [one.name for one in cube.sketches if cuboid in told_cuboids(cube, one.cuboids, held)]
        kept = "(sketch IS NULL" + "".join(f" OR sketch = '{name}'" for name in slots) + ")"
        made = f"(SELECT * REPLACE (cuboid & {left} AS cuboid{texts}) FROM {old} WHERE cuboid = {cuboid} AND {kept})"
        key = (cuboid & left, kept)
        if key not in stored:
            stored[key] = summed(duck, cube, f"(SELECT * FROM {new} WHERE cuboid = {cuboid & left} AND {kept})")
        one, other = summed(duck, cube, made), stored[key]
        if one != other:
            by = ", ".join(cube.kept(cuboid)) or "nothing"
            said = f"make {one[0]} cells and slots of {one[1]} rows, not the {other[0]} of {other[1]} written"
            found.append(f"cells by {by} {said}")
    return found
