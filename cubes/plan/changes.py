"""What a changed definition means for what is built: the differences, and the cheapest way to the new cells. Pure.

New cells can be made from old ones when the fact, the filter and the dimensions allow it: then history that trusted no
longer has stays, and no row is read. Only states and distributions that the old cells lack take the trusted rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from cubes.cuboids import is_within
from cubes.model import Cube, Sketch, State
from lake.times import GRAINS

# Fields that change no cell, and those that `compare` looks at itself.
_FREE = {"name", "digest", "description", "keep", "age_out", "budget", "budget_bytes", "budget_from_mib", "measures"}
_SEEN = {"grains", "dimensions", "cuboids", "states", "sketches"}


@dataclass(frozen=True)
class Change:
    """From one definition to another. Cuboids are named by their dimensions; `gone` holds what the new one lacks.

    `grains_from` and `cuboids_from` say of which old grain and cuboid each new one is made. `from_rows` are the states
    and sketches that only trusted rows can give. `reason` says why no cell can be made from old ones (empty: all can).
    """

    added: Mapping[str, tuple[str, ...]]
    gone: Mapping[str, tuple[str, ...]]
    grains_from: Mapping[str, str]
    cuboids_from: Mapping[int, int]
    states: tuple[State, ...]
    sketches: tuple[Sketch, ...]
    reason: str = ""

    @property
    def way(self) -> str:
        """`cells` (old cells only), `cells and rows` (new states from rows), or `rows` (built anew)."""
        if self.reason:
            return "rows"
        return "cells and rows" if self.states or self.sketches else "cells"


def compare(old: Cube, new: Cube) -> Change:
    """What changes from `old` to `new`, two definitions of one cube."""
    grains = {grain: _grain_from(old, grain) for grain in new.grains}
    reason = _against(old, new, grains)
    cuboids = {} if reason else {cuboid: _cuboid_from(old, new, cuboid) for cuboid in new.cuboids}
    held = {(state.name, state.type, state.predicate) for state in old.states}
    states = tuple(state for state in new.states if (state.name, state.type, state.predicate) not in held)
    sketches = tuple(one for one in new.sketches if not reason and sketch_from(old, new, one) is None)
    before, after = _parts(old), _parts(new)
    return Change(
        added={kind: tuple(one for one in after[kind] if one not in before[kind]) for kind in after},
        gone={kind: tuple(one for one in before[kind] if one not in after[kind]) for kind in before},
        grains_from=grains,
        cuboids_from=cuboids,
        states=states,
        sketches=sketches,
        reason=reason,
    )


def sketch_from(old: Cube, new: Cube, wanted: Sketch) -> dict[tuple[str, int], tuple[str, int]] | None:
    """For each (grain, cuboid) of a new sketch the old one that its rows are made of; None when some have none."""
    held = [one for one in old.sketches if _same_kind(one, wanted)]
    found: dict[tuple[str, int], tuple[str, int]] = {}
    for grain in wanted.grains:
        for cuboid in wanted.cuboids:
            mask = old.mask(new.kept(cuboid))
            sources = [
                (bin(parent ^ mask).count("1"), -GRAINS[finer].seconds, finer, parent)
                for sketch in held
                for finer in sketch.grains
                for parent in sketch.cuboids
                if is_within(mask, parent) and _makes(finer, grain)
            ]
            if not sources:
                return None
            # At the grain itself if there is one, then of the cuboid that is nearest.
            best = min(sources, key=lambda one: (one[2] != grain, one[1], one[0], one[3]))
            found[grain, cuboid] = (best[2], best[3])
    return found


def rest_of(new: Cube, change: Change) -> Cube:
    """The part of a cube that takes trusted rows: all its cells, but only the states and sketches that are missing."""
    return replace(new, states=change.states, sketches=change.sketches, measures=(), digest=f"rest-{new.digest}")


def _against(old: Cube, new: Cube, grains: Mapping[str, str]) -> str:
    """Why no new cell can be made of old ones; empty when all can."""
    changed = [
        one.name
        for one in fields(Cube)
        if one.name not in _FREE | _SEEN and getattr(old, one.name) != getattr(new, one.name)
    ]
    if changed:
        return f"{', '.join(changed)} changed"
    missing = [name for name in new.dimensions if name not in old.dimensions]
    if missing:
        return f"old cells lack {', '.join(missing)}"
    finer = [grain for grain, source in grains.items() if not source]
    return f"old cells are coarser than {', '.join(finer)}" if finer else ""


def _grain_from(old: Cube, grain: str) -> str:
    """The old grain that a new one is made of: itself, or the coarsest that makes it; empty where there is none."""
    if grain in old.grains:
        return grain
    return next((one for one in reversed(old.grains) if _makes(one, grain)), "")


def _cuboid_from(old: Cube, new: Cube, cuboid: int) -> int:
    """The old cuboid with the fewest further dimensions; there is always the base."""
    mask = old.mask(new.kept(cuboid))
    return min((one for one in old.cuboids if is_within(mask, one)), key=lambda one: (bin(one ^ mask).count("1"), one))


def _makes(finer: str, grain: str) -> bool:
    return finer == grain or GRAINS[finer].makes(GRAINS[grain])


def _same_kind(one: Sketch, other: Sketch) -> bool:
    return replace(one, grains=(), cuboids=()) == replace(other, grains=(), cuboids=())


def _parts(cube: Cube) -> dict[str, tuple[str, ...]]:
    """What a definition consists of, in words."""
    return {
        "dimensions": cube.dimensions,
        "grains": cube.grains,
        "cuboids": tuple(" × ".join(cube.kept(cuboid)) or "(total)" for cuboid in cube.cuboids),
        "measures": tuple(measure.name for measure in cube.measures),
        "states": tuple(state.name for state in cube.states),
        "distributions": tuple(f"{sketch.name} at {grain}" for sketch in cube.sketches for grain in sketch.grains),
        "filter": (cube.where,) if cube.where else (),
    }
