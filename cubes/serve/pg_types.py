"""Arrow columns as PostgreSQL columns: the type that a client is told, and values in text format.

Exact whole numbers of DuckDB (HUGEINT, DECIMAL(38,0)) are sent as int8 when every value fits: clients compute with int8
natively and drop `numeric` from sums of percentages. Decimals go out as `numeric` with exactly the digits that matter.
`rows` lays them out, `pg_binary` has the other format.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cubes.formats import exact_text
from cubes.serve.pgwire import Field
from lake.errors import QueryError

if TYPE_CHECKING:
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


def conform(table: pa.Table, wanted: Sequence[Field]) -> pa.Table:
    """The table with the types that a client was told before it ran. Errors: QueryError 22003 or 0A000 where it can't.

    A prepared statement is described before its values are known, and a client decodes by that description.
    """
    import pyarrow as pa

    if len(wanted) != table.num_columns:
        raise QueryError("the columns of the prepared statement have changed", todo="Prepare it again.", code="0A000")
    for place, (told, own) in enumerate(zip(wanted, fields_of(table.schema), strict=True)):
        if told.oid != own.oid:
            try:
                made = _conformed(table.column(place), told.oid)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                what = f"a value of column {own.name} is no {_named(told.oid)}, as the prepared statement was described"
                raise QueryError(what, todo="Send the SQL without preparing it.", code="22003") from error
            table = table.set_column(place, own.name, made)
    return table


def _conformed(column: pa.ChunkedArray, oid: int) -> pa.ChunkedArray:
    import pyarrow as pa

    name = next((item.name for item in PG_TYPES.values() if item.oid == oid), "")
    if pa.types.is_null(column.type) and oid in _ARRAY_OIDS:
        return column.cast(pa.list_(getattr(pa, _ARROW.get(_ARRAY_OIDS[oid], "string"))()))
    if name in ("timestamptz", "timestamp"):
        return column.cast(pa.timestamp("us", "UTC" if name == "timestamptz" else None))
    if name == "numeric":
        return column.cast(pa.decimal128(38, 0))
    if name == "text":
        texts = wire_text(column)
        return pa.chunked_array([texts])
    if name not in _ARROW:
        raise pa.ArrowInvalid(f"no way to {name or oid}")
    return column.cast(getattr(pa, _ARROW[name])())


def _named(oid: int) -> str:
    return next((item.title for item in PG_TYPES.values() if item.oid == oid), f"type {oid}")


_ARROW = {
    "bool": "bool_",
    "int2": "int16",
    "int4": "int32",
    "int8": "int64",
    "float4": "float32",
    "float8": "float64",
    "date": "date32",
}
_ARRAY_OIDS = {item.array_oid: item.name for item in PG_TYPES.values()}


def fields_of(schema: pa.Schema) -> list[Field]:
    """The row description of a settled table."""
    described = []
    for field in schema:
        kind, is_array = type_of(field.type)
        oid, size = (kind.array_oid, -1) if is_array else (kind.oid, kind.size)
        described.append(Field(field.name, oid, size))
    return described


def type_of(kind: pa.DataType) -> tuple[PgType, bool]:
    """The PostgreSQL type of an Arrow type, and whether it is an array of that type."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return type_of(kind.value_type)
    if types.is_list(kind) or types.is_large_list(kind):
        inner, is_array = type_of(kind.value_type)
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


def wire_text(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column in PostgreSQL's text format: as `exact_text`, but booleans are t and f, and arrays `{1,NULL,"a b"}`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, is_array = type_of(column.type)
    if is_array:
        return _array_text(column)
    if kind.name == "bool":
        return pc.cast(pc.if_else(column, "t", "f"), pa.string()).combine_chunks()
    return exact_text(column)


def _array_text(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One-dimensional arrays; elements that PostgreSQL would misread are quoted."""
    import pyarrow as pa

    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    texts = wire_text(pa.chunked_array([whole.flatten()])).to_pylist()
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
