"""Parquet files of others as texts, so that their rows are read as a log's are: once, and exactly.

A decimal or a whole number becomes its digits. A double becomes the shortest decimal text that reads as that double
(0.1, not 0.1000000000000000055...), and is a decimal from then on; a 32-bit float likewise becomes a text that reads as
that float. No double is ever computed with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lake.duck import text_literal
from lake.errors import DefinitionError, TransportError, did_you_mean

_DIGITS_MAX = 38


def parquet_texts(path: Path, names: Sequence[str]) -> list[str]:
    """SQL of each named column's text, for `FROM read_parquet(...)`.

    Errors: TransportError for what is no Parquet file, DefinitionError for a column that is not there or has no text.
    """
    schema = _schema(path)
    texts = []
    for name in names:
        found = [column for column in schema if column.name.lower() == name.lower()]
        if name not in schema.names or len(found) != 1:
            what = "is missing" if not found else f"is not there as such: the file has {found[0].name}"
            what = "is there twice" if len(found) > 1 else what
            raise DefinitionError(f"Column '{name}' {what}.", where=str(path), todo=did_you_mean(name, schema.names))
        texts.append(_text(f'"{_escaped(name)}"', found[0], path))
    return texts


def parquet_rows(path: Path) -> int:
    """How many rows the file says that it holds."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def scan_parquet(path: Path) -> str:
    """What to put after FROM for the file's rows, numbered from 0 in `file_row_number`."""
    return f"read_parquet({text_literal(str(path))}, file_row_number = true, hive_partitioning = false)"


def _schema(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(path)
    except OSError as error:
        raise TransportError(f"The file can't be read: {error}.", where=str(path), todo="Check the path.") from None
    except pa.ArrowException as error:
        what = f"This is no Parquet file: {str(error).splitlines()[0].rstrip('.')}."
        raise TransportError(what, where=str(path), todo="Write it anew, unpacked.") from None


def _escaped(name: str) -> str:
    return name.replace('"', '""')


def _text(column: str, field: Any, path: Path) -> str:
    """SQL of a column's text; times in ISO 8601, lists and objects in JSON."""
    import pyarrow as pa

    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    if pa.types.is_timestamp(kind):
        zoned = f"regexp_replace(CAST({column} AS VARCHAR), '\\+00$', 'Z')" if kind.tz else f"CAST({column} AS VARCHAR)"
        return f"replace({zoned}, ' ', 'T')"
    if _is_plain(kind) or pa.types.is_date(kind) or pa.types.is_floating(kind) or pa.types.is_decimal128(kind):
        return f"CAST({column} AS VARCHAR)"
    if pa.types.is_null(kind):
        return "CAST(NULL AS VARCHAR)"
    if _is_nested(kind):
        return f"CAST(to_json({column}) AS VARCHAR)"
    todo = f"Numbers have at most {_DIGITS_MAX} digits; write the column as text, number, date, timestamp or list."
    what = f"Column '{field.name}' is of type {field.type}, which can't be read."
    raise DefinitionError(what, where=str(path), todo=todo)


def _is_plain(kind: Any) -> bool:
    """Types whose text is plain in JSON too; a number with a point would become a double there."""
    import pyarrow as pa

    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)
    return any(test(kind) for test in tests)


def _is_nested(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_map(kind):
        return _is_plain(kind.key_type) and _is_plain(kind.item_type)
    if pa.types.is_struct(kind):
        return all(_is_plain(kind.field(place).type) for place in range(kind.num_fields))
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_plain(kind.value_type)
