"""The smallest change of a definition that would make a block fit, tried out before it is told.

Each cube over the fact is changed by what it lacks (`cubes.route.needs`); the changed definition is read as from a
file, and the statement planned with a cube of it that isn't there. What is planned from it would fit once it is built.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cubes.load import read_cube
from cubes.measures import quoted
from cubes.route.bind import bind
from cubes.route.blocks import blocks
from cubes.route.match import match
from cubes.route.named import named
from cubes.route.needs import Edit, Fields, counted, needs
from cubes.route.observed import observed
from cubes.route.parse import parse
from cubes.route.policy import policy
from cubes.route.rates import rates
from cubes.route.statement import Statement
from cubes.route.tile import tile
from cubes.route.view import CubeState, View
from cubes.segments import bucket_us_sql, table_of
from cubes.spell import field_lines, plain_fields
from lake.delta import Snapshot
from lake.documents import Document
from lake.errors import DefinitionError
from lake.facts import load_facts

if TYPE_CHECKING:
    from cubes.model import Cube
    from cubes.route.statement import Block
    from cubes.spec import CubeSpec

_PASSES: Final = (parse, named, bind, policy, observed, rates, blocks, match, tile)
_ROUNDS: Final = 4
# Rows up to which a base cuboid's cells are counted for the sake of telling.
_COUNTED: Final = 2_000_000


@dataclass(frozen=True)
class Change:
    """A cube's definition as it would have to be: `fields` are those that change, of measures the new ones only."""

    cube: Cube
    edits: tuple[str, ...]
    fields: Fields
    is_new: bool = False


def suggest(statement: Statement, view: View, specs: Mapping[str, CubeSpec]) -> dict[int, list[str]]:
    """By place of a block that no cube answers, lines that say what would; empty where no definition can help."""
    found = {}
    for place, (block, tried) in enumerate(zip(statement.blocks, statement.candidates, strict=True)):
        planned = place < len(statement.plans) and statement.plans[place] is not None
        if not statement.raw and not planned and (tried or not view.fact(block.fact).cubes):
            change = smallest(place, statement, view, specs)
            found[place] = _lines(change, view) if change is not None else []
    return found


def smallest(place: int, statement: Statement, view: View, specs: Mapping[str, CubeSpec]) -> Change | None:
    """The change with the fewest edits after which the block at that place would fit; None where none was found."""
    fact = statement.blocks[place].fact
    mine = [spec for spec in specs.values() if spec.fact == fact]
    changes = [_change(place, statement, view, plain_fields(spec)) for spec in mine]
    if not mine:
        changes = [_change(place, statement, view, _bare(fact), is_new=True)]
    fitting = [one for one in changes if one is not None]
    return min(fitting, key=lambda one: (len(one.edits), len(one.cube.dimensions), one.cube.name), default=None)


def _change(place: int, statement: Statement, view: View, fields: Fields, *, is_new: bool = False) -> Change | None:
    said = copy.deepcopy(fields)
    edits: list[str] = []
    for _ in range(_ROUNDS):
        try:
            cube = read_cube(Document(Path(f"{said['cube']}.yaml"), said, {}), load_facts())
        except DefinitionError:
            return None
        held = _as_if_built(cube, statement.blocks[place], view)
        tried, seen = _planned(statement.text, cube, held, view)
        block = tried.blocks[place]
        found: Sequence[Edit] = ()
        if tried.plans[place] is None:
            found = needs(block, held, seen) if tried.candidates[place] else ()
        elif edits or is_new or _waits(cube, statement.blocks[place], view):
            return Change(cube, tuple(edits), _differing(fields, said, is_new), is_new)
        else:
            # It fits but for the number of distinct values, which only a look at the cells told.
            found = counted(block, cube)
        if not found:
            return None
        for edit in found:
            edit.make(said)
        edits += [edit.said for edit in found]
    return None


def _waits(cube: Cube, block: Block, view: View) -> bool:
    """Whether the cube as it is declared has yet to be built, or built anew."""
    held = next((one for one in view.fact(block.fact).cubes if one.cube.digest == cube.digest), None)
    return held is None or held.withdrawn or bool(held.stale)


def _planned(text: str, cube: Cube, held: CubeState, view: View) -> tuple[Statement, View]:
    """The statement planned with a cube in the place of every other over its fact."""
    others = tuple(one for one in view.shelf.cubes if one.name != cube.name)
    state = replace(view.fact(cube.fact), cubes=(held,), unbuilt=())
    seen = View(replace(view.shelf, cubes=(*others, cube)), view.now, view.fresh, view.policy, past=view.past)
    seen.pins.update({**view.pins, cube.fact: state})
    seen.lookups.update(view.lookups)
    statement = Statement(text)
    for step in _PASSES:
        statement = step(statement, seen)
    return statement, seen


def _as_if_built(cube: Cube, block: Block, view: View) -> CubeState:
    """The cube as it would stand after a build; what has expired, or is marked as wrong, stays so."""
    state = view.fact(block.fact)
    ref = table_of(cube)
    nothing = Snapshot(ref, ref.path(view.shelf.lake), -1, (), None)
    old = next((one for one in state.cubes if one.cube.name == cube.name), None)
    if old is None:
        return CubeState(cube, nothing, 1, state.trusted.txn("gate") or 0, state.trusted.version, {})
    return replace(old, cube=cube, rows={}, lagging=False, withdrawn=False, stale=frozenset())


def _differing(before: Fields, after: Fields, is_new: bool) -> Fields:
    if is_new:
        return after
    found = {name: value for name, value in after.items() if name != "measures" and value != before.get(name)}
    held = before["measures"]
    measures = {name: one for name, one in after["measures"].items() if one != held.get(name)}
    return {**found, **({"measures": measures} if measures else {})}


def _bare(fact: str) -> Fields:
    """The least definition over a fact: days by its first dimension, counted."""
    texts = [column.name for column in load_facts()[fact].dimensions if column.type == "string"]
    first = "metric" if "metric" in texts else texts[0]
    form = {"cube": f"{fact}_own", "fact": fact, "grains": ["1d"], "dimensions": [first]}
    return {**form, "measures": {"rows": {"count": "*"}}}


def _lines(change: Change, view: View) -> list[str]:
    name = change.cube.name
    if not change.edits and not change.is_new:
        return [f"would fit: cube {name} as it is declared, once `fleetcube build {name}` has run"]
    what = f"a new cube {name}" if change.is_new else f"cube {name} with {', '.join(change.edits)}"
    told = "in a file of the folder `definitions`" if change.is_new else "changed in its definition; measures are added"
    lines = [f"would fit: {what} ({told}):", *(f"  {line}" for line in field_lines(change.fields))]
    return [*lines, *_forecast(change, view)]


def _forecast(change: Change, view: View) -> list[str]:
    """How many cells the base cuboid would have, where that is cheap to count."""
    cube, state = change.cube, view.fact(change.cube.fact)
    advice = f"`fleetcube cube forecast {cube.name}` tells what it takes, once it is declared"
    if state.trusted.rows > _COUNTED or cube.derived:
        return [advice]
    grain = cube.grains[0]
    dims = ", ".join(quoted(name) for name in cube.dimensions)
    where = f" WHERE {cube.where}" if cube.where else ""
    cells = (
        f"SELECT DISTINCT {bucket_us_sql(grain, 'epoch_us(ts)')}, {dims} FROM {view.duck.scan(state.trusted)}{where}"
    )
    [(count,)] = view.duck.sql(f"SELECT count(*) FROM ({cells})")
    held = next((one for one in state.cubes if one.cube.name == cube.name), None)
    now = 0 if held is None else held.rows.get((held.cube.grains[0], held.cube.base), 0)
    before = f", now {now} at {held.cube.grains[0]}" if held is not None else ""
    return [f"its finest cuboid would have {count} cells at {grain}{before}; {advice}"]
