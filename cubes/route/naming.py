"""The name that PostgreSQL gives an output column that has none of its own."""

from __future__ import annotations

from sqlglot import exp


def default_name(node: exp.Expr) -> str:
    """A column's name, a function's, or ?column?."""
    while isinstance(node, (exp.Paren, exp.Filter, exp.Window, exp.WithinGroup, exp.Cast)):
        node = node.this
    match node:
        case exp.Column() | exp.Anonymous():
            return node.name
        case exp.TimestampTrunc() | exp.DateTrunc():
            return "date_trunc"
        case exp.Case():
            return "case"
        case exp.TimeToStr():
            return "to_char"
        case exp.Func() if not isinstance(node, (exp.And, exp.Or)):
            return node.sql_name().lower()
    return "?column?"
