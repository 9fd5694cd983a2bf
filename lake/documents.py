"""Declared documents: YAML text to a checked, frozen value, or an error that names file, line and field.

The reader is smaller than YAML on purpose: no tags, no merge keys, no dates, no `yes`/`on` booleans, numbers with a
point are exact decimals. Size, depth and the nodes that aliases expand to are capped before anything is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lake.errors import DefinitionError, did_you_mean

_Model = TypeVar("_Model", bound=BaseModel)
_Place = tuple[str | int, ...]

_MAX_BYTES = 1 << 20
_MAX_DEPTH = 32
_MAX_NODES = 50_000
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
_DECIMAL = re.compile(r"[-+]?(?:[0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40}|[0-9]{1,40}(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?")
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'")
_PARSER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """A read file: its plain value (dict, list, str, int, Decimal, bool, None) and the line of each place in it.

    `about` names the part that errors speak of, where the document stands for a part of a file only.
    """

    path: Path
    value: Any
    lines: Mapping[_Place, int]
    about: str = ""

    def where(self, place: _Place = ()) -> str:
        """`file:line` of a place, or of the nearest place around it; keys that aren't in the file are skipped."""
        found: _Place = ()
        for step in place:
            if (*found, step) in self.lines:
                found = (*found, step)
        return f"{self.path}:{self.lines.get(found, 1)}"

    def error(self, what: str, place: _Place = (), todo: str = "") -> DefinitionError:
        """The error to raise for a place whose meaning is wrong although its form is right."""
        return DefinitionError(f"{self.about}{_field(place)}{what}", where=self.where(place), todo=todo)

    def validate(self, model: type[_Model]) -> _Model:
        """The value as a `model`; DefinitionError names the first bad field and how many more there are."""
        try:
            return model.model_validate(self.value)
        except ValidationError as error:
            raise self.explain(error, model) from None

    def explain(self, error: ValidationError, model: type[BaseModel], at: _Place = ()) -> DefinitionError:
        """The DefinitionError for a failed validation of the part of the document that lies `at` a place."""
        problems = error.errors(include_url=False)
        first = min(problems, key=lambda problem: _order(self, at, problem))
        what, todo = _describe(first, model)
        more = len(problems) - 1
        rest = f" ({more} more problem{'s' if more > 1 else ''} in this document.)" if more else ""
        return self.error(what, (*at, *first["loc"]), f"{todo}{rest}".strip())


def load_document(path: Path, model: type[_Model]) -> _Model:
    """The file as a `model`; every way to fail is a DefinitionError that starts with `file:line`."""
    return read_document(path).validate(model)


def load_documents(folder: Path, model: type[_Model]) -> dict[str, _Model]:
    """Every `*.yaml` of a folder, in name order, by file name without its ending; the folder must exist."""
    if not folder.is_dir():
        raise DefinitionError("no such folder of documents.", where=str(folder), todo="Create it or correct the path.")
    stray = sorted(folder.glob("*.yml"))
    if stray:
        raise DefinitionError("documents end in .yaml.", where=str(stray[0]), todo="Rename the file.")
    return {path.stem: load_document(path, model) for path in sorted(folder.glob("*.yaml"))}


def read_document(path: Path) -> Document:
    """The file's value and lines, unchecked but for the caps; for documents whose parts are merged before checking."""
    text = _text(path)
    parser = _PARSER(text)
    try:
        builder = _Builder(path, parser)
        value = builder.document()
    except yaml.YAMLError as error:
        raise _syntax_error(path, error) from None
    finally:
        parser.dispose()
    return Document(path, value, builder.lines)


def _text(path: Path) -> str:
    """The file's text, at most 1 MiB of UTF-8."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        near = did_you_mean(path.name, (other.name for other in path.parent.glob("*.yaml")))
        raise DefinitionError(f"can't be read: {error.strerror}.", where=str(path), todo=near) from None
    if len(raw) > _MAX_BYTES:
        raise DefinitionError("is larger than 1 MiB.", where=f"{path}:1", todo="Split the document.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DefinitionError("is not UTF-8 text.", where=f"{path}:{line}", todo="Save it as UTF-8.") from None


def _syntax_error(path: Path, error: yaml.YAMLError) -> DefinitionError:
    """A parser's complaint with its line and column."""
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return DefinitionError(f"is not YAML: {problem} (column {column}).", where=f"{path}:{line}", todo="Mend the text.")


class _Builder:
    """Builds the value from parser events, one document, with every cap checked as it goes."""

    def __init__(self, path: Path, parser: Any) -> None:
        self.path = path
        self.lines: dict[_Place, int] = {}
        self._parser = parser
        self._nodes = 0
        self._anchors: dict[str, tuple[Any, int]] = {}

    def document(self) -> Any:
        """The one document of the file; None for an empty file."""
        self._parser.get_event()  # stream start
        if self._parser.check_event(yaml.StreamEndEvent):
            return None
        self._parser.get_event()  # document start
        value = self._node((), 0)
        self._parser.get_event()  # document end
        event = self._parser.get_event()
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._refuse(event, "holds more than one document.", "Keep one document in a file.")
        return value

    def _refuse(self, event: Any, what: str, todo: str) -> DefinitionError:
        return DefinitionError(what, where=f"{self.path}:{event.start_mark.line + 1}", todo=todo)

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > _MAX_NODES:
            raise self._refuse(event, f"expands to more than {_MAX_NODES:,} values.", "Use fewer aliases, or split it.")

    def _node(self, place: _Place, depth: int) -> Any:
        event = self._parser.get_event()
        self.lines.setdefault(place, event.start_mark.line + 1)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.tag is not None:
            raise self._refuse(event, f"tag '{event.tag}' is not allowed.", "Write plain values without '!' tags.")
        if depth > _MAX_DEPTH:
            raise self._refuse(event, f"is nested deeper than {_MAX_DEPTH} levels.", "Flatten it.")
        before = self._nodes
        self._count(event, 1)
        if isinstance(event, yaml.ScalarEvent):
            value: Any = _scalar(event.value) if not event.style else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self._sequence(place, depth)
        else:
            value = self._mapping(place, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._nodes - before)
        return value

    def _alias(self, event: Any) -> Any:
        if event.anchor not in self._anchors:
            raise self._refuse(event, f"alias '*{event.anchor}' has no anchor before it.", "Write the value out.")
        value, nodes = self._anchors[event.anchor]
        self._count(event, nodes)
        return value

    def _sequence(self, place: _Place, depth: int) -> list[Any]:
        items: list[Any] = []
        while not self._parser.check_event(yaml.SequenceEndEvent):
            items.append(self._node((*place, len(items)), depth + 1))
        self._parser.get_event()
        return items

    def _mapping(self, place: _Place, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not self._parser.check_event(yaml.MappingEndEvent):
            event = self._parser.get_event()
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refuse(event, "a key must be one word or text.", "Write `key: value`.")
            key = str(event.value)
            if key == "<<" and not event.style:
                raise self._refuse(event, "merge keys are not supported.", "Write the fields out, or use an alias.")
            if key in items:
                first = self.lines[(*place, key)]
                raise self._refuse(event, f"key '{key}' is there twice (first on line {first}).", "Keep one of them.")
            self.lines[(*place, key)] = line
            items[key] = self._node((*place, key), depth + 1)
        self._parser.get_event()
        return items


def _scalar(text: str) -> Any:
    """A plain (unquoted) scalar: null, boolean, integer, exact decimal, or the text itself."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return Decimal(text)
    return text


def _field(place: _Place) -> str:
    """`field a.b[2].c: ` for a place, nothing for the whole document."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return f"field {text.lstrip('.')}: " if place else ""


def _order(document: Document, at: _Place, problem: ErrorDetails) -> tuple[bool, int]:
    """Unknown fields first (a misspelt field also makes one missing), then by line."""
    line = int(document.where((*at, *problem["loc"])).rpartition(":")[2])
    return problem["type"] != "extra_forbidden", line


def _describe(problem: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong and what to do, for one problem that the validation found."""
    kind, place, given = problem["type"], problem["loc"], problem["input"]
    context = problem.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown field.", did_you_mean(str(place[-1]), _known_fields(model, place[:-1])) or "Remove it."
    if kind == "missing":
        return "is required and missing.", "Add it."
    if given is None or (kind == "string_too_short" and not str(given).strip()):
        return "is empty.", "Give it a value; none, in so many letters, where there is none."
    if kind in {"literal_error", "enum"}:
        choices = _QUOTED.findall(str(context.get("expected", "")))
        near = did_you_mean(str(given), choices)
        listed = "" if near.startswith("Known") else f"; it is one of {', '.join(choices)}"
        return f"'{given}' is not a known value{listed}.", near
    if kind == "string_type" and isinstance(given, int | Decimal):
        return f"wants text, not {_shown(given)}.", f'Put it in quotes: "{given}".'
    if kind == "value_error":
        return f"{context.get('error', problem['msg'])}", ""
    return f"{problem['msg']} (got {_shown(given)}).", "Correct the value."


def _shown(given: object) -> str:
    """A value as an error may show it: short."""
    text = str(given) if isinstance(given, Decimal) else repr(given)
    return text if len(text) <= 60 else text[:57] + "..."


def _known_fields(model: type[BaseModel], place: _Place) -> list[str]:
    """The field names (or their aliases) of every model that may stand at a place inside `model`."""
    here: list[Any] = [model]
    for step in place:
        models = [part for kind in here for part in _models(kind)]
        inner = [field.annotation for part in models for field in _named(part, step)]
        here = inner or here  # an index, a mapping's key or a union's tag: the models around it already stand in `here`
    models = [part for kind in here for part in _models(kind)]
    return [field.alias or name for part in models for name, field in part.model_fields.items()]


def _named(model: type[BaseModel], step: str | int) -> list[Any]:
    return [field for name, field in model.model_fields.items() if step in {name, field.alias}]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models inside an annotation: itself, or within Optional, unions, lists, tuples, dictionaries."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in {Annotated, Union, UnionType, list, tuple, dict, Mapping}:
        return [model for part in get_args(annotation) for model in _models(part)]
    return []
