"""A catalogue query in PostgreSQL's words, rewritten on its tree for the plain tables of pg_catalog.sql."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from sqlglot import exp

from cubes.serve.catalog_grammar import OF_CONNECTION
from lake.errors import QueryError, did_you_mean

Known = Mapping[str, str | int]

_SYSTEM = ("pg_catalog", "information_schema", "fleet")
_OPERATORS: dict[str, Callable[[exp.Expr, exp.Expr], exp.Expr]] = {
    "~": lambda left, right: exp.RegexpLike(this=left, expression=right),
    "!~": lambda left, right: exp.Not(this=exp.RegexpLike(this=left, expression=right)),
    "=": lambda left, right: exp.EQ(this=left, expression=right),
    "<>": lambda left, right: exp.NEQ(this=left, expression=right),
    "~~": lambda left, right: exp.Like(this=left, expression=right),
    "!~~": lambda left, right: exp.Not(this=exp.Like(this=left, expression=right)),
}
_TEXTS = frozenset(
    {"name", "text", "char", "regproc", "regnamespace", "regrole", "bpchar", "information_schema.sql_identifier"}
)
_NUMBERS = frozenset({"oid", "xid", "cid"})
_NODES: dict[type[exp.Expr], str] = {
    exp.CurrentUser: "current_user",
    exp.SessionUser: "session_user",
    exp.CurrentSchema: "current_schema",
    exp.CurrentCatalog: "current_database",
    exp.CurrentDatabase: "current_database",
    exp.CurrentVersion: "version",
}
_OUTPUT_NAMES: dict[type[exp.Expr], str] = {
    exp.CurrentTimestamp: "now",
    exp.Boolean: "bool",
    exp.Array: "array",
    exp.Case: "case",
    exp.Exists: "exists",
}
_TYPE_NAMES = {"int": "int4", "bigint": "int8", "smallint": "int2", "double precision": "float8", "boolean": "bool"}
_MARK = re.compile("%[sI%]")
# The only functions that may stand where a table does.
_TABLE_FUNCTIONS = (exp.ExplodingGenerateSeries, exp.GenerateSeries, exp.Explode)


def tables_of(tree: exp.Expr) -> list[str]:
    """The tables that a query reads, as written (schema.name), less the names that its own WITH defines."""
    own = {item.alias.lower() for item in tree.find_all(exp.CTE)}
    names = []
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier) and (table.db or table.name.lower() not in own):
            names.append(f"{table.db}.{table.name}".lstrip(".").lower())
        elif not isinstance(table.this, (exp.Identifier, *_TABLE_FUNCTIONS)):
            raise QueryError(f"the function {table.this.sql('postgres')} can't be read from", code="0A000")
    return names


def is_system(name: str) -> bool:
    """Whether a table's written name is one of the catalogue's."""
    schema, _, bare = name.rpartition(".")
    return schema in _SYSTEM or (not schema and bare.startswith("pg_"))


def output_names(tree: exp.Query) -> list[str] | None:
    """The names that PostgreSQL gives to the columns of a query; None where a star hides them."""
    if tree.is_star:
        return None
    return [_output_name(node) for node in tree.selects]


def rewrite(
    tree: exp.Expr, tables: frozenset[str], macros: frozenset[str], setting: Callable[[str], str], known: Known
) -> exp.Expr:
    """The query for DuckDB, from `tables` and `macros` by their fc_ names; `setting` reads a connection's variable."""
    tree = tree.copy()
    _rename_tables(tree, tables)

    def step(node: exp.Expr) -> exp.Expr:
        for change in (_operator, _collation, _cast, _column, _division):
            node = change(node)
        return _function(node, macros, setting, known)

    return _bottom_up(tree, step)


def _division(node: exp.Expr) -> exp.Expr:
    """Integers divide as integers, by the engine's setting; a division by zero is an error, not infinity."""
    if isinstance(node, exp.Div):
        node.set("typed", False)
        node.set("safe", False)
        node.set("expression", exp.Anonymous(this="fc_nonzero", expressions=[node.expression.copy()]))
    return node


def _bottom_up(node: exp.Expr, step: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """Apply `step` to every node, children first, so that a step sees what its operands became."""
    for found in reversed(list(node.walk(bfs=True))):
        changed = step(found)
        if changed is not found:
            if found is node:
                node = changed
            else:
                found.replace(changed)
    return node


def _rename_tables(tree: exp.Expr, tables: frozenset[str]) -> None:
    own = {item.alias.lower() for item in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        if isinstance(table.this, exp.Explode):
            # PostgreSQL names the one column of unnest(...) x after its alias.
            column = exp.to_identifier(table.alias or "unnest")
            items = exp.TableAlias(this=exp.to_identifier("fc_items"), columns=[column])
            table.replace(exp.Unnest(expressions=[table.this.this.copy()], alias=items))
            continue
        if isinstance(table.this, _TABLE_FUNCTIONS):
            table.set("db", None)
            continue
        if not isinstance(table.this, exp.Identifier) or (not table.db and table.name.lower() in own):
            continue
        schema, bare = (table.db or "pg_catalog").lower(), table.name.lower()
        prefix = {"information_schema": "fc_is_", "fleet": "fc_fleet_"}.get(schema, "fc_")
        if prefix + bare not in tables:
            near = did_you_mean(bare, [name.removeprefix(prefix) for name in tables if name.startswith(prefix)])
            raise QueryError(f'the catalogue has no table "{schema}.{bare}"', todo=near, code="42P01")
        alias = table.alias or bare
        table.set("this", exp.to_identifier(prefix + bare))
        table.set("db", None)
        table.set("catalog", None)
        if not table.alias:
            table.set("alias", exp.TableAlias(this=exp.to_identifier(alias)))


def _operator(node: exp.Expr) -> exp.Expr:
    if not isinstance(node, exp.Operator):
        return node
    name = str(node.args["operator"]).rpartition(".")[2]
    make = _OPERATORS.get(name)
    if make is None:
        raise QueryError(f"the catalogue doesn't know the operator {name}", code="0A000")
    return exp.paren(make(node.this.copy(), node.expression.copy()), copy=False)


def _collation(node: exp.Expr) -> exp.Expr:
    return node.this.copy() if isinstance(node, exp.Collate) else node


def _column(node: exp.Expr) -> exp.Expr:
    """`pg_catalog.pg_class.oid` is `pg_class.oid`: the renamed tables have no schema."""
    if isinstance(node, exp.Column) and node.args.get("db"):
        node.set("db", None)
        node.set("catalog", None)
    return node


def _cast(node: exp.Expr) -> exp.Expr:
    """Casts to PostgreSQL's own types: names are text, object ids are numbers, reg* types look the other side up."""
    if not isinstance(node, exp.Cast):
        return node
    target = node.to.sql("postgres").lower().replace('"', "").removeprefix("pg_catalog.")
    item, array = target.removesuffix("[]"), "[]" if target.endswith("[]") else ""
    if item in ("regclass", "regtype"):
        inner = node.this
        while isinstance(inner, exp.Cast):
            inner = inner.this
        literal = isinstance(inner, exp.Literal) and inner.is_string
        name = f"fc_to_{item}" if literal else f"fc_{item}_name"
        return exp.Anonymous(this=name, expressions=[node.this.copy()])
    if item == "regproc" and isinstance(node.this, exp.Literal):
        return exp.Literal.string(node.this.name.removeprefix("pg_catalog."))
    if item in _TEXTS or item in _NUMBERS:
        kind = "VARCHAR" if item in _TEXTS else "BIGINT"
        return exp.Cast(this=node.this.copy(), to=exp.DataType.build(kind + array, dialect="duckdb"))
    if node.to.is_type("userdefined"):
        raise QueryError(f"the catalogue doesn't know the type {target}", code="0A000")
    return node


def _function(node: exp.Expr, macros: frozenset[str], setting: Callable[[str], str], known: Known) -> exp.Expr:
    """Functions of the connection become their values, PostgreSQL's own become macros, `pg_catalog.` goes."""
    if isinstance(node, exp.Dot) and node.this.name.lower() in ("pg_catalog", "information_schema"):
        inner: exp.Expr = node.expression.copy()
        return inner
    if type(node) in _NODES:
        return _value(known[_NODES[type(node)]])
    if isinstance(node, exp.CurrentSchemas):
        return exp.array("'pg_catalog'", "'public'", dialect="duckdb")
    if isinstance(node, exp.Format):
        return _formatted(node.this, node.expressions)
    if not isinstance(node, exp.Anonymous):
        return node
    name = node.name.lower()
    if name in OF_CONNECTION:
        return _value(known[name])
    if name == "current_setting" and node.expressions:
        asked = node.expressions[0]
        while isinstance(asked, exp.Cast):
            asked = asked.this
        if isinstance(asked, exp.Literal):
            return _value(setting(asked.name))
    if name == "current_schemas":
        return exp.array("'pg_catalog'", "'public'", dialect="duckdb")
    if name == "format":
        return _formatted(node.expressions[0], node.expressions[1:])
    if name == "json_build_object":
        return exp.Anonymous(this="json_object", expressions=[e.copy() for e in node.expressions])
    if f"fc_{name}" in macros:
        return exp.Anonymous(this=f"fc_{name}", expressions=[e.copy() for e in node.expressions])
    return node


def _formatted(form: exp.Expr, values: Sequence[exp.Expr]) -> exp.Expr:
    """format('%I.%s', a, b) as its pieces side by side; the engine's own format has other words."""
    marks = _MARK.findall(form.name) if isinstance(form, exp.Literal) and form.is_string else None
    if marks is None or sum(mark != "%%" for mark in marks) != len(values) or "%" in _MARK.sub("", form.name):
        raise QueryError("format() takes a constant text with %s, %I and %%, and a value for each", code="0A000")
    pieces: list[exp.Expr] = []
    rest = iter(values)
    for text, mark in zip(_MARK.split(form.name), [*marks, ""], strict=True):
        pieces.append(exp.Literal.string(text))
        if mark == "%%":
            pieces.append(exp.Literal.string("%"))
        elif mark:
            value = exp.cast(next(rest).copy(), "VARCHAR")
            pieces.append(value if mark == "%s" else exp.Anonymous(this="fc_quote_ident", expressions=[value]))
    return exp.Concat(expressions=pieces, safe=False, coalesce=False)


def _value(value: str | int) -> exp.Expr:
    return exp.Literal.number(value) if isinstance(value, int) else exp.Literal.string(value)


def _output_name(node: exp.Expr) -> str:
    """An alias or a column's name, else the name of the function or type that made the value."""
    if isinstance(node, (exp.Alias, exp.Column)):
        return node.alias_or_name
    if isinstance(node, exp.Dot):
        return _output_name(node.expression)
    if isinstance(node, exp.Paren):
        return _output_name(node.this)
    if isinstance(node, exp.Subquery):
        return (output_names(node.this) or ["?column?"])[0]
    if isinstance(node, exp.Cast):
        inner = _output_name(node.this)
        kind = node.to.sql("postgres").lower().rpartition(".")[2]
        return _TYPE_NAMES.get(kind, kind) if inner == "?column?" else inner
    named = _NODES.get(type(node)) or _OUTPUT_NAMES.get(type(node))
    if named is not None:
        return named
    if isinstance(node, exp.Anonymous):
        return node.name.lower()
    return node.sql_name().lower() if isinstance(node, exp.Func) and not isinstance(node, exp.Connector) else "?column?"
