"""What a definition lacks for a block, as edits of the fields that a person writes: dimensions, grains, measures.

An edit is told in words and made on the definition's plain fields; whether it is enough is for `cubes.route.suggest` to
try. What depends on other edits (slots at a grain that is to be added) comes in the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from cubes.derived import keys
from cubes.histograms import COUNTS
from cubes.route.implied import implied, needed_dims, parts_of
from cubes.route.match import kept_counts
from cubes.route.parts import predicate_key
from lake.times import GRAINS

if TYPE_CHECKING:
    from cubes.model import Cube, Sketch
    from cubes.route.span import Window
    from cubes.route.statement import Block
    from cubes.route.view import CubeState, View

Fields = dict[str, Any]
_STATES: Final = ("last_at", "last", "weighted", "weight", "fractions", "squares", "count", "sum", "min", "max")
# Weeks begin on a day of the definition's choice, and a month is never the only grain that fits.
_OFFERED: Final = tuple(name for name, grain in GRAINS.items() if grain.within_day)


@dataclass(frozen=True)
class Edit:
    """One change, in words, and as it is made on a definition's fields."""

    said: str
    make: Callable[[Fields], None]


def needs(block: Block, state: CubeState, view: View) -> list[Edit]:
    """What the cube's definition lacks for the block, as far as it can be told now; nothing where no edit helps."""
    cube = state.cube
    kept = kept_counts(block, state, view)
    wanted = needed_dims(block, cube, kept)
    found = [*_filter(block, cube), *_dimensions(wanted, block, cube, view), *_grains(block, cube)]
    if found:
        return found
    states = {name for part in block.parts if part.name not in kept for name in part.states}
    found = _measures(states - {one.name for one in cube.states})
    for name in sorted(block.sketches):
        held = next((one for one in cube.sketches if one.name == name), None)
        found += _slots(name, held, block, cube, wanted)
    return found


def counted(block: Block, cube: Cube) -> list[Edit]:
    """The dimensions by which exact numbers of distinct values are counted, where there are more than hashes keep."""
    columns = {term.distinct.column for term in block.terms if term.distinct is not None and term.distinct.exact}
    return [_dimension(name) for name in sorted(columns - set(cube.dimensions))]


def _filter(block: Block, cube: Cube) -> list[Edit]:
    if not cube.where or not parts_of(cube.where) - {predicate_key(node) for node in implied(block, cube)}:
        return []
    return [Edit(f"no filter (now: {cube.where})", lambda said: said.update(where=""))]


def _dimensions(wanted: Iterable[str], block: Block, cube: Cube, view: View) -> list[Edit]:
    derived, fact = view.derived(block.fact), view.fact(block.fact).fact
    names = {key for name in wanted if name in derived and name not in cube.dimensions for key in keys(derived[name])}
    names |= {name for name in wanted if name not in derived}
    texts = {column.name for column in fact.dimensions if column.type == "string"}
    return [_dimension(name) for name in sorted(names - set(cube.dimensions)) if name in texts]


def _dimension(name: str) -> Edit:
    return Edit(f"dimension {name}", lambda said: said["dimensions"].append(name))


def _grains(block: Block, cube: Cube) -> list[Edit]:
    fitting = _fitting(block, _OFFERED)
    if not fitting or _fitting(block, cube.grains):
        return []
    name = fitting[-1]

    def make(said: Fields) -> None:
        said["grains"] = sorted({*said["grains"], name}, key=lambda one: GRAINS[one].seconds)

    return [Edit(f"grain {name}", make)]


def _fitting(block: Block, names: Iterable[str]) -> list[str]:
    """The grains whose buckets fit the block's expressions of time and lie whole in its range, from fine to coarse."""
    return [name for name in names if name not in block.misfits and _holds(block.window, name)]


def _holds(window: Window, grain: str) -> bool:
    if window.start is None or window.end is None:
        return True
    return GRAINS[grain].ceil_us(window.start) + GRAINS[grain].seconds * 10**6 <= window.end


def _measures(states: Iterable[str]) -> list[Edit]:
    columns: dict[str, set[str]] = {}
    for state in states:
        function = next((one for one in _STATES if state.startswith(f"{one}_")), "")
        columns.setdefault(state.removeprefix(f"{function}_"), set()).add(function)
    found = []
    for column, functions in sorted(columns.items()):
        found += [_measure(f"{one}_{column}", {one: column}) for one in _functions(functions)]
    return found


def _functions(states: set[str]) -> list[str]:
    """The measures that keep these states, as few as can be."""
    found = []
    if states & {"squares", "fractions"}:
        found.append("stddev")
        states = states - {"count", "sum"}
    if {"count", "sum"} <= states:
        found.append("avg")
        states = states - {"count", "sum"}
    found += ["time_avg"] if "weighted" in states else ["coverage"] if "weight" in states else []
    found += ["last"] if states & {"last", "last_at"} else []
    return [*found, *(one for one in ("count", "sum", "min", "max") if one in states)]


def _measure(name: str, form: Mapping[str, Any]) -> Edit:
    def make(said: Fields) -> None:
        free, number = name, 1
        while free in said["measures"]:
            number += 1
            free = f"{name}_{number}"
        said["measures"][free] = dict(form)

    return Edit(f"measure {name}", make)


def _slots(name: str, held: Sketch | None, block: Block, cube: Cube, wanted: frozenset[str]) -> list[Edit]:
    """Slots of a column: declared anew, at a finer grain, or in a cuboid that keeps what is asked for."""
    function, column = ("distinct", name.removeprefix("distinct:")) if ":" in name else ("quantiles", name)
    usable = _fitting(block, cube.grains)
    first = cube.grains.index(usable[-1]) if usable else 0
    # A definition names its week without the day that it begins on.
    from_grain = ["1w" if grain.startswith("1w") else grain for grain in cube.grains[first:]]
    if held is None:
        exact = {} if function == "distinct" or column == COUNTS else {"relative_error": Decimal("0.01")}
        return [_measure(f"{function}_{column}", {function: column, **exact, "grains": from_grain})]
    mine = next(one for one in cube.measures if (one.function, one.column) == (function, column))
    if usable and not set(usable) & set(held.grains):

        def finer(said: Fields) -> None:
            said["measures"][mine.name]["grains"] = from_grain

        return [Edit(f"slots of {column} at {from_grain[0]}", finer)]
    if any(wanted <= set(cube.kept(cuboid)) for cuboid in held.cuboids):
        return []

    def keep(said: Fields) -> None:
        measure = said["measures"][mine.name]
        measure["without"] = [one for one in measure.get("without", ()) if one not in wanted]

    kept = sorted(wanted & set(mine.without))
    return [Edit(f"slots of {column} by {', '.join(kept)}", keep)] if kept else [_cuboid(cube, wanted)]


def _cuboid(cube: Cube, wanted: frozenset[str]) -> Edit:
    """A cuboid of just these dimensions (values of several metrics are never one cell)."""
    names = [name for name in cube.dimensions if name in wanted or name == "metric"]

    def make(said: Fields) -> None:
        said["cuboids"] = [*said.get("cuboids", []), names]

    return Edit(f"cuboid [{', '.join(names)}]", make)
