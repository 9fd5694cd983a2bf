"""Cube definitions: YAML or SQL to `Cube` values, with errors that name file, line and field and propose a correction.

What changes a cell (fact, grains, order of dimensions, cuboids, states, slots, filter) makes the definition's digest;
names of measures, descriptions, `keep`, `age_out` and `budget` don't, so changing those keeps the cells.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, Final

from cubes.cuboids import Group, expand, mask
from cubes.declare import read_statements
from cubes.derived import keys
from cubes.load_derived import read_derived
from cubes.load_measures import read_measures
from cubes.model import Cube, Derived, State
from cubes.reading import Place, Reading
from cubes.spec import CubeSpec, GroupSpec
from lake.documents import Document, read_document
from lake.errors import DefinitionError, did_you_mean
from lake.facts import Fact, load_facts
from lake.times import GRAINS, WEEKS

SHIPPED: Final = Path(__file__).parent / "definitions"
_FORMAT: Final = 1  # of the cells; a greater one makes every digest new
_MOST_DIMENSIONS: Final = 62
_DAYS: Final = {"d": 1, "w": 7, "y": 366}


def load_cubes(folder: Path | None = None, facts: Mapping[str, Fact] | None = None) -> dict[str, Cube]:
    """The shipped cubes by name, then those of the user's `folder`; `facts` defaults to the shipped facts.

    Errors: DefinitionError, which names file and line, for a broken definition and for two cubes of one name.
    """
    known = load_facts() if facts is None else facts
    cubes: dict[str, Cube] = {}
    places: dict[str, str] = {}
    for document in _documents(folder):
        cube = read_cube(document, known)
        if cube.name in cubes:
            there = f"there is a cube '{cube.name}' already, in {places[cube.name]}."
            raise document.error(there, ("cube",), "Give one of them another name.")
        _refuse_other_meanings(document, cube, cubes.values())
        cubes[cube.name] = cube
        places[cube.name] = document.where(("cube",))
    return cubes


def load_specs(folder: Path | None = None) -> dict[str, CubeSpec]:
    """The definitions as they are written, by name; of the same files and with the same errors of form."""
    specs = [document.validate(CubeSpec) for document in _documents(folder)]
    return {spec.cube: spec for spec in specs}


def _documents(folder: Path | None) -> Iterator[Document]:
    """What is declared, in the order of the files: a cube to a YAML file, any number to a file of SQL."""
    for place in (SHIPPED, folder):
        if place is None or place == Path(""):
            continue
        if not place.is_dir():
            raise DefinitionError("no such folder of cubes.", where=str(place), todo="Correct the setting definitions.")
        found = sorted([*place.glob("*.yaml"), *place.glob("*.sql")])
        # A folder of definitions may also hold the rules of retention (lake/retention.py).
        for path in (path for path in found if path.name != "retention.yaml"):
            yield from read_statements(path) if path.suffix == ".sql" else [read_document(path)]


def _refuse_other_meanings(document: Document, cube: Cube, others: Iterable[Cube]) -> None:
    """A name in SQL means one thing: cubes over a fact agree on what their derived dimensions are."""
    known = {one.name: (one, other) for other in others if other.fact == cube.fact for one in other.derived}
    for one in cube.derived:
        if one.name in known and known[one.name][0] != one:
            what = f"dimension '{one.name}' is something else in cube {known[one.name][1].name}."
            place = ("joins", one.lookup, one.name) if one.lookup and not one.edges else ("bands", one.name)
            raise document.error(what, place, "Give it another name.")


def read_cube(document: Document, facts: Mapping[str, Fact]) -> Cube:
    """The cube that one document defines; DefinitionError names the first thing that is wrong."""
    spec = _with_weeks(document.validate(CubeSpec))
    if spec.fact not in facts:
        raise document.error(f"there is no fact '{spec.fact}'.", ("fact",), did_you_mean(spec.fact, facts))
    reader = _Reader(document, spec, facts[spec.fact])
    grains, dimensions = reader.grains(), reader.dimensions()
    own = Reading(document, facts[spec.fact], reader.columns, grains, dimensions)
    derived = read_derived(own, spec.joins, spec.bands)
    dimensions += tuple(one.name for one in derived)
    if len(dimensions) > _MOST_DIMENSIONS:
        todo = "Split the cube."
        raise document.error(f"{len(dimensions)} dimensions are more than {_MOST_DIMENSIONS}.", ("dimensions",), todo)
    reading = replace(own, dimensions=dimensions)
    cuboids = reader.cuboids(reading)
    measures, states, sketches = read_measures(reading, spec.measures, cuboids)
    where = reading.predicate(spec.where, ("where",)) if spec.where else ""
    reader.refuse_mixed_metrics(reading, cuboids, states)
    return Cube(
        name=spec.cube,
        fact=spec.fact,
        grains=grains,
        dimensions=dimensions,
        cuboids=cuboids,
        measures=measures,
        states=states,
        sketches=sketches,
        digest=_digest(
            fact=spec.fact,
            grains=grains,
            dimensions=dimensions,
            cuboids=cuboids,
            states=[[state.name, state.type, state.predicate] for state in states],
            sketches=[
                [sketch.name, sketch.grains, sketch.cuboids, *([sketch.most] if sketch.most else [])]
                for sketch in sketches
            ],
            where=where,
            # Only where there are some, so that cubes without them keep their digests.
            **({"derived": [list(astuple(one)) for one in derived]} if derived else {}),
        ),
        where=where,
        keep=reader.keep(),
        budget=spec.budget.cuboids,
        budget_bytes=spec.budget.bytes_per_raw_byte,
        budget_from_mib=spec.budget.from_mib,
        description=spec.description,
        derived=derived,
        age_out=reader.age_out(dimensions, derived, states),
    )


def _with_weeks(spec: CubeSpec) -> CubeSpec:
    """The form with the grain of its own week in place of 1w, wherever grains are named."""
    name = WEEKS[spec.week_starts].name

    def named(grains: Iterable[str]) -> list[str]:
        return [name if grain == "1w" else grain for grain in grains]

    measures = {
        key: one if one.grains is None else one.model_copy(update={"grains": named(one.grains)})
        for key, one in spec.measures.items()
    }
    keep = {name if grain == "1w" else grain: age for grain, age in spec.keep.items()}
    return spec.model_copy(update={"grains": named(spec.grains), "measures": measures, "keep": keep})


class _Reader:
    """The meaning of a definition whose form is right: names to columns, forms to values."""

    def __init__(self, document: Document, spec: CubeSpec, fact: Fact) -> None:
        self.document, self.spec, self.fact = document, spec, fact
        self.columns = {column.name: column for column in fact.columns}

    def error(self, what: str, place: Place, todo: str = "") -> DefinitionError:
        return self.document.error(what, place, todo)

    def grains(self) -> tuple[str, ...]:
        names: list[str] = list(self.spec.grains)
        ordered = sorted(set(names), key=lambda name: GRAINS[name].seconds)
        if names != ordered:
            raise self.error("grains are not in order.", ("grains",), f"Write [{', '.join(ordered)}].")
        above = [name for name in names if not GRAINS[name].within_day]
        if above and "1d" not in names:
            raise self.error(f"{above[0]} is made of days.", ("grains",), "Add 1d.")
        if self.spec.week_starts != "monday" and not any(name.startswith("1w") for name in names):
            raise self.error("there is no grain 1w.", ("week_starts",), "Add it to grains, or remove week_starts.")
        return tuple(names)

    def dimensions(self) -> tuple[str, ...]:
        fit = [column.name for column in self.fact.dimensions if column.type == "string"]
        for place, name in enumerate(self.spec.dimensions):
            where = ("dimensions", place)
            if self.spec.dimensions.index(name) != place:
                raise self.error(f"dimension '{name}' is there twice.", where, "Keep one of them.")
            if name not in fit:
                known = f"is no text dimension of fact {self.fact.name}" if name in self.columns else "is unknown"
                raise self.error(f"'{name}' {known}.", where, did_you_mean(name, fit))
        return tuple(self.spec.dimensions)

    def cuboids(self, reading: Reading) -> tuple[int, ...]:
        limit = self.spec.budget.cuboids
        found = {mask(range(len(reading.dimensions)))}
        for place, names in enumerate(self.spec.cuboids):
            found.add(mask(reading.places(names, ("cuboids", place))))
        for place, group in enumerate(self.spec.groups):
            try:
                found |= expand(self._group(reading, group, ("groups", place)), limit)
            except DefinitionError as error:
                if error.where:
                    raise
                raise self.error(error.what, ("groups", place), error.todo) from None
        if len(found) > limit:
            todo = "Ask for fewer, or raise budget.cuboids."
            raise self.error(f"{len(found)} cuboids are over the budget of {limit}.", ("cuboids",), todo)
        return tuple(sorted(found))

    def _group(self, reading: Reading, group: GroupSpec, where: Place) -> Group:
        included = reading.dimensions if group.include is None else group.include
        parts = Group(
            dimensions=reading.places(included, (*where, "include")),
            mandatory=reading.places(group.mandatory, (*where, "mandatory")),
            hierarchies=tuple(reading.places(names, (*where, "hierarchies")) for names in group.hierarchies),
            joints=tuple(reading.places(names, (*where, "joints")) for names in group.joints),
            most=group.max_dimensions,
        )
        bound = [*parts.mandatory, *(place for unit in (*parts.hierarchies, *parts.joints) for place in unit)]
        twice = sorted({place for place in bound if bound.count(place) > 1})
        if twice:
            name = reading.dimensions[twice[0]]
            raise self.error(f"'{name}' is bound twice.", where, "Put it in one of mandatory, hierarchies, joints.")
        return parts

    def refuse_mixed_metrics(self, reading: Reading, cuboids: tuple[int, ...], states: tuple[State, ...]) -> None:
        """Values of different metrics must never be added up: each cuboid of them keeps `metric`."""
        if "metric" not in self.columns or not any(state.column == "value" for state in states):
            return
        for cuboid in cuboids:
            if "metric" not in [name for place, name in enumerate(reading.dimensions) if cuboid >> place & 1]:
                todo = "Keep metric in every cuboid, or leave out the measures of value."
                raise self.error("a cuboid without metric would mix values of different metrics.", ("cuboids",), todo)

    def age_out(
        self, dimensions: tuple[str, ...], derived: tuple[Derived, ...], states: tuple[State, ...]
    ) -> tuple[tuple[str, int], ...]:
        found: dict[str, int] = {}
        for name, text in self.spec.age_out.items():
            place = ("age_out", name)
            if name not in dimensions:
                raise self.error(f"'{name}' is no dimension of this cube.", place, did_you_mean(name, dimensions))
            if name == "metric" and any(state.column == "value" for state in states):
                todo = "Keep metric, or leave out the measures of value."
                raise self.error("cells without metric would mix values of different metrics.", place, todo)
            found[name] = self._days(text, place)
        for one in derived:
            for key in keys(one) if one.lookup else ():
                if key in found and found.get(one.name, found[key] + 1) > found[key]:
                    what = f"'{one.name}' is looked up by '{key}', so it can't be told for longer."
                    raise self.error(what, ("age_out", key), f"Let {one.name} age out no later than {key}.")
        if len(found) == len(dimensions):
            raise self.error("no dimension would be left.", ("age_out",), "Keep one, or give `keep` for the grains.")
        return tuple(sorted(found.items(), key=lambda pair: (pair[1], pair[0])))

    def _days(self, text: str, place: Place) -> int:
        match = re.fullmatch(r"([1-9][0-9]{0,4})([dwy])", text)
        if match is None:
            raise self.error(f"'{text}' is no length of time.", place, "Write 30d, 8w or 10y.")
        return int(match[1]) * _DAYS[match[2]]

    def keep(self) -> tuple[tuple[str, int], ...]:
        found: list[tuple[str, int]] = []
        for grain, text in self.spec.keep.items():
            if grain not in self.spec.grains:
                near = did_you_mean(grain, self.spec.grains)
                raise self.error(f"'{grain}' is no grain of this cube.", ("keep", grain), near)
            found.append((grain, self._days(text, ("keep", grain))))
        found.sort(key=lambda pair: GRAINS[pair[0]].seconds)
        if [days for _, days in found] != sorted(days for _, days in found):
            raise self.error("a coarser grain is kept at least as long as a finer one.", ("keep",), "Correct it.")
        return tuple(found)


def _digest(**content: Any) -> str:
    """12 hex digits over everything that changes a cell; new with each format of the cells."""
    text = json.dumps({"format": _FORMAT, **content}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
