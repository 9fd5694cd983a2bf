"""Mappings: how the lines of a foreign log become rows of facts, declared in YAML and checked before a byte is read.

`ingestion/mappings/*.yaml` are shipped; a user's folder adds more. The form is told in `docs/mappings.md`.
"""

from __future__ import annotations

import re
from pathlib import Path

from ingestion.mapping_form import Emit, FileEntry, LogMapping, Value
from lake import units
from lake.catalogue import load_catalogue
from lake.documents import Document, read_document
from lake.errors import DefinitionError, did_you_mean
from lake.facts import Column, Fact, load_facts

_SHIPPED = Path(__file__).parent / "mappings"
_NUMBERS = frozenset({"decimal", "duration", "interval", "integer"})
_PART = re.compile(r"\{([^{}]*)\}")
_Place = tuple[str | int, ...]


def mapping_names(folder: Path | None = None) -> tuple[str, ...]:
    """Names of the shipped mappings and of those in the user's folder, sorted."""
    return tuple(sorted({path.stem for place in _folders(folder) for path in place.glob("*.yaml")}))


def load_mapping(name: str, folder: Path | None = None) -> LogMapping:
    """The mapping of that name (the user's folder goes first), or of that file when `name` ends in .yaml.

    Errors: DefinitionError with file, line and field for anything that is misspelt or does not fit its fact.
    """
    path = Path(name) if name.endswith(".yaml") else _find(name, folder)
    document = read_document(path)
    mapping = document.validate(LogMapping)
    if mapping.mapping != path.stem:
        raise document.error(f"mapping '{mapping.mapping}' lies in {path.name}.", ("mapping",), "Give both one name.")
    for number, entry in enumerate(mapping.files):
        _check_entry(document, ("files", number), entry)
    return mapping


def _folders(folder: Path | None) -> tuple[Path, ...]:
    return (_SHIPPED,) if folder is None or folder == Path("") else (folder, _SHIPPED)


def _find(name: str, folder: Path | None) -> Path:
    for place in _folders(folder):
        path = place / f"{name}.yaml"
        if path.is_file():
            return path
    known = mapping_names(folder)
    todo = did_you_mean(name, known) or f"Known: {', '.join(known)}."
    raise DefinitionError(f"There is no mapping '{name}'.", todo=todo)


def _check_entry(document: Document, place: _Place, entry: FileEntry) -> None:
    """Line texts and path parts that are named must exist, as far as the mapping alone can tell."""
    for number, emit in enumerate(entry.emit):
        here = (*place, "emit", number)
        for group, values in (("columns", emit.columns), ("labels", emit.labels)):
            for name, value in values.items():
                _check_value(document, (*here, group, name), value, entry)
        _check_emit(document, here, emit)


def _check_value(document: Document, place: _Place, value: Value, entry: FileEntry) -> None:
    names = entry.line_names()
    if value.source is not None and names is not None and value.source not in names:
        raise document.error(f"a line has no text '{value.source}'.", place, did_you_mean(value.source, names))
    groups = re.compile(entry.path or "")
    known = {"file.name", "file.stem"}
    known |= {f"path.{group}" for group in (*groups.groupindex, *range(1, groups.groups + 1))}
    for part in _PART.findall(value.template or ""):
        if part not in known:
            raise document.error(f"template names an unknown part '{part}'.", place, did_you_mean(part, known))


def _check_emit(document: Document, place: _Place, emit: Emit) -> None:
    """Every name of an emitted row, against its fact, the catalogue and the shared list of labels."""
    facts = load_facts()
    if emit.fact not in facts:
        raise document.error(f"there is no fact '{emit.fact}'.", (*place, "fact"), did_you_mean(emit.fact, facts))
    fact = facts[emit.fact]
    columns = {column.name: column for column in fact.columns if column.name != "labels"}
    for name in emit.columns:
        if name not in columns:
            todo = "Write labels below `labels:`." if name == "labels" else did_you_mean(name, columns)
            raise document.error(f"fact {fact.name} has no column '{name}'.", (*place, "columns", name), todo)
    _check_required(document, place, emit, fact)
    for group in ("reading", "key", "required"):
        for name in getattr(emit, group):
            if name not in emit.columns:
                todo = did_you_mean(name, emit.columns)
                at = (*place, group, name) if group == "reading" else (*place, group)
                raise document.error(f"'{name}' is not a column that this row gets.", at, todo)
    labels = load_catalogue().labels
    for name in emit.labels:
        if name not in labels:
            todo = did_you_mean(name, labels)
            raise document.error(f"label '{name}' is not in the shared list.", (*place, "labels", name), todo)
    for name in emit.reading:
        _check_reading(document, (*place, "reading", name), emit, columns[name])


def _check_required(document: Document, place: _Place, emit: Emit, fact: Fact) -> None:
    for column in fact.columns:
        if column.required and column.name not in emit.columns:
            todo = f"Add '{column.name}', from the line or as a constant."
            raise document.error(f"fact {fact.name} needs column '{column.name}'.", (*place, "columns"), todo)
        value = emit.columns.get(column.name)
        if value is None or value.const is None:
            continue
        at = (*place, "columns", column.name)
        if column.allowed and value.const not in column.allowed:
            todo = did_you_mean(value.const, column.allowed) or f"Choose one of: {', '.join(column.allowed)}."
            raise document.error(f"'{value.const}' is not allowed in '{column.name}'.", at, todo)
        metrics = load_catalogue().metrics
        if column.name == "metric" and value.const not in metrics:
            raise document.error(f"metric '{value.const}' is unknown.", at, did_you_mean(value.const, metrics))


def _check_reading(document: Document, place: _Place, emit: Emit, column: Column) -> None:
    """A unit must convert to the column's (or the metric's) own; formats are for times; words for texts."""
    reading = emit.reading[column.name]
    if (reading.format is not None or reading.zone is not None) and column.type != "timestamp":
        raise document.error("format and zone are for the time column.", place, "Remove them here.")
    if reading.unit is not None:
        if column.type not in _NUMBERS:
            raise document.error(f"a {column.type} has no unit.", place, "Remove it here.")
        target = _unit_of(emit, column)
        if not units.known(reading.unit):
            raise document.error(f"unit '{reading.unit}' is not known.", (*place, "unit"), "Units are UCUM: By, ms, %.")
        if target is not None and units.scale(reading.unit, target) is None:
            raise document.error(f"'{reading.unit}' does not convert to '{target}'.", (*place, "unit"), "Correct it.")
    if reading.values is not None and column.type not in ("string", "boolean"):
        raise document.error("values are for texts.", place, "Remove them here.")
    for word in (reading.values or {}).values():
        if column.allowed and word not in column.allowed:
            todo = did_you_mean(word, column.allowed) or f"Choose one of: {', '.join(column.allowed)}."
            raise document.error(f"'{word}' is not allowed in '{column.name}'.", (*place, "values"), todo)


def _unit_of(emit: Emit, column: Column) -> str | None:
    """The unit that texts of this column end up in; None where it depends on the row's metric."""
    if column.name not in ("value", "stderr") or "metric" not in emit.columns:
        return column.unit
    name = emit.columns["metric"].const
    return None if name is None else load_catalogue().metric(name).unit
