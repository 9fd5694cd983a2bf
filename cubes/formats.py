"""An answer as text: aligned table, JSON, CSV or an Arrow stream, none of which loses a digit.

Decimals are written plainly and exactly (`0.000000001`, never `1E-9`), without the zeros that only fill their scale;
doubles by the shortest text that reads back equal; timestamps in UTC.

- **table**: numbers aligned at the point. NULL is the bare word `NULL`; a text that could be mistaken (empty, the word
  NULL, with quotes at its start, blanks at its ends or control characters) is shown as a quoted JSON string.
- **json**: an array of objects, one a row. A numeric column is written as JSON numbers if each of its values survives a
  reader that uses doubles, otherwise the whole column is written as strings, so one column never mixes the two. NaN and
  infinities are strings too. A repeated column name gets a number: `sum`, `sum_2`.
- **csv**: RFC 4180 with header and CRLF; NULL is nothing, the empty text is `""`.
- **arrow**: the IPC stream format, types as they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from lake.errors import QueryError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

FORMATS = ("table", "json", "csv", "arrow")
_NULL = "NULL"
_CSV_SPECIAL = frozenset(',"\r\n')


def render(table: pa.Table, form: str) -> bytes:
    """The whole table in one of FORMATS, with a line end at the end of text. Errors: QueryError for another form."""
    writer = _WRITERS.get(form)
    if writer is None:
        raise QueryError(f"there is no format '{form}'", todo=did_you_mean(form, FORMATS), code="22023")
    return writer(table)


def exact_text(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Every value of a column as text that reads back equal, as one Arrow string array; NULL stays NULL.

    Timestamps read `2026-10-05 06:15:00.25`, with `+00` behind when they hold a zone (always shown in UTC); lists,
    structs and maps are compact JSON.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    kind = array.type
    if pa.types.is_dictionary(kind):
        return exact_text(array.dictionary_decode())
    if pa.types.is_decimal(kind):
        return _decimal_text(array)
    if pa.types.is_floating(kind):
        texts = pc.cast(array, pa.string())
        return pc.replace_substring(pc.replace_substring(texts, "nan", "NaN"), "inf", "Infinity")
    if pa.types.is_timestamp(kind):
        return _timestamp_text(array)
    if pa.types.is_time(kind):
        return _trimmed(pc.cast(array, pa.string()))
    if pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return pa.array([None if value is None else _interval_text(value) for value in array.to_pylist()], pa.string())
    if pa.types.is_nested(kind):
        return pa.array([None if v is None else _dump(_plain(v)) for v in array.to_pylist()], pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([None if v is None else "\\x" + v.hex() for v in array.to_pylist()], pa.string())
    return pc.cast(array, pa.string())


def _decimal_text(array: pa.Array) -> pa.Array:
    """Arrow writes small decimals as 1E-9: those few are written again, plainly."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.cast(array, pa.string())
    scientific = pc.fill_null(pc.match_substring(texts, "E"), False)
    if pc.any(scientific).as_py():
        plain = [format(Decimal(text), "f") for text in texts.filter(scientific).to_pylist()]
        texts = pc.replace_with_mask(texts, scientific, pa.array(plain, pa.string()))
    return _trimmed(texts) if array.type.scale > 0 else texts


def _timestamp_text(array: pa.Array) -> pa.Array:
    """Text in UTC; seconds without a fraction have no point."""
    import pyarrow as pa
    import pyarrow.compute as pc

    naive = pa.timestamp(array.type.unit)
    texts = pc.cast(
        array.cast(naive) if array.type.tz is None else array.cast(pa.timestamp(naive.unit, "UTC")), pa.string()
    )
    zoned = array.type.tz is not None
    if zoned:
        texts = pc.utf8_rtrim(texts, "Z")
    texts = _trimmed(texts) if array.type.unit != "s" else texts
    return pc.binary_join_element_wise(texts, "+00", "") if zoned else texts


def _trimmed(texts: pa.Array) -> pa.Array:
    """Texts with a decimal point in each, without the zeros at the end and a bare point."""
    import pyarrow.compute as pc

    return pc.replace_substring_regex(texts, r"\.?0*$", "")


def _interval_text(value: Any) -> str:
    """PostgreSQL's own form: `1 mon 2 days 00:00:03.5`."""
    months, days, nanos = (
        value if isinstance(value, tuple) else (0, value.days, (value.seconds * 10**6 + value.microseconds) * 1000)
    )
    years, months = int(months / 12), int(math.fmod(months, 12))
    parts = [f"{n} {word}{'' if n == 1 else 's'}" for n, word in ((years, "year"), (months, "mon"), (days, "day")) if n]
    if nanos or not parts:
        seconds, rest = divmod(abs(nanos), 10**9)
        fraction = f".{rest:09d}".rstrip("0").rstrip(".")
        sign = "-" if nanos < 0 else ""
        parts.append(f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}")
    return " ".join(parts)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    """A nested value as JSON's own types; exact numbers as `_json_number` says."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        pairs = value and all(isinstance(item, tuple) and len(item) == 2 for item in value)
        return {str(key): _plain(item) for key, item in value} if pairs else [_plain(item) for item in value]
    if isinstance(value, (Decimal, float)) and not isinstance(value, bool):
        text = format(value.normalize(), "f") if isinstance(value, Decimal) else repr(value)
        return float(text) if _survives_double(text) else text
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _survives_double(text: str) -> bool:
    """Whether a reader that parses this number as a double and prints it shortest gets the same number."""
    number = float(text)
    return math.isfinite(number) and Decimal(repr(number)) == Decimal(text)


def _is_numeric(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _json_cells(column: pa.ChunkedArray) -> list[str]:
    """The values of one column, each as JSON text."""
    import pyarrow as pa

    kind, texts = column.type, exact_text(column).to_pylist()
    if pa.types.is_boolean(kind):
        return ["null" if text is None else text for text in texts]
    if pa.types.is_nested(kind):
        return ["null" if text is None else text for text in texts]
    if _is_numeric(kind) and all(text is None or _survives_double(text) for text in texts):
        return ["null" if text is None else text for text in texts]
    if pa.types.is_timestamp(kind):
        texts = [text and text.replace(" ", "T").replace("+00", "Z") for text in texts]
    return ["null" if text is None else _dump(text) for text in texts]


def _unique(names: Sequence[str]) -> list[str]:
    """Names as object keys: a repeated one gets the next free number."""
    taken: set[str] = set()
    result = []
    for name in names:
        key, number = name, 1
        while key in taken or (number > 1 and key in names):
            number += 1
            key = f"{name}_{number}"
        taken.add(key)
        result.append(key)
    return result


def _json(table: pa.Table) -> bytes:
    keys = [_dump(name) for name in _unique(table.column_names)]
    columns = [_json_cells(column) for column in table.columns]
    rows = ["{" + ", ".join(f"{k}: {v}" for k, v in zip(keys, row, strict=True)) + "}" for row in _rows(columns, table)]
    return ("[" + ",\n ".join(rows) + "]\n").encode()


def _csv(table: pa.Table) -> bytes:
    columns = [exact_text(column).to_pylist() for column in table.columns]
    lines = [",".join(map(_csv_cell, row)) for row in _rows([*columns], table)]
    return "".join(line + "\r\n" for line in [",".join(map(_csv_cell, table.column_names)), *lines]).encode()


def _csv_cell(text: str | None) -> str:
    if text is None:
        return ""
    if not text or _CSV_SPECIAL.intersection(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def _arrow(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _rows(columns: Sequence[Sequence[Any]], table: pa.Table) -> Iterable[tuple[Any, ...]]:
    """Columns as rows; a table without columns still has its rows."""
    return zip(*columns, strict=True) if columns else [()] * table.num_rows


def _table(table: pa.Table) -> bytes:
    blocks = [_block(field, column) for field, column in zip(table.schema, table.columns, strict=True)]
    lines = ["  ".join(cells).rstrip() for cells in _rows(blocks, table)]
    count = table.num_rows
    lines.append(f"({count} row{'' if count == 1 else 's'})")
    return ("\n".join(lines) + "\n").encode()


def _block(field: pa.Field, column: pa.ChunkedArray) -> list[str]:
    """A column as lines of equal width: name (with its unit where the field states one), rule, values."""
    unit = (field.metadata or {}).get(b"unit", b"").decode()
    title = _shown(f"{field.name} [{unit}]" if unit else field.name)
    numeric = _is_numeric(column.type)
    texts = exact_text(column).to_pylist()
    cells = _at_point(texts) if numeric else [_NULL if text is None else _shown(text) for text in texts]
    width = max(map(len, [title, *cells]))
    pad: Callable[[str], str] = (lambda cell: cell.rjust(width)) if numeric else (lambda cell: cell.ljust(width))
    return [pad(title), "-" * width, *map(pad, cells)]


def _at_point(texts: Sequence[str | None]) -> list[str]:
    """Numbers padded behind, so that their points stand below each other."""
    tails = [len(text) - text.find(".") if text and "." in text and "e" not in text else 0 for text in texts]
    most = max(tails, default=0)
    return [_NULL if text is None else text + " " * (most - tail) for text, tail in zip(texts, tails, strict=True)]


def _shown(text: str) -> str:
    """Text as it is, or quoted where a reader could take it for something else."""
    odd = text in ("", _NULL) or text[0] == '"' or text != text.strip() or not text.isprintable()
    return _dump(text) if odd else text


_WRITERS: dict[str, Callable[[Any], bytes]] = {"table": _table, "json": _json, "csv": _csv, "arrow": _arrow}
