"""The types of parameters that a client leaves open, from what stands beside them: asyncpg encodes by them.

What nothing tells is text, as before. The SQL itself is not changed by what is found here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlglot import exp

from cubes.serve.pg_types import PG_TYPES

_OIDS: Final = {name: item.oid for name, item in PG_TYPES.items()}
_NAMES: Final = {
    "INT": "int4",
    "BIGINT": "int8",
    "SMALLINT": "int2",
    "DOUBLE": "float8",
    "FLOAT": "float4",
    "DECIMAL": "numeric",
    "BOOLEAN": "bool",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMPTZ": "timestamptz",
    "INTERVAL": "interval",
    "TEXT": "text",
    "VARCHAR": "text",
    "NAME": "text",
    "JSON": "json",
}
_COMPARES: Final = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)
_SUMS: Final = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod)
_MOMENTS: Final = (exp.TimestampTrunc, exp.DateTrunc, exp.CurrentTimestamp, exp.DateBin)
_KEPT: Final = (exp.Min, exp.Max, exp.Paren, exp.Neg, exp.Coalesce, exp.Abs)


def parameter_oids(tree: exp.Expression, columns: Mapping[str, str]) -> dict[int, int]:
    """The type oid of each $n that its place tells; `columns` has the type names of columns that it may use."""
    found: dict[int, int] = {}
    for node in tree.find_all(exp.Parameter):
        name = node.this.name
        told = _told(node, columns) if name.isdigit() else ""
        if told:
            item = PG_TYPES[told.removesuffix("[]")]
            found.setdefault(int(name), item.array_oid if told.endswith("[]") else item.oid)
    return found


def _told(node: exp.Expr, columns: Mapping[str, str]) -> str:
    """The type name that a parameter's place tells; empty where nothing does."""
    parent = node.parent
    while isinstance(parent, (exp.Paren, exp.Neg)):
        node, parent = parent, parent.parent
    if isinstance(parent, exp.Cast):
        return _cast(parent.to)
    if isinstance(parent, (exp.Limit, exp.Offset, exp.Fetch)):
        return "int8"
    if isinstance(parent, exp.Any):
        around = parent.parent
        beside = _type(around.this, columns) if isinstance(around, _COMPARES) else ""
        return f"{beside}[]" if beside else ""
    if isinstance(parent, _COMPARES):
        return _type(parent.expression if parent.this is node else parent.this, columns)
    if isinstance(parent, exp.Between):
        return _type(parent.this, columns)
    if isinstance(parent, exp.In) and parent.this is not node:
        return _type(parent.this, columns)
    if isinstance(parent, _SUMS):
        beside = _type(parent.expression if parent.this is node else parent.this, columns)
        return "interval" if beside.startswith("timestamp") and isinstance(parent, (exp.Add, exp.Sub)) else beside
    return ""


def _type(node: exp.Expr, columns: Mapping[str, str], depth: int = 0) -> str:
    """The type name of an expression, as far as it is plain."""
    if depth > 20:
        return ""
    if isinstance(node, exp.Column):
        return columns.get(node.name) or _aliased(node, columns, depth)
    if isinstance(node, exp.Cast):
        return _cast(node.to)
    if isinstance(node, exp.Literal):
        return "" if node.is_string else "int8" if node.name.isdigit() else "numeric"
    if isinstance(node, exp.Count):
        return "int8"
    if isinstance(node, _MOMENTS):
        return "timestamptz"
    if isinstance(node, (exp.Avg, exp.Extract)):
        return "numeric"
    if isinstance(node, exp.Interval):
        return "interval"
    if isinstance(node, exp.Sum):
        inner = _type(node.this, columns, depth + 1)
        return "int8" if inner.startswith("int") else inner
    if isinstance(node, _KEPT):
        return _type(node.this, columns, depth + 1)
    if isinstance(node, _SUMS):
        return _type(node.this, columns, depth + 1) or _type(node.expression, columns, depth + 1)
    return ""


def _aliased(node: exp.Column, columns: Mapping[str, str], depth: int) -> str:
    """A column of a sub-query, by the expression that has its name there."""
    for alias in node.root().find_all(exp.Alias):
        if alias.alias == node.name and not isinstance(alias.this, exp.Column):
            return _type(alias.this, columns, depth + 1)
    return ""


def _cast(kind: exp.DataType) -> str:
    if kind.is_type(exp.DataType.Type.ARRAY):
        inner = _cast(kind.expressions[0]) if kind.expressions else ""
        return f"{inner}[]" if inner else ""
    plain = kind.sql("postgres").lower().rpartition(".")[2]
    return "oid" if plain in ("oid", "regclass", "regtype") else _NAMES.get(kind.this.name, "")
