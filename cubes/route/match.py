"""Which cuboids can answer a block, and what speaks against each of the others.

A cuboid fits when it keeps the dimensions of keys and predicates, its buckets fit the block's expressions of time, and
the cube keeps every state. When unsure it does not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cubes.histograms import COUNTS, LOOKUP
from cubes.route.aliases import against_aliases, named_in
from cubes.route.beside import against_derived
from cubes.route.implied import implied, needed_dims, parts_of
from cubes.route.parts import predicate_key

if TYPE_CHECKING:
    from cubes.route.statement import Block, Statement
    from cubes.route.view import CubeState, View


@dataclass(frozen=True)
class Fit:
    """A cube that can answer a block: by grain, the fitting cuboids, the cheapest first; `kept` as in Plan."""

    cube: CubeState
    cuboids: Mapping[str, tuple[int, ...]]
    kept: Mapping[str, str]


@dataclass(frozen=True)
class Candidate:
    """One cuboid of one grain as `explain` shows it; `reason` is empty when it fits."""

    cube: str
    grain: str
    cuboid: str
    rows: int
    reason: str


def match(statement: Statement, view: View) -> Statement:
    """The statement with the fitting cuboids of every block, and a reason for each block that has none."""
    if statement.raw:
        asked = tuple(
            replace(block, reason=block.reason or "rows were asked for by --raw") for block in statement.blocks
        )
        return replace(statement, blocks=asked, fits=((),) * len(asked), candidates=((),) * len(asked))
    blocks, fits, candidates = [], [], []
    for block in statement.blocks:
        found, tried = _fits(block, view) if not block.reason else ([], [])
        if not found and not block.reason:
            block = replace(block, reason=_why(block, tried, view))
        blocks.append(block)
        fits.append(tuple(found))
        candidates.append(tuple(tried))
    return replace(statement, blocks=tuple(blocks), fits=tuple(fits), candidates=tuple(candidates))


def _fits(block: Block, view: View) -> tuple[list[Fit], list[Candidate]]:
    found, tried = [], []
    for state in view.fact(block.fact).cubes:
        kept = kept_counts(block, state, view)
        against = against_aliases(block, state.cube, view) or _against_cube(block, state, kept)
        needed = needed_dims(block, state.cube, kept)
        derived = [one for name, one in view.derived(block.fact).items() if name in needed]
        plain = needed - {one.name for one in derived}
        best: dict[str, tuple[int, ...]] = {}
        for grain in state.cube.grains:
            reason = against or _against_grain(block, state, grain)
            fitting = []
            for cuboid in state.expired.cuboids(state.cube, grain):
                missing = sorted(plain - set(state.cube.kept(cuboid)))
                why = reason or (f"lacks {', '.join(missing)}" if missing else "")
                why = why or _against_slots(block, state, cuboid, grain)
                for one in derived:
                    why = why or against_derived(one, state, cuboid, grain, view)
                rows = state.rows.get((grain, cuboid), 0)
                tried.append(Candidate(state.cube.name, grain, cuboid_name(state, cuboid), rows, why))
                if not why:
                    fitting.append((rows, cuboid.bit_count(), cuboid))
            if fitting:
                best[grain] = tuple(cuboid for _, _, cuboid in sorted(fitting))
        if best:
            found.append(Fit(state, best, kept))
    return found, tried


def cuboid_name(state: CubeState, cuboid: int) -> str:
    """A cuboid by the dimensions that it keeps."""
    return " × ".join(state.cube.kept(cuboid)) or "(total)"


def kept_counts(block: Block, state: CubeState, view: View) -> dict[str, str]:
    """Conditional counts of the cube that equal a part, for parts whose dimensions a cuboid may then lack."""
    counts = {
        predicate_key(one.predicate): one.name
        for one in state.cube.states
        # Counted by old names: what holds by new ones may be more.
        if one.function == "where" and not (view.aliases and named_in(one.predicate) & set(view.aliases))
    }
    return {part.name: counts[part.where] for part in block.parts if part.where in counts}


def _against_cube(block: Block, state: CubeState, kept: Mapping[str, str]) -> str:
    if state.withdrawn:
        return "trusted rows were withdrawn since it was built"
    if state.cube.where:
        held = {predicate_key(node) for node in implied(block, state.cube)}
        if parts_of(state.cube.where) - held:
            return f"holds only rows with {state.cube.where}"
    names = {one.name for one in state.cube.states}
    missing = sorted({name for part in block.parts if part.name not in kept for name in part.states} - names)
    if missing:
        return f"keeps no {', '.join(missing)}"
    if COUNTS in block.sketches and LOOKUP in state.stale:
        return f"lookup {LOOKUP} has changed since it was built"
    slots = sorted(block.sketches - {sketch.name for sketch in state.cube.sketches})
    return f"keeps no slots of {', '.join(slots)}" if slots else ""


def _against_grain(block: Block, state: CubeState, grain: str) -> str:
    if grain in block.misfits:
        return block.misfits[grain]
    for sketch in state.cube.sketches:
        if sketch.name in block.sketches and grain not in sketch.grains:
            return f"keeps slots of {sketch.name} at {', '.join(sketch.grains)} only"
    return ""


def _against_slots(block: Block, state: CubeState, cuboid: int, grain: str) -> str:
    """Slots are kept in some of the cuboids only."""
    lacking = sorted(
        sketch.name
        for sketch in state.cube.sketches
        if sketch.name in block.sketches and not state.expired.keeps(state.cube, sketch, cuboid, grain)
    )
    return f"keeps no slots of {', '.join(lacking)}" if lacking else ""


def _why(block: Block, tried: list[Candidate], view: View) -> str:
    """The reason against the nearest candidate."""
    unbuilt = view.fact(block.fact).unbuilt
    if not tried:
        built = "is not built yet" if view.past is None else f"has no cells as of then ({view.past.asked})"
        return f"cube {', '.join(unbuilt)} {built}" if unbuilt else f"no cube is declared on {block.fact}"
    # A lookup that has changed is news; that another cuboid lacks the dimension is not.
    nearest = min(
        tried, key=lambda one: ("lookup" not in one.reason, one.reason.count(","), len(one.reason), -one.rows)
    )
    return f"cube {nearest.cube} at {nearest.grain}: {nearest.reason}"
