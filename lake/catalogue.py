"""The metric catalogue: what every metric is, declared once, by family, in `declarations/metrics/*.yaml`.

A family's document gives defaults, its groups may override them, and a metric states the rest; each metric must end
up with every field. `none` is a value, an empty field is an error. `declarations/labels.yaml` is the one list of
label names, `declarations/aliases.csv` says under which names and units the world's exporters send a metric.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from lake import units
from lake.documents import Document, load_document, read_document
from lake.errors import DefinitionError, did_you_mean

_FOLDER = Path(__file__).parent / "declarations"
_STRICT = ConfigDict(frozen=True, extra="forbid")
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9][a-z0-9_]*)+")
_ALIAS_HEADER = ["metric", "source", "exporter", "source_name", "unit", "scale", "note"]
# Aggregations that mean something for a kind: a counter lands as increments, a state must never be averaged.
_AGGREGATIONS = {
    "counter": {"sum", "rate"},
    "gauge": {"avg", "min", "max", "last", "p95"},
    "histogram": {"p95", "avg", "sum"},
    "state": {"min", "max", "last"},
}


def _none_is_a_value(given: Any) -> Any:
    """`none` stands for no bound, no period, no entry; an empty field stays empty and is refused by its type."""
    if given is None:
        raise ValueError("is empty; write none where there is none.")
    return None if given == "none" else given


def _none_is_an_empty_list(given: Any) -> Any:
    if given is None or given == []:
        raise ValueError("is empty; write none where there is none.")
    return () if given == "none" else given


_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Number = Annotated[Decimal | None, BeforeValidator(_none_is_a_value)]
_Texts = Annotated[tuple[str, ...], BeforeValidator(_none_is_an_empty_list)]
_LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]


class Metric(BaseModel):
    """A declared metric. Bounds are inclusive and in `unit`; `period_s` is None for what has no rhythm of its own.

    `sentinels` are texts that a source sends for "no value"; compare them with a reading's text before any conversion,
    as numbers where both are numbers.
    """

    model_config = _STRICT

    name: str
    family: _Text
    kind: Literal["counter", "gauge", "histogram", "state"]
    unit: _Text
    description: _Text
    valid_min: _Number
    valid_max: _Number
    default_aggregation: Literal["avg", "max", "min", "sum", "rate", "p95", "last"]
    layer: Literal["infrastructure", "service", "application", "quality", "security", "cost"]
    source: Literal["nvml", "procfs", "psutil", "agent", "prometheus", "log", "evaluation", "derived"]
    source_name: _Text
    method: _Text
    period_s: _Number
    processing: _Text
    purpose: _Text
    protocol: _Text
    sensitivity: Literal["public", "internal", "personal"]
    labels: _Texts
    sentinels: _Texts

    @field_validator("name")
    @classmethod
    def _name_is_well_formed(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"'{name}' is not a name: lower-case words with dots, entity.quantity[.qualifier...].")
        return name

    @field_validator("unit")
    @classmethod
    def _unit_is_known(cls, unit: str) -> str:
        return units.checked(unit)

    @model_validator(mode="after")
    def _parts_fit(self) -> Metric:
        if self.valid_min is not None and self.valid_max is not None and self.valid_min > self.valid_max:
            raise ValueError(f"valid_min {self.valid_min} is above valid_max {self.valid_max}.")
        if self.default_aggregation not in _AGGREGATIONS[self.kind]:
            fitting = ", ".join(sorted(_AGGREGATIONS[self.kind]))
            what = f"default_aggregation {self.default_aggregation} means nothing for a {self.kind}; one of {fitting}."
            raise ValueError(what)
        if self.period_s is not None and self.period_s <= 0:
            raise ValueError("period_s must be above zero, or none.")
        return self


@dataclass(frozen=True)
class Alias:
    """A metric under the name of an exporter; value · `scale` is the value in the metric's own unit."""

    metric: str
    source: str
    exporter: str
    source_name: str
    unit: str
    scale: Fraction
    note: str


@dataclass(frozen=True)
class Catalogue:
    """Every metric by name, every alias, and the description of each label."""

    metrics: Mapping[str, Metric]
    aliases: tuple[Alias, ...]
    labels: Mapping[str, str]

    def metric(self, name: str) -> Metric:
        """The metric of that name; DefinitionError with the nearest name otherwise."""
        if name not in self.metrics:
            raise DefinitionError(f"metric '{name}' is not in the catalogue.", todo=did_you_mean(name, self.metrics))
        return self.metrics[name]

    def of_source(self, source_name: str) -> tuple[Alias, ...]:
        """The aliases under which exporters send `source_name`; usually one, () for an unknown series."""
        return tuple(alias for alias in self.aliases if alias.source_name == source_name)


class _Group(BaseModel):
    """Metrics that share defaults; the parts are merged before a metric is checked."""

    model_config = _STRICT

    defaults: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, dict[str, Any]] = Field(min_length=1)


class _Family(BaseModel):
    """The document of a family: `entities` are the first words that its metrics' names may have."""

    model_config = _STRICT

    family: _LabelName
    description: _Text
    entities: tuple[str, ...] = Field(min_length=1)
    defaults: dict[str, Any] = Field(default_factory=dict)
    groups: dict[str, _Group] = Field(min_length=1)


class _Label(BaseModel):
    model_config = _STRICT

    description: _Text
    sensitivity: Literal["public", "internal", "personal"] = "internal"


class _Labels(BaseModel):
    """The document of the shared list of labels."""

    model_config = _STRICT

    labels: dict[_LabelName, _Label]


def load_catalogue(extra: Path | None = None) -> Catalogue:
    """The shipped catalogue, with the families of the user's folder `extra`; any lint failure is a DefinitionError."""
    shipped = _shipped()
    if extra is None:
        return shipped
    if not extra.is_dir():
        raise DefinitionError("no such folder of metrics.", where=str(extra), todo="Create it or correct the path.")
    metrics = dict(shipped.metrics)
    _add_families(metrics, sorted(extra.glob("*.yaml")), shipped.labels)
    return Catalogue(MappingProxyType(metrics), shipped.aliases, shipped.labels)


def read_aliases(path: Path, metrics: Mapping[str, Metric]) -> tuple[Alias, ...]:
    """The aliases of a CSV file; each names a known metric, and its scale is the one that its unit implies."""
    aliases: list[Alias] = []
    seen: dict[tuple[str, str], int] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, strict=True)
        if next(reader, []) != _ALIAS_HEADER:
            raise DefinitionError("wrong header.", where=f"{path}:1", todo=f"It must be: {','.join(_ALIAS_HEADER)}")
        for cells in reader:
            where = f"{path}:{reader.line_num}"
            alias = _alias(cells, metrics, where)
            identity = (alias.exporter, alias.source_name)
            if identity in seen:
                what = f"{alias.source_name} of {alias.exporter} is there already, on line {seen[identity]}."
                raise DefinitionError(what, where=where, todo="Keep one of them.")
            seen[identity] = reader.line_num
            aliases.append(alias)
    return tuple(aliases)


@cache
def _shipped() -> Catalogue:
    labels = load_document(_FOLDER / "labels.yaml", _Labels).labels
    described = MappingProxyType({name: label.description for name, label in labels.items()})
    metrics: dict[str, Metric] = {}
    _add_families(metrics, sorted((_FOLDER / "metrics").glob("*.yaml")), described)
    frozen = MappingProxyType(metrics)
    return Catalogue(frozen, read_aliases(_FOLDER / "aliases.csv", frozen), described)


def _add_families(metrics: dict[str, Metric], paths: Iterable[Path], labels: Mapping[str, str]) -> None:
    for path in paths:
        document = read_document(path)
        family = document.validate(_Family)
        for group_name, group in family.groups.items():
            for name, own in group.metrics.items():
                place = ("groups", group_name, "metrics", name)
                if name in metrics:
                    raise document.error("is declared already.", place, "A metric is declared once.")
                if name.partition(".")[0] not in family.entities:
                    first = ", ".join(family.entities)
                    raise document.error(f"names of this family start with: {first}.", place, "Rename the metric.")
                merged = {**family.defaults, **group.defaults, **own, "name": name, "family": family.family}
                metrics[name] = _metric(document, group_name, merged, labels)


def _metric(document: Document, group: str, merged: dict[str, Any], labels: Mapping[str, str]) -> Metric:
    """One merged metric, checked; an error points to the line that gave the field, be it a default's."""
    try:
        metric = Metric.model_validate(merged)
    except ValidationError as error:
        raise _merged_part(document, group, merged["name"]).explain(error, Metric) from None
    for label in metric.labels:
        if label not in labels:
            part = _merged_part(document, group, metric.name)
            todo = did_you_mean(label, labels) or "Add it to declarations/labels.yaml."
            raise part.error(f"label '{label}' is not in the shared list.", ("labels",), todo)
    return metric


def _merged_part(document: Document, group: str, name: str) -> Document:
    """The metric as a document of its own whose lines are those of the fields that went into it."""
    lines: dict[tuple[str | int, ...], int] = {}
    own = ("groups", group, "metrics", name)
    for layer in (("defaults",), ("groups", group, "defaults"), own):
        size = len(layer)
        given = {place[size:]: line for place, line in document.lines.items() if place[:size] == layer}
        replaced = {place[0] for place in given if place}
        lines = {place: line for place, line in lines.items() if place and place[0] not in replaced} | given
    lines[("name",)] = lines[()]
    return Document(document.path, None, lines, about=f"metric {name}: ")


def _alias(cells: list[str], metrics: Mapping[str, Metric], where: str) -> Alias:
    """One line of the alias file, checked."""
    if len(cells) != len(_ALIAS_HEADER):
        raise DefinitionError(f"{len(cells)} cells for {len(_ALIAS_HEADER)} columns.", where=where)
    given = dict(zip(_ALIAS_HEADER, (cell.strip() for cell in cells), strict=True))
    for field in _ALIAS_HEADER:
        if not given[field] and field != "note":
            raise DefinitionError(f"field {field}: is empty; write none where there is none.", where=where)
    if given["metric"] not in metrics:
        todo = did_you_mean(given["metric"], metrics)
        raise DefinitionError(f"field metric: '{given['metric']}' is not in the catalogue.", where=where, todo=todo)
    unit = metrics[given["metric"]].unit
    implied = units.scale(given["unit"], unit)
    if implied is None:
        raise DefinitionError(f"field unit: '{given['unit']}' does not convert to '{unit}'.", where=where)
    try:
        stated = Fraction(given["scale"])
    except (ValueError, ZeroDivisionError):
        raise DefinitionError(f"field scale: '{given['scale']}' is not a number.", where=where) from None
    if stated != implied:
        todo = f"From {given['unit']} to {unit} it is {implied}."
        raise DefinitionError(f"field scale: {given['scale']} is not what the units say.", where=where, todo=todo)
    return Alias(
        given["metric"], given["source"], given["exporter"], given["source_name"], given["unit"], stated, given["note"]
    )
