"""Text to one statement's tree: bounded before parsing, and only what the grammar allows after it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from cubes.route.asof import respelled, take_as_of
from cubes.route.grammar import (
    AGGREGATES,
    CLAUSES,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_TOKENS,
    NODES,
    PARTS,
    TYPES,
    UNITS,
    WORDS,
)
from cubes.route.lower import is_volatile
from cubes.route.past import Past
from cubes.route.templates import set_format
from lake.errors import QueryError, did_you_mean

if TYPE_CHECKING:
    from cubes.route.statement import Statement
    from cubes.route.view import View

# What it would warn about (text taken as a command) is refused below.
logging.getLogger("sqlglot").setLevel(logging.ERROR)

_OPEN = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE}
_CLOSE = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END}
_QUERIES = (exp.Select, exp.SetOperation, exp.Subquery)


def parse(statement: Statement, view: View) -> Statement:
    """The statement with its tree: one read query in PostgreSQL's dialect, names in lower case unless quoted.

    Errors: QueryError for what is too long, too deep, not a read, or outside the grammar.
    """
    tree = parse_text(statement.text)
    asked = take_as_of(tree)
    if asked is not None:
        view.past = Past(asked)
    return replace(statement, tree=tree, volatile=is_volatile(tree))


def parse_text(text: str) -> exp.Query:
    """The tree of one query; QueryError says what is wrong and where."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise QueryError(f"the statement is longer than {MAX_BYTES} bytes.", todo="Shorten its lists.", code="54000")
    if "\0" in text:
        raise QueryError("the statement holds a NUL character.", todo="Remove it.")
    try:
        _bound(sqlglot.tokenize(text, read="postgres"))
        trees = [tree for tree in sqlglot.parse(respelled(text), read="postgres") if tree is not None]
        return _one_query(trees)
    except (ParseError, TokenError) as error:
        raise QueryError(f"syntax error: {_message(error)}.", todo="Correct it.") from error
    except (RecursionError, SqlglotError) as error:
        raise QueryError("the statement is too deeply nested.", todo="Split it by WITH.", code="54001") from error


def _bound(tokens: Sequence[Token]) -> None:
    if len(tokens) > MAX_TOKENS:
        raise QueryError(f"the statement has more than {MAX_TOKENS} tokens.", todo="Shorten it.", code="54001")
    depth = 0
    for token in tokens:
        depth += (token.token_type in _OPEN) - (token.token_type in _CLOSE)
        if depth > MAX_DEPTH:
            todo = "Split it by WITH."
            raise QueryError(f"the statement is nested more than {MAX_DEPTH} deep.", todo=todo, code="54001")


def _one_query(trees: Sequence[exp.Expr]) -> exp.Query:
    if len(trees) != 1:
        what = "there is no statement." if not trees else f"one statement at a time, not {len(trees)}."
        raise QueryError(what, todo="Send one SELECT.")
    tree = trees[0]
    if not isinstance(tree, _QUERIES):
        word = tree.name if isinstance(tree, exp.Command) else tree.key.upper()
        raise QueryError(
            f"{word or 'this'} is not a read.", todo="Only SELECT (with WITH, UNION) is run.", code="25006"
        )
    for node in tree.walk():
        _check(node)
    return tree


def _check(node: exp.Expr) -> None:
    """Refuse a node outside the grammar; bring names to PostgreSQL's case, quoted from here on."""
    if isinstance(node, exp.Identifier):
        _name(node)
    elif isinstance(node, exp.Anonymous):
        _word(node)
    elif type(node) not in NODES:
        raise QueryError(f"{_shown(node)} is not supported.", todo="docs/sql.md lists what is.", code="0A000")
    elif unread := [
        part for part, value in node.args.items() if value and part not in PARTS.get(type(node), node.args)
    ]:
        what = unread[0].rstrip("_").replace("_", " ").upper()
        raise QueryError(f"{what} is not supported in {_shown(node)}.", todo="Leave it out.", code="0A000")
    elif isinstance(node, exp.Interval):
        _interval(node)
    elif isinstance(node, exp.TimeToStr):
        set_format(node)
    elif isinstance(node, exp.DateBin) and isinstance(node.args.get("unit"), exp.Var):
        # A bare text there is the origin.
        node.set("unit", exp.cast(exp.Literal.string(node.args["unit"].name), "TIMESTAMPTZ"))
    elif isinstance(node, exp.Count) and (node.expressions or len(node.this.expressions) > 1):
        raise QueryError("count() takes one value.", todo="Count them one by one.", code="42883")
    elif isinstance(node, exp.Order) and isinstance(node.parent, (exp.Distinct, *AGGREGATES)):
        raise QueryError("ORDER BY inside an aggregate is not supported.", todo="Leave it out.", code="0A000")
    elif isinstance(node, exp.Select):
        for clause, value in node.args.items():
            if value and clause not in CLAUSES:
                raise QueryError(f"{clause.upper()} is not supported in SELECT.", todo="Leave it out.", code="0A000")
    elif isinstance(node, exp.Cast):
        if node.to.this not in TYPES or node.args.get("format"):
            raise QueryError(f"no cast to {node.to.sql('postgres')}.", todo="Cast to a plain type.", code="0A000")
    elif isinstance(node, exp.Table):
        _table(node)
    elif isinstance(node, exp.Column) and node.args.get("db"):
        raise QueryError(f"{node.sql('postgres')}: a column has no schema.", todo="Write table.column.", code="42703")
    elif isinstance(node, exp.With) and node.args.get("recursive"):
        raise QueryError("WITH RECURSIVE is not supported.", todo="Write it without RECURSIVE.", code="0A000")


def _interval(node: exp.Interval) -> None:
    """PostgreSQL's short names of units as the engine's long ones."""
    unit = node.args.get("unit")
    if isinstance(unit, exp.Var) and node.args.pop("fraction_in_string", None):
        # The engine would cut it.
        node.set("this", exp.Literal.string(f"{node.name} {UNITS.get(unit.name.lower(), unit.name)}"))
        node.set("unit", None)
    elif isinstance(unit, exp.Var):
        name = unit.name.lower()
        if name not in UNITS:
            known = did_you_mean(name, UNITS) or "Use seconds, minutes, hours, days, weeks, months or years."
            raise QueryError(f"there is no unit '{unit.name}' of an interval.", todo=known, code="22007")
        node.set("unit", exp.Var(this=UNITS[name].upper()))


def _name(node: exp.Identifier) -> None:
    name = node.this if node.quoted else node.this.lower()
    if name.lower().startswith("fc_"):
        raise QueryError(f"names that begin with fc_ are taken ({name}).", todo="Use another name.", code="42939")
    node.set("this", name)
    node.set("quoted", True)


def _word(node: exp.Anonymous) -> None:
    name = str(node.this).lower()
    node.set("this", name)
    if name not in WORDS:
        near = did_you_mean(name, (*WORDS, *(kind.key for kind in NODES if issubclass(kind, exp.Func))))
        raise QueryError(
            f"there is no function {name}().", todo=near or "docs/sql.md lists the functions.", code="42883"
        )
    if len(node.expressions) not in WORDS[name]:
        wanted = " or ".join(map(str, WORDS[name]))
        raise QueryError(f"{name}() takes {wanted} arguments, not {len(node.expressions)}.", code="42883")


def _table(node: exp.Table) -> None:
    schema = node.args.get("db")
    if node.args.get("catalog") or (schema is not None and schema.name.lower() != "public"):
        raise QueryError(f"there is no table {node.sql('postgres')}.", todo="Name a fact or a lookup.", code="42P01")
    node.set("db", None)
    if not isinstance(node.this, exp.Identifier):
        raise QueryError("a function can't stand for a table.", todo="Name a fact or a lookup.", code="0A000")
    extra = [part for part, value in node.args.items() if value and part not in ("this", "alias", "version")]
    if extra:
        raise QueryError(f"{extra[0]} after a table is not supported.", todo="Leave it out.", code="0A000")


def _shown(node: exp.Expr) -> str:
    text = node.sql("postgres")
    return f"{text[:60]}..." if len(text) > 60 else text or node.key


def _message(error: Exception) -> str:
    if isinstance(error, ParseError) and error.errors:
        first = error.errors[0]
        return f"{first['description']} near '{first['highlight']}', line {first['line']}, column {first['col']}"
    return str(error).splitlines()[0].rstrip(".")
