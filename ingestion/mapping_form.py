"""The form of a mapping: entries by file name, how a line splits into named texts, which rows each line emits.

Whether its names mean anything (facts, columns, units) is checked by `ingestion/mapping.py`, which loads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from lake.errors import DefinitionError, did_you_mean

_STRICT = ConfigDict(frozen=True, extra="forbid")
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_PART = re.compile(r"\{([^{}]*)\}")
_TIME_FORMATS = ("epoch_s", "epoch_ms", "iso")


def _as_text(value: Any) -> Any:
    """A YAML number as the text that stands for it; booleans in JSON's spelling."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str | None) else str(value)


def _as_value(value: Any) -> Any:
    """`column: name` is short for `column: {from: name}`."""
    return {"from": value} if isinstance(value, str) else value


def _not_empty(items: Any) -> Any:
    # Rather than min_length, which would report a list as too short when one of its items is wrong.
    if not items:
        raise ValueError("is empty; give at least one.")
    return items


class Value(BaseModel):
    """Where a column's text comes from: a text of the line, a constant, or parts of the file's path; just one."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    source: _Text | None = Field(default=None, alias="from")
    const: Annotated[_Text | None, BeforeValidator(_as_text)] = None
    template: _Text | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Value:
        if sum(part is not None for part in (self.source, self.const, self.template)) != 1:
            raise ValueError("give just one of: from, const, template.")
        return self


class _Reading(BaseModel):
    """How to read the texts of one column: unit of a number, format and zone of a time, words of a text."""

    model_config = _STRICT

    unit: _Text | None = None
    format: _Text | None = None
    zone: _Text | None = None
    values: dict[str, str] | None = None

    @field_validator("zone")
    @classmethod
    def _zone_is_known(cls, zone: str | None) -> str | None:
        try:
            return zone if zone is None else ZoneInfo(zone).key
        except (ValueError, OSError, KeyError):
            raise ValueError(f"'{zone}' is not a time zone; name it as UTC or Europe/Oslo.") from None

    @field_validator("format")
    @classmethod
    def _format_is_known(cls, text: str | None) -> str | None:
        if text is not None and text not in _TIME_FORMATS and "%" not in text:
            near = did_you_mean(text, _TIME_FORMATS)
            raise ValueError(
                f"'{text}' is not a time format: epoch_s, epoch_ms, iso, or a strptime pattern. {near}".strip()
            )
        return text


class Emit(BaseModel):
    """One row of a fact for each line. `required` columns and the natural `key` are names of the fact's columns."""

    model_config = _STRICT

    fact: _Text
    columns: Annotated[dict[str, Annotated[Value, BeforeValidator(_as_value)]], AfterValidator(_not_empty)]
    labels: dict[str, Annotated[Value, BeforeValidator(_as_value)]] = {}
    reading: dict[str, _Reading] = {}
    key: tuple[str, ...] = ()
    required: tuple[str, ...] = ()

    def reading_text(self) -> str:
        """The canonical JSON that lands beside each row: how to read its texts, and `_required` columns."""
        told: dict[str, Any] = {name: item.model_dump(exclude_none=True) for name, item in self.reading.items()}
        if self.required:
            told["_required"] = sorted(self.required)
        return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    def values(self) -> Iterable[Value]:
        """Every value that a line or path must give."""
        return (*self.columns.values(), *self.labels.values())


class FileEntry(BaseModel):
    """The files whose name `match`es this glob (with or without .gz), how their lines split, and what they emit."""

    model_config = _STRICT

    match: _Text
    format: Literal["csv", "jsonl", "lines", "parquet"]
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    header: bool = True
    names: tuple[_Text, ...] = ()
    pattern: _Text | None = None
    path: _Text | None = None
    null: tuple[str, ...] = ("",)
    emit: Annotated[tuple[Emit, ...], AfterValidator(_not_empty)]

    @field_validator("null", mode="before")
    @classmethod
    def _null_texts(cls, texts: Any) -> Any:
        # A bare `null` or empty item in YAML means the empty text here.
        return ["" if text is None else _as_text(text) for text in texts] if isinstance(texts, list) else texts

    @field_validator("pattern", "path")
    @classmethod
    def _regex_compiles(cls, text: str | None) -> str | None:
        try:
            return text if text is None else re.compile(text).pattern
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}.") from None

    @model_validator(mode="after")
    def _form_fits(self) -> FileEntry:
        if self.format == "lines" and (self.pattern is None or not re.compile(self.pattern).groupindex):
            raise ValueError("format lines needs a `pattern` with named groups, as (?P<time>[^ ]+).")
        if self.format == "csv" and self.header == bool(self.names):
            raise ValueError("format csv needs `names:` when `header: false`, and takes none with a header.")
        if len(set(self.names)) != len(self.names):
            raise ValueError("names: a name is there twice.")
        if self.format in ("jsonl", "parquet") and (self.names or self.pattern):
            whence = "the objects" if self.format == "jsonl" else "the file"
            raise ValueError(f"format {self.format} takes its names from {whence}; remove `names` and `pattern`.")
        if self.format == "csv" and '"' in self.delimiter:
            raise ValueError("a quote can't be the delimiter.")
        return self

    def matches(self, path: Path) -> bool:
        """Whether the file's name, with or without its .gz, fits the glob."""
        return any(fnmatchcase(name, self.match) for name in (path.name, path.name.removesuffix(".gz")))

    def line_names(self) -> tuple[str, ...] | None:
        """Names of a line's texts in their order; None where the file tells them (CSV header, JSON keys, columns)."""
        if self.format == "lines" and self.pattern is not None:
            groups = re.compile(self.pattern).groupindex
            return tuple(sorted(groups, key=lambda name: groups[name]))
        return self.names or None

    def wanted(self) -> tuple[str, ...]:
        """Names of the line's texts that some column or label takes, each once."""
        return tuple(dict.fromkeys(value.source for emit in self.emit for value in emit.values() if value.source))

    def path_parts(self, path: Path) -> dict[str, str]:
        """The parts that templates may name: file.name, file.stem, and path.<group> of the `path` expression."""
        name = path.name.removesuffix(".gz")
        parts = {"file.name": name, "file.stem": name.rsplit(".", 1)[0]}
        if self.path is None:
            return parts
        found = re.search(self.path, path.as_posix())
        if found is None:
            raise DefinitionError(
                f"The path does not fit the mapping's expression '{self.path}'.",
                where=str(path),
                todo="Correct `path:` in the mapping, or replay the file from its own folder.",
            )
        parts |= {f"path.{number}": text or "" for number, text in enumerate(found.groups(), 1)}
        return parts | {f"path.{group}": text or "" for group, text in found.groupdict().items()}


class LogMapping(BaseModel):
    """A mapping as a whole; `mapping` is its name, which landed rows carry as their source."""

    model_config = _STRICT

    mapping: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
    description: _Text
    origin: _Text = "none"
    licence: _Text = "none"
    files: Annotated[tuple[FileEntry, ...], AfterValidator(_not_empty)]

    def matches(self, path: Path) -> bool:
        """Whether some entry reads files of that name."""
        return any(entry.matches(path) for entry in self.files)

    def entry_for(self, path: Path) -> FileEntry:
        """The first entry that matches the file's name; DefinitionError where there is none."""
        for entry in self.files:
            if entry.matches(path):
                return entry
        globs = [entry.match for entry in self.files]
        raise DefinitionError(
            f"Mapping '{self.mapping}' has no entry for this file.",
            where=str(path),
            todo=did_you_mean(path.name, globs) or f"It reads: {', '.join(globs)}.",
        )


def fill(template: str, parts: Mapping[str, str]) -> str:
    """A template with its `{parts}` put in; DefinitionError for a part that there is not."""

    def part(match: re.Match[str]) -> str:
        if match[1] not in parts:
            raise DefinitionError(f"Template '{template}' names an unknown part.", todo=did_you_mean(match[1], parts))
        return parts[match[1]]

    return _PART.sub(part, template)
