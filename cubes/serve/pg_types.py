"""Arrow columns as PostgreSQL columns: the type that a client is told, and rows in text format.

Exact whole numbers of DuckDB (HUGEINT, DECIMAL(38,0)) are sent as int8 when every value fits: clients compute with int8
natively and drop `numeric` from sums of percentages. Decimals go out as `numeric` with exactly the digits that matter.
A batch of rows is laid out at once with numpy, since a Python loop over cells is twenty times slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cubes.formats import exact_text
from cubes.serve.pgwire import Field

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_INT8 = 2**63


@dataclass(frozen=True)
class PgType:
    """A type of PostgreSQL: its oid, the oid of an array of it, its size in bytes (-1: varies) and SQL name."""

    name: str
    oid: int
    array_oid: int
    size: int
    title: str
    category: str = "S"


PG_TYPES: dict[str, PgType] = {
    item.name: item
    for item in (
        PgType("bool", 16, 1000, 1, "boolean", "B"),
        PgType("bytea", 17, 1001, -1, "bytea", "U"),
        PgType("name", 19, 1003, 64, "name"),
        PgType("int8", 20, 1016, 8, "bigint", "N"),
        PgType("int2", 21, 1005, 2, "smallint", "N"),
        PgType("int4", 23, 1007, 4, "integer", "N"),
        PgType("text", 25, 1009, -1, "text"),
        PgType("oid", 26, 1028, 4, "oid", "N"),
        PgType("json", 114, 199, -1, "json", "U"),
        PgType("float4", 700, 1021, 4, "real", "N"),
        PgType("float8", 701, 1022, 8, "double precision", "N"),
        PgType("varchar", 1043, 1015, -1, "character varying"),
        PgType("date", 1082, 1182, 4, "date", "D"),
        PgType("time", 1083, 1183, 8, "time without time zone", "D"),
        PgType("timestamp", 1114, 1115, 8, "timestamp without time zone", "D"),
        PgType("timestamptz", 1184, 1185, 8, "timestamp with time zone", "D"),
        PgType("interval", 1186, 1187, 16, "interval", "T"),
        PgType("numeric", 1700, 1231, -1, "numeric", "N"),
    )
}


def settle(table: pa.Table) -> pa.Table:
    """The table with whole-number decimals narrowed to int8 where all their values fit."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for place, field in enumerate(table.schema):
        if not (pa.types.is_decimal(field.type) and field.type.scale == 0):
            continue
        bounds = pc.min_max(table.column(place)).as_py()
        if all(value is None or -_INT8 <= value < _INT8 for value in bounds.values()):
            table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
    return table


def fields_of(schema: pa.Schema) -> list[Field]:
    """The row description of a settled table."""
    described = []
    for field in schema:
        kind, is_array = _type_of(field.type)
        oid, size = (kind.array_oid, -1) if is_array else (kind.oid, kind.size)
        described.append(Field(field.name, oid, size))
    return described


def data_rows(batch: pa.Table) -> bytes:
    """Every row of a settled table as DataRow messages; the whole is in memory, so hand it slices of a large table."""
    import numpy as np

    rows, count = batch.num_rows, batch.num_columns
    if rows == 0:
        return b""
    columns = [_Text(_wire_text(column)) for column in batch.columns]
    sizes = np.full(rows, 7 + 4 * count, dtype=np.int64)
    for column in columns:
        sizes += column.sizes
    starts = np.concatenate([[0], np.cumsum(sizes)])
    out = np.zeros(int(starts[-1]), dtype=np.uint8)
    at = starts[:-1].copy()
    out[at] = ord("D")
    _put_int32(out, at + 1, sizes - 1)
    out[at + 5], out[at + 6] = count >> 8, count & 0xFF
    at += 7
    for column in columns:
        _put_int32(out, at, np.where(column.is_null, -1, column.sizes))
        at += 4
        column.put(out, at)
        at += column.sizes
    return out.tobytes()


class _Text:
    """A column's texts as one run of bytes with a size per row (0 for NULL)."""

    def __init__(self, array: pa.Array) -> None:
        import numpy as np
        import pyarrow.compute as pc

        self.is_null: npt.NDArray[np.bool_] = np.asarray(pc.is_null(array).to_numpy(zero_copy_only=False), dtype=bool)
        filled = pc.fill_null(array, "") if array.null_count else array
        buffers = filled.buffers()
        offsets = np.frombuffer(buffers[1], dtype=np.int32, count=filled.offset + len(filled) + 1)[filled.offset :]
        self.sizes: npt.NDArray[np.int64] = np.diff(offsets).astype(np.int64)
        whole = np.frombuffer(buffers[2], dtype=np.uint8) if buffers[2] is not None else np.zeros(0, dtype=np.uint8)
        self._bytes = whole[int(offsets[0]) : int(offsets[-1])]

    def put(self, out: npt.NDArray[np.uint8], at: npt.NDArray[np.int64]) -> None:
        """Scatter the rows' bytes to their places: row i begins at `at[i]`."""
        import numpy as np

        first = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        out[np.repeat(at - first, self.sizes) + np.arange(len(self._bytes))] = self._bytes


def _put_int32(out: npt.NDArray[np.uint8], at: npt.NDArray[np.int64], values: Any) -> None:
    """Big-endian integers at the given places."""
    for shift in range(4):
        out[at + shift] = (values >> (24 - 8 * shift)) & 0xFF


def _type_of(kind: pa.DataType) -> tuple[PgType, bool]:
    """The PostgreSQL type of an Arrow type, and whether it is an array of that type."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return _type_of(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        inner, is_array = _type_of(kind.value_type)
        return (inner, True) if not is_array and inner.name != "json" else (PG_TYPES["json"], False)
    if types.is_nested(kind):
        return PG_TYPES["json"], False
    if types.is_timestamp(kind):
        return PG_TYPES["timestamp" if kind.tz is None else "timestamptz"], False
    named = _NAMES.get(str(kind))
    if named is None:
        tests = ((types.is_decimal, "numeric"), (types.is_time, "time"), (types.is_date, "date"), (_is_bytes, "bytea"))
        spans = ((types.is_duration, "interval"), (types.is_interval, "interval"))
        named = next((name for test, name in (*tests, *spans) if test(kind)), "text")
    return PG_TYPES[named], False


_NAMES = {
    "bool": "bool",
    "int8": "int2",
    "int16": "int2",
    "int32": "int4",
    "int64": "int8",
    "uint8": "int2",
    "uint16": "int4",
    "uint32": "int8",
    "uint64": "numeric",
    "halffloat": "float4",
    "float": "float4",
    "double": "float8",
}


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _wire_text(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column in PostgreSQL's text format: as `exact_text`, but booleans are t and f, and arrays `{1,NULL,"a b"}`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, is_array = _type_of(column.type)
    if is_array:
        return _array_text(column)
    if kind.name == "bool":
        return pc.cast(pc.if_else(column, "t", "f"), pa.string()).combine_chunks()
    return exact_text(column)


def _array_text(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One-dimensional arrays; elements that PostgreSQL would misread are quoted."""
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    texts = _wire_text(pa.chunked_array([whole.flatten()])).to_pylist()
    words = ["NULL" if text is None else _element(text) for text in texts]
    result: list[str | None] = []
    at = 0
    for size in whole.value_lengths().to_pylist():
        result.append(None if size is None else "{" + ",".join(words[at : at + size]) + "}")
        at += size or 0
    return pa.array(result, pa.string())


def _element(text: str) -> str:
    """An array element, quoted when it is empty, the word NULL, or holds a character that arrays use themselves."""
    if text and text.upper() != "NULL" and not set(text) & set('{}",\\ \t\n\r\v\f'):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
