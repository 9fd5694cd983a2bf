"""The measures of a definition: their form, and from it the measures, states and sketches of the cube."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from cubes.buckets import RELATIVE_ERROR
from cubes.cuboids import mask
from cubes.distinct import DEFAULT, GREATEST, LEAST, TYPES
from cubes.measures import ADDITIVE, FUNCTIONS, SKETCHED, WEIGHED, WEIGHT, states_of
from cubes.model import Measure, Sketch, State
from cubes.reading import Place, Reading
from lake.errors import DefinitionError, did_you_mean
from lake.times import GRAINS

_STRICT: Final = ConfigDict(frozen=True, extra="forbid")
# What belongs to which functions only.
_OPTIONS: Final = {
    "relative_error": ("quantiles",), "exact_to": ("distinct",), "grains": SKETCHED, "without": SKETCHED
}  # fmt: skip
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
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


class _RatioSpec(BaseModel):
    model_config = _STRICT
    of: _Name
    over: _Name


class MeasureSpec(BaseModel):
    """One measure of a definition: exactly one function, and what belongs to it."""

    model_config = _STRICT
    count: Annotated[_CountSpec, BeforeValidator(_short_count, json_schema_input_type=_CountSpec | str)] | None = None
    sum: _Name | None = None
    min: _Name | None = None
    max: _Name | None = None
    avg: _Name | None = None
    time_avg: _Name | None = None
    integral: _Name | None = None
    coverage: _Name | None = None
    rate: _Name | None = None
    last: _Name | None = None
    variance: _Name | None = None
    var_samp: _Name | None = None
    var_pop: _Name | None = None
    stddev: _Name | None = None
    stddev_samp: _Name | None = None
    stddev_pop: _Name | None = None
    ratio: _RatioSpec | None = None
    quantiles: _Name | None = None
    distinct: _Name | None = None
    relative_error: Decimal = Decimal("0.01")
    exact_to: int = Field(default=DEFAULT, ge=LEAST, le=GREATEST)
    grains: list[str] | None = None
    without: list[str] = []
    description: str = ""


# A measure as it may be written: its form, or the word count.
ShortMeasure = Annotated[
    MeasureSpec, BeforeValidator(_short_measure, json_schema_input_type=MeasureSpec | Literal["count"])
]


def read_measures(
    reading: Reading, specs: Mapping[str, MeasureSpec], cuboids: tuple[int, ...]
) -> tuple[tuple[Measure, ...], tuple[State, ...], tuple[Sketch, ...]]:
    """The measures as declared, and what they need, sorted by name: states of each cell, and slots beside."""
    measures: list[Measure] = []
    states: dict[str, State] = {}
    sketches: dict[str, Sketch] = {}
    for name, spec in specs.items():
        measure = _measure(reading, name, spec)
        measures.append(measure)
        kind = reading.columns[measure.column].type if measure.column else ""
        try:
            found = states_of(measure, kind)
        except DefinitionError as error:
            raise reading.error(error.what, ("measures", name), error.todo) from None
        if measure.function in WEIGHED and WEIGHT not in reading.columns:
            what = f"fact {reading.fact.name} has no {WEIGHT} to weigh by."
            raise reading.error(what, ("measures", name), "Use avg or sum.")
        states.update({state.name: state for state in found})
        if measure.function in SKETCHED:
            sketch = _sketch(reading, measure, cuboids)
            if sketch.name in sketches:
                what = f"'{measure.column}' has {measure.function} already."
                raise reading.error(what, ("measures", name), "Declare them once.")
            sketches[sketch.name] = sketch
    for measure in measures:
        _check_ratio(reading, measure, {one.name: one for one in measures})
    # In the order of their names, so that the order of measures is no part of the definition.
    return tuple(measures), _sorted(states), _sorted(sketches)


def _sketch(reading: Reading, measure: Measure, cuboids: tuple[int, ...]) -> Sketch:
    """The long rows that quantiles or a count of distinct values need, in the cuboids that keep them."""
    left_out = mask(reading.places(measure.without, ("measures", measure.name, "without")))
    kept = tuple(cuboid for cuboid in cuboids if not cuboid & left_out)
    if not kept:
        raise reading.error("no cuboid keeps them.", ("measures", measure.name, "without"), "Leave out fewer.")
    if measure.function == "quantiles":
        return Sketch(measure.column, measure.grains, kept)
    if reading.columns[measure.column].type not in TYPES:
        what = f"values of type '{reading.columns[measure.column].type}' are not counted as distinct ones."
        raise reading.error(what, ("measures", measure.name), f"Count a column of type {' or '.join(TYPES)}.")
    return Sketch(measure.column, measure.grains, kept, "distinct", measure.exact_to + 1)


def _check_ratio(reading: Reading, measure: Measure, others: Mapping[str, Measure]) -> None:
    fit = [name for name, one in others.items() if one.function in ADDITIVE]
    for place, name in (("of", measure.of), ("over", measure.over)):
        if measure.function == "ratio" and name not in fit:
            known = "neither counts nor adds up" if name in others else "is unknown"
            where = ("measures", measure.name, "ratio", place)
            raise reading.error(f"the measure '{name}' {known}.", where, did_you_mean(name, fit))


def _measure(reading: Reading, name: str, spec: MeasureSpec) -> Measure:
    where = ("measures", name)
    given = [function for function in FUNCTIONS if getattr(spec, function) is not None]
    if len(given) != 1:
        raise reading.error("a measure has exactly one function.", where, f"Give one of {', '.join(FUNCTIONS)}.")
    function = given[0]
    for option, owners in _OPTIONS.items():
        if option in spec.model_fields_set and function not in owners:
            raise reading.error(f"{option} belongs to {' and '.join(owners)}.", (*where, option), "Remove it.")
    if spec.ratio is not None:
        return Measure(name, "ratio", description=spec.description, of=spec.ratio.of, over=spec.ratio.over)
    column = spec.count.column if spec.count is not None else getattr(spec, function)
    predicate = spec.count.where if spec.count is not None else ""
    if column and column not in reading.columns:
        near = did_you_mean(column, reading.columns)
        raise reading.error(f"fact {reading.fact.name} has no column '{column}'.", (*where, function), near)
    if column and predicate:
        todo = f'Write {{count: {{where: "... AND {column} IS NOT NULL"}}}}.'
        raise reading.error("a count has a column or a where, not both.", (*where, function), todo)
    if predicate:
        predicate = reading.predicate(predicate, (*where, "count", "where"))
    measure = Measure(name, function, column, predicate, description=spec.description)
    return measure if function not in SKETCHED else _sketched(reading, measure, spec, where)


def _sketched(reading: Reading, measure: Measure, spec: MeasureSpec, where: Place) -> Measure:
    quantiles = measure.function == "quantiles"
    histograms = quantiles and reading.columns[measure.column].type == "counts"
    if histograms and "relative_error" in spec.model_fields_set:
        what = "the error of histograms is the width of the buckets that they came with."
        raise reading.error(what, (*where, "relative_error"), "Remove it; percentile_low and percentile_high tell it.")
    if quantiles and not RELATIVE_ERROR <= spec.relative_error < 1:
        what = f"slots can't promise a relative error of {spec.relative_error}; the least is {RELATIVE_ERROR}."
        raise reading.error(what, (*where, "relative_error"), "Write 0.01, or ask exact percentiles with --raw.")
    grains = reading.grains if spec.grains is None else tuple(spec.grains)
    for grain in grains:
        if grain not in reading.grains:
            near = did_you_mean(grain, reading.grains)
            raise reading.error(f"'{grain}' is no grain of this cube.", (*where, "grains"), near)
    kept = tuple(grain for grain in reading.grains if grain in grains)
    # A coarser grain's slots are added up from a finer one's, so none may be left out in between.
    if kept != reading.grains[len(reading.grains) - len(kept) :] or not kept:
        todo = f"Write the coarsest ones, such as [{', '.join(reading.grains[-2:])}]."
        raise reading.error(f"{measure.function} are kept at the coarsest grains.", (*where, "grains"), todo)
    if not GRAINS[kept[0]].within_day:
        raise reading.error(f"slots at {kept[0]} are made of those of days.", (*where, "grains"), "Add 1d.")
    return Measure(
        measure.name, measure.function, measure.column,
        grains=kept, without=tuple(spec.without),
        relative_error=f"{spec.relative_error:f}" if quantiles and not histograms else "",
        exact_to=0 if quantiles else spec.exact_to,
        description=measure.description,
    )  # fmt: skip


def _sorted(named: Mapping[str, _Named]) -> tuple[_Named, ...]:
    return tuple(named[name] for name in sorted(named))
