"""From a chunk of lines to landing rows: split by the mapping's form, then one SQL SELECT for each fact.

Lines whose form needs no care are split in SQL. The others (quoted CSV, JSON, expressions) are split here and handed
over with separators that no text holds, so that one SELECT serves every form; Parquet is split already.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from ingestion.land import landing_select
from ingestion.lines import BAD_LINE, Chunk
from ingestion.mapping_form import Emit, FileEntry, LogMapping, Value, fill
from lake.duck import text_literal
from lake.errors import DefinitionError, did_you_mean
from lake.parquet import parquet_texts, scan_parquet
from lake.times import iso

_RECORD_END: Final = "\x1e"
_FIELD_END: Final = "\x1f"
_NULL: Final = "\ufffe"
_UNFIT: Final = re.compile("[\x00\x1e\x1f\ufffe\uffff\ud800-\udfff]")

_Split = Callable[[str], Sequence[str | None] | None]


@dataclass(frozen=True)
class Replayed:
    """What every row of one replayed file shares; `names` are those of a line's texts, in order."""

    mapping: LogMapping
    entry: FileEntry
    path: Path
    agent: str
    received_at: datetime
    names: tuple[str, ...]


def header_names(entry: FileEntry, path: Path, first_line: str) -> tuple[str, ...]:
    """Names of a line's texts: from the CSV header, or as the mapping knows them; wanted ones must be there, once."""
    names = entry.line_names()
    if names is None and entry.format == "jsonl":
        return entry.wanted()
    if names is not None:
        return names
    given = _split_csv(entry.delimiter)(first_line) or ()
    names = tuple((name or "").strip() for name in given)
    for wanted in entry.wanted():
        if names.count(wanted) != 1:
            what = "is there twice" if wanted in names else "is missing"
            todo = did_you_mean(wanted, names) or "Check that this is the right mapping for the file."
            raise DefinitionError(f"Column '{wanted}' {what} in the header.", where=f"{path}:1", todo=todo)
    return names


def write_chunk(replayed: Replayed, chunk: Chunk, target: Path) -> Callable[[str], str]:
    """Put the chunk's lines into `target`, split where SQL can't; gives the SELECT of a fact's rows from it."""
    text, tail = chunk.text, ""
    if chunk.torn:
        text, _, tail = text.rpartition("\n")
    entry = replayed.entry
    plain = entry.format == "csv" and '"' not in text
    record_end, field_end = ("\n", entry.delimiter) if plain else (_RECORD_END, _FIELD_END)
    if not plain:
        text = _RECORD_END.join(_prepared(text.split("\n"), _splitter(entry, replayed.names), len(replayed.names)))
    target.write_text(text, encoding="utf-8", newline="")
    skipped = 1 if entry.format == "csv" and entry.header else 0
    lines = f"""(SELECT seq, line, CASE WHEN starts_with(line, '{BAD_LINE}') OR len(texts) <> {len(replayed.names)}
            THEN NULL ELSE texts END AS f
        FROM (SELECT seq, line, string_split(line, {_code(field_end)}) AS texts
            FROM (SELECT unnest(l) AS line, generate_subscripts(l, 1) + {chunk.first - 1} AS seq
                FROM (SELECT string_split(content, {_code(record_end)}) AS l
                    FROM read_text({text_literal(str(target))})))
            WHERE seq > {skipped} AND trim(line, ' ' || chr(9)) <> ''))"""
    gap = _gap(replayed, chunk, tail) if chunk.torn else None

    def select(fact: str) -> str:
        rows = emitted(replayed, fact, lines)
        return f"{rows} UNION ALL {gap}" if gap is not None and entry.emit[0].fact == fact else rows

    return select


def parquet_lines(path: Path, names: Sequence[str]) -> str:
    """The rows of a Parquet file as `emitted` takes lines; a text with a NUL in it makes its row malformed."""
    texts = ", ".join(parquet_texts(path, names))
    split = f"SELECT file_row_number + 1 AS seq, [{texts}] AS texts FROM {scan_parquet(path)}"
    broken = "contains(array_to_string(texts, ''), chr(0))"
    told = f"CASE WHEN {broken} THEN CAST(to_json(texts) AS VARCHAR) END"
    return f"(SELECT seq, {told} AS line, CASE WHEN {broken} THEN NULL ELSE texts END AS f FROM ({split}))"


def emitted(replayed: Replayed, fact: str, lines: str) -> str:
    """SELECTs of all rows of a fact from a relation of lines: `seq`, `line` and its texts `f` (NULL: malformed)."""
    numbered = enumerate(replayed.entry.emit)
    return " UNION ALL ".join(_select(replayed, number, lines) for number, emit in numbered if emit.fact == fact)


def _code(separator: str) -> str:
    return " || ".join(f"chr({ord(character)})" for character in separator)


def _select(replayed: Replayed, number: int, lines: str) -> str:
    """Rows of one `emit`; lines that could not be split land with the first of them, as malformed."""
    emit = replayed.entry.emit[number]
    columns = {name: _text(replayed, value) for name, value in emit.columns.items()}
    if emit.labels:
        columns["labels"] = _labels(replayed, emit)
    columns |= _head(replayed, "seq", str(number)) | {
        "problem": "CASE WHEN f IS NULL THEN 'malformed' END",
        "raw": f"CASE WHEN f IS NULL THEN ltrim(line, '{BAD_LINE}') END",
        "row_key": _row_key(replayed, emit, columns),
        "reading": text_literal(emit.reading_text()),
    }
    whole = "" if number == 0 else " WHERE f IS NOT NULL"
    return landing_select(emit.fact, columns, f"{lines}{whole}")


def _gap(replayed: Replayed, chunk: Chunk, tail: str) -> str:
    """One row for the lines behind the end of a torn file; how many there were is not known, so it counts as one."""
    rest = f", in: {tail.lstrip(BAD_LINE)[:1000]}" if tail else ""
    columns = _head(replayed, str(chunk.first + chunk.lines - 1), "0")
    columns |= {"problem": "'gap'", "raw": text_literal(chunk.torn + rest)}
    return landing_select(replayed.entry.emit[0].fact, columns, "(SELECT 1)")


def _head(replayed: Replayed, seq: str, idx: str) -> dict[str, str]:
    return {
        "agent": text_literal(replayed.agent),
        "boot": "''",
        "seq": seq,
        "idx": idx,
        "received_at": f"TIMESTAMPTZ '{iso(replayed.received_at)}'",
        "source": text_literal(replayed.mapping.mapping),
    }


def _text(replayed: Replayed, value: Value) -> str:
    """SQL of one text of a row, NULL where the line has none of it."""
    if value.source is not None:
        at = f"f[{replayed.names.index(value.source) + 1}]"
        nulls = ", ".join(text_literal(text) for text in (*replayed.entry.null, _NULL))
        return f"CASE WHEN {at} IN ({nulls}) THEN NULL ELSE {at} END"
    text = value.const
    if text is None:
        text = fill(value.template or "", replayed.entry.path_parts(replayed.path))
    return f"CASE WHEN f IS NOT NULL THEN {text_literal(text)} END"


def _labels(replayed: Replayed, emit: Emit) -> str:
    """SQL of the labels as a JSON object in the order of their names, without those that are absent."""
    parts = (
        f"{text_literal(json.dumps(name) + ':')} || to_json({_text(replayed, emit.labels[name])})::VARCHAR"
        for name in sorted(emit.labels)
    )
    return "'{' || nullif(concat_ws(',', " + ", ".join(parts) + "), '') || '}'"


def _row_key(replayed: Replayed, emit: Emit, columns: Mapping[str, str]) -> str:
    """SQL of the natural key, kept apart from other entries' keys; NULL where a part of it is absent."""
    if not emit.key:
        return "NULL"
    own = text_literal(f"{replayed.mapping.mapping}/{replayed.entry.match}")
    return f"{own} || " + " || ".join(f"'|' || ({columns[name]})" for name in emit.key)


def _prepared(lines: Sequence[str], split: _Split, count: int) -> Iterator[str]:
    """The lines with their texts apart; one that does not give `count` texts is marked and kept as it is."""
    for line in lines:
        if line.startswith(BAD_LINE) or not line.strip(" \t"):
            yield line
            continue
        texts = split(line)
        if texts is None or len(texts) != count or any(text is not None and _UNFIT.search(text) for text in texts):
            yield BAD_LINE + _UNFIT.sub(lambda found: f"\\u{ord(found[0]):04x}", line)
        else:
            yield _FIELD_END.join(_NULL if text is None else text for text in texts)


def _splitter(entry: FileEntry, names: tuple[str, ...]) -> _Split:
    if entry.format == "csv":
        return _split_csv(entry.delimiter)
    return _split_json(names) if entry.format == "jsonl" else _split_pattern(entry.pattern or "", names)


def _split_csv(delimiter: str) -> _Split:
    def split(line: str) -> Sequence[str | None] | None:
        if '"' not in line:
            return line.split(delimiter)
        try:
            return next(csv.reader([line], delimiter=delimiter, strict=True))
        except csv.Error:
            return None

    return split


def _split_pattern(pattern: str, names: tuple[str, ...]) -> _Split:
    compiled = re.compile(pattern)

    def split(line: str) -> Sequence[str | None] | None:
        found = compiled.fullmatch(line)
        return None if found is None else [found[name] for name in names]

    return split


def _split_json(names: tuple[str, ...]) -> _Split:
    """Texts of a JSON object: numbers keep their digits; `a.b` reaches into an object unless there is a key `a.b`."""
    decoder = json.JSONDecoder(object_pairs_hook=_unique, parse_float=Decimal, parse_constant=str)

    def split(line: str) -> Sequence[str | None] | None:
        try:
            found = decoder.decode(line.strip())
        except (ValueError, ArithmeticError, RecursionError):
            return None
        return [_json_text(_reach(found, name)) for name in names] if isinstance(found, dict) else None

    return split


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _reach(found: Any, name: str) -> Any:
    if isinstance(found, dict) and name in found:
        return found[name]
    head, dot, rest = name.partition(".")
    return _reach(found[head], rest) if dot and isinstance(found, dict) and head in found else None


def _json_text(value: Any) -> str | None:
    """A JSON value as its text: a string without quotes, anything nested as JSON again."""
    if value is None or isinstance(value, str):
        return value
    return _json(value)


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_json(item) for item in value) + "]"
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
