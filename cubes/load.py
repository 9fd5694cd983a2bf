"""Cube definitions: YAML files to `Cube` values, with errors that name file, line and field and propose a correction.

What changes a cell (fact, grains, order of dimensions, cuboids, states, slots, filter) makes the definition's digest;
names of measures, descriptions, `keep` and `budget` don't, so changing those keeps the cells.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import sqlglot
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from sqlglot import exp
from sqlglot.errors import SqlglotError

from cubes.buckets import RELATIVE_ERROR
from cubes.cuboids import Group, expand, mask
from cubes.measures import states_of
from cubes.model import Cube, Measure, Sketch, State
from lake.documents import Document, read_document
from lake.errors import DefinitionError, did_you_mean
from lake.facts import Fact, load_facts
from lake.times import GRAINS

SHIPPED: Final = Path(__file__).parent / "definitions"
_FORMAT: Final = 1  # of the cells; a greater one makes every digest new
_STRICT: Final = ConfigDict(frozen=True, extra="forbid")
_DAYS: Final = {"d": 1, "w": 7, "y": 366}
_FUNCTIONS: Final = ("count", "sum", "min", "max", "avg", "time_avg", "quantiles")
# What a predicate may be made of: deterministic, per row, the same in every engine.
_PREDICATE_NODES: Final = (
    exp.And, exp.Between, exp.Boolean, exp.Column, exp.EQ, exp.GT, exp.GTE, exp.Identifier, exp.In, exp.Is, exp.LT,
    exp.LTE, exp.Literal, exp.NEQ, exp.Neg, exp.Not, exp.Null, exp.Or, exp.Paren,
)  # fmt: skip

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_Place = tuple[str | int, ...]
_Named = TypeVar("_Named")


def _short_count(value: Any) -> Any:
    return {"column": "" if value == "*" else value} if isinstance(value, str) else value


def _short_measure(value: Any) -> Any:
    if isinstance(value, str) and value != "count":
        raise ValueError(f"'{value}' alone is no measure; write count, or for example {{sum: <column>}}.")
    return {"count": "*"} if value == "count" else value


class _CountSpec(BaseModel):
    model_config = _STRICT
    column: str = ""
    where: str = ""


class _MeasureSpec(BaseModel):
    model_config = _STRICT
    count: Annotated[_CountSpec, BeforeValidator(_short_count)] | None = None
    sum: _Name | None = None
    min: _Name | None = None
    max: _Name | None = None
    avg: _Name | None = None
    time_avg: _Name | None = None
    quantiles: _Name | None = None
    relative_error: Decimal = Decimal("0.01")
    grains: list[str] | None = None
    without: list[str] = []
    description: str = ""


class _GroupSpec(BaseModel):
    model_config = _STRICT
    include: list[str] | None = None
    mandatory: list[str] = []
    hierarchies: list[list[str]] = []
    joints: list[list[str]] = []
    max_dimensions: int = Field(default=0, ge=0)


class _BudgetSpec(BaseModel):
    model_config = _STRICT
    cuboids: int = Field(default=64, ge=1, le=4096)


class _CubeSpec(BaseModel):
    model_config = _STRICT
    cube: _Name
    fact: str
    description: str = ""
    grains: list[Literal["5m", "1h", "1d"]] = Field(min_length=1)
    dimensions: list[str] = Field(min_length=1, max_length=62)
    where: str = ""
    cuboids: list[list[str]] = []
    groups: list[_GroupSpec] = []
    measures: dict[_Name, Annotated[_MeasureSpec, BeforeValidator(_short_measure)]] = Field(min_length=1)
    keep: dict[str, str] = {}
    budget: _BudgetSpec = _BudgetSpec()


def load_cubes(folder: Path | None = None, facts: Mapping[str, Fact] | None = None) -> dict[str, Cube]:
    """The shipped cubes by name, then those of the user's `folder`; `facts` defaults to the shipped facts.

    Errors: DefinitionError, which names file and line, for a broken definition and for two cubes of one name.
    """
    known = load_facts() if facts is None else facts
    cubes: dict[str, Cube] = {}
    for place in (SHIPPED, folder):
        if place is None or place == Path(""):
            continue
        if not place.is_dir():
            raise DefinitionError("no such folder of cubes.", where=str(place), todo="Correct the setting definitions.")
        for path in sorted(place.glob("*.yaml")):
            document = read_document(path)
            cube = read_cube(document, known)
            if cube.name in cubes:
                raise document.error(f"there is a cube '{cube.name}' already.", ("cube",), "Give it another name.")
            cubes[cube.name] = cube
    return cubes


def read_cube(document: Document, facts: Mapping[str, Fact]) -> Cube:
    """The cube that one document defines; DefinitionError names the first thing that is wrong."""
    spec = document.validate(_CubeSpec)
    if spec.fact not in facts:
        raise document.error(f"there is no fact '{spec.fact}'.", ("fact",), did_you_mean(spec.fact, facts))
    reader = _Reader(document, spec, facts[spec.fact])
    grains, dimensions = reader.grains(), reader.dimensions()
    cuboids = reader.cuboids()
    measures, states, sketches = reader.measures(cuboids)
    where = reader.predicate(spec.where, ("where",)) if spec.where else ""
    reader.refuse_mixed_metrics(cuboids, states)
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
            sketches=[[sketch.column, sketch.grains, sketch.cuboids] for sketch in sketches],
            where=where,
        ),
        where=where,
        keep=reader.keep(),
        budget=spec.budget.cuboids,
        description=spec.description,
    )


class _Reader:
    """The meaning of a definition whose form is right: names to columns, forms to values."""

    def __init__(self, document: Document, spec: _CubeSpec, fact: Fact) -> None:
        self.document, self.spec, self.fact = document, spec, fact
        self.columns = {column.name: column for column in fact.columns}

    def error(self, what: str, place: _Place, todo: str = "") -> DefinitionError:
        return self.document.error(what, place, todo)

    def grains(self) -> tuple[str, ...]:
        names: list[str] = list(self.spec.grains)
        ordered = sorted(set(names), key=lambda name: GRAINS[name].seconds)
        if names != ordered:
            raise self.error("grains are not in order.", ("grains",), f"Write [{', '.join(ordered)}].")
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

    def places(self, names: Iterable[str], where: _Place) -> tuple[int, ...]:
        """Places of dimensions of this cube."""
        found = []
        for name in names:
            if name not in self.spec.dimensions:
                near = did_you_mean(name, self.spec.dimensions)
                raise self.error(f"'{name}' is no dimension of this cube.", where, near)
            found.append(self.spec.dimensions.index(name))
        return tuple(found)

    def cuboids(self) -> tuple[int, ...]:
        limit = self.spec.budget.cuboids
        found = {mask(range(len(self.spec.dimensions)))}
        for place, names in enumerate(self.spec.cuboids):
            found.add(mask(self.places(names, ("cuboids", place))))
        for place, group in enumerate(self.spec.groups):
            try:
                found |= expand(self._group(group, ("groups", place)), limit)
            except DefinitionError as error:
                if error.where:
                    raise
                raise self.error(error.what, ("groups", place), error.todo) from None
        if len(found) > limit:
            todo = "Ask for fewer, or raise budget.cuboids."
            raise self.error(f"{len(found)} cuboids are over the budget of {limit}.", ("cuboids",), todo)
        return tuple(sorted(found))

    def _group(self, group: _GroupSpec, where: _Place) -> Group:
        included = self.spec.dimensions if group.include is None else group.include
        parts = Group(
            dimensions=self.places(included, (*where, "include")),
            mandatory=self.places(group.mandatory, (*where, "mandatory")),
            hierarchies=tuple(self.places(names, (*where, "hierarchies")) for names in group.hierarchies),
            joints=tuple(self.places(names, (*where, "joints")) for names in group.joints),
            most=group.max_dimensions,
        )
        bound = [*parts.mandatory, *(place for unit in (*parts.hierarchies, *parts.joints) for place in unit)]
        twice = sorted({place for place in bound if bound.count(place) > 1})
        if twice:
            name = self.spec.dimensions[twice[0]]
            raise self.error(f"'{name}' is bound twice.", where, "Put it in one of mandatory, hierarchies, joints.")
        return parts

    def measures(self, cuboids: tuple[int, ...]) -> tuple[tuple[Measure, ...], tuple[State, ...], tuple[Sketch, ...]]:
        measures: list[Measure] = []
        states: dict[str, State] = {}
        sketches: dict[str, Sketch] = {}
        for name, spec in self.spec.measures.items():
            measure = self._measure(name, spec)
            measures.append(measure)
            kind = self.columns[measure.column].type if measure.column else ""
            try:
                found = states_of(measure, kind)
            except DefinitionError as error:
                raise self.error(error.what, ("measures", name), error.todo) from None
            if measure.function == "time_avg" and "interval_s" not in self.columns:
                raise self.error(
                    f"fact {self.fact.name} has no interval_s to weigh by.", ("measures", name), "Use avg."
                )
            states.update({state.name: state for state in found})
            if measure.function == "quantiles":
                if measure.column in sketches:
                    todo = "Declare its quantiles once."
                    raise self.error(f"'{measure.column}' has quantiles already.", ("measures", name), todo)
                left_out = mask(self.places(measure.without, ("measures", name, "without")))
                kept = tuple(cuboid for cuboid in cuboids if not cuboid & left_out)
                if not kept:
                    raise self.error("no cuboid keeps them.", ("measures", name, "without"), "Leave out fewer.")
                sketches[measure.column] = Sketch(measure.column, measure.grains, kept)
        # In the order of their names, so that the order of measures is no part of the definition.
        return tuple(measures), _sorted(states), _sorted(sketches)

    def _measure(self, name: str, spec: _MeasureSpec) -> Measure:
        where = ("measures", name)
        given = [function for function in _FUNCTIONS if getattr(spec, function) is not None]
        if len(given) != 1:
            raise self.error("a measure has exactly one function.", where, f"Give one of {', '.join(_FUNCTIONS)}.")
        function = given[0]
        if function != "quantiles" and spec.model_fields_set & {"relative_error", "grains", "without"}:
            raise self.error("relative_error, grains and without belong to quantiles.", where, "Remove them.")
        column = spec.count.column if spec.count is not None else getattr(spec, function)
        predicate = spec.count.where if spec.count is not None else ""
        if column and column not in self.columns:
            near = did_you_mean(column, self.columns)
            raise self.error(f"fact {self.fact.name} has no column '{column}'.", (*where, function), near)
        if column and predicate:
            todo = f'Write {{count: {{where: "... AND {column} IS NOT NULL"}}}}.'
            raise self.error("a count has a column or a where, not both.", (*where, function), todo)
        if predicate:
            predicate = self.predicate(predicate, (*where, "count", "where"))
        measure = Measure(name, function, column, predicate, description=spec.description)
        return measure if function != "quantiles" else self._quantiles(measure, spec, where)

    def _quantiles(self, measure: Measure, spec: _MeasureSpec, where: _Place) -> Measure:
        if not RELATIVE_ERROR <= spec.relative_error < 1:
            what = f"slots can't promise a relative error of {spec.relative_error}; the least is {RELATIVE_ERROR}."
            raise self.error(what, (*where, "relative_error"), "Write 0.01, or ask exact percentiles with --raw.")
        grains = tuple(self.spec.grains) if spec.grains is None else tuple(spec.grains)
        for grain in grains:
            if grain not in self.spec.grains:
                near = did_you_mean(grain, self.spec.grains)
                raise self.error(f"'{grain}' is no grain of this cube.", (*where, "grains"), near)
        kept = tuple(grain for grain in self.spec.grains if grain in grains)
        # A coarser grain's slots are added up from a finer one's, so none may be left out in between.
        if kept != tuple(self.spec.grains)[len(self.spec.grains) - len(kept) :] or not kept:
            todo = f"Write the coarsest ones, such as [{', '.join(self.spec.grains[-2:])}]."
            raise self.error("quantiles are kept at the coarsest grains.", (*where, "grains"), todo)
        return Measure(
            measure.name, measure.function, measure.column,
            grains=kept, without=tuple(spec.without),
            relative_error=f"{spec.relative_error:f}", description=measure.description,
        )  # fmt: skip

    def predicate(self, text: str, where: _Place) -> str:
        """A predicate on one row in its canonical text; functions and sub-queries are refused."""
        try:
            tree = sqlglot.parse_one(text, read="duckdb")
        except SqlglotError as error:
            reason = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines()[0]
            raise self.error(f"not a predicate: {reason}", where, "Write for example \"status <> 'ok'\".") from None
        for node in tree.walk():
            if not isinstance(node, _PREDICATE_NODES):
                todo = "Use comparisons, AND, OR, NOT, IN, BETWEEN and IS NULL of columns and constants."
                raise self.error(f"a predicate can't hold '{node.sql(dialect='duckdb')}'.", where, todo)
            if isinstance(node, exp.Column) and (node.table or node.name not in self.columns):
                near = did_you_mean(node.name, self.columns)
                raise self.error(f"fact {self.fact.name} has no column '{node.sql()}'.", where, near)
        return tree.sql(dialect="duckdb")

    def refuse_mixed_metrics(self, cuboids: tuple[int, ...], states: tuple[State, ...]) -> None:
        """Values of different metrics must never be added up: each cuboid of them keeps `metric`."""
        if "metric" not in self.columns or not any(state.column == "value" for state in states):
            return
        for cuboid in cuboids:
            if "metric" not in [name for place, name in enumerate(self.spec.dimensions) if cuboid >> place & 1]:
                todo = "Keep metric in every cuboid, or leave out the measures of value."
                raise self.error("a cuboid without metric would mix values of different metrics.", ("cuboids",), todo)

    def keep(self) -> tuple[tuple[str, int], ...]:
        found: list[tuple[str, int]] = []
        for grain, text in self.spec.keep.items():
            match = re.fullmatch(r"([1-9][0-9]{0,4})([dwy])", text)
            if grain not in self.spec.grains:
                near = did_you_mean(grain, self.spec.grains)
                raise self.error(f"'{grain}' is no grain of this cube.", ("keep", grain), near)
            if match is None:
                raise self.error(f"'{text}' is no length of time.", ("keep", grain), "Write 30d, 8w or 10y.")
            found.append((grain, int(match[1]) * _DAYS[match[2]]))
        found.sort(key=lambda pair: GRAINS[pair[0]].seconds)
        if [days for _, days in found] != sorted(days for _, days in found):
            raise self.error("a coarser grain is kept at least as long as a finer one.", ("keep",), "Correct it.")
        return tuple(found)


def _sorted(named: Mapping[str, _Named]) -> tuple[_Named, ...]:
    return tuple(named[name] for name in sorted(named))


def _digest(**content: Any) -> str:
    """12 hex digits over everything that changes a cell; new with each format of the cells."""
    text = json.dumps({"format": _FORMAT, **content}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
