"""The text of a query message as statements: split at semicolons by the SQL tokenizer, so never inside a literal."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.postgres import Postgres
from sqlglot.errors import ParseError, SqlglotError, TokenError

from cubes.route.asof import respelled
from cubes.route.grammar import MAX_DEPTH, MAX_TOKENS
from lake.errors import QueryError

PUBLIC = "public"
_LONGEST = 1_000_000
_OPEN = frozenset(("(", "[", "{", "CASE"))
_CLOSE = frozenset((")", "]", "}", "END"))


@dataclass(frozen=True)
class Statement:
    """One statement. `offset` is where it begins in the client's text; `tokens` are its words as (text, quoted)."""

    text: str
    offset: int
    tokens: tuple[tuple[str, bool], ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Its bare words in upper case, quoted ones as an empty text."""
        return tuple("" if quoted else text.upper() for text, quoted in self.tokens)

    @property
    def verb(self) -> str:
        """Its first word, past opening brackets."""
        return next((word for word in self.words if word != "("), "")


def split(sql: str) -> list[Statement]:
    """The statements of a text, empty ones left out. Errors: QueryError 42601, or 54000 for a text too long."""
    if len(sql) > _LONGEST:
        raise QueryError(f"the query text has {len(sql):,} characters, at most {_LONGEST:,} are read", code="54000")
    try:
        sql = respelled(sql)
        tokens = Postgres().tokenize(sql)
    except TokenError as error:
        raise QueryError(f"syntax error: {str(error).splitlines()[0]}", code="42601") from error
    groups: list[list[Token]] = [[]]
    for token in tokens:
        if token.token_type is TokenType.SEMICOLON:
            groups.append([])
        else:
            groups[-1].append(token)
    return [_statement(sql, group) for group in groups if group]


def parse(statement: Statement) -> exp.Expression:
    """The statement as a tree in PostgreSQL's dialect.

    Errors: QueryError 42601 with the position, 54001 for one that is too long or too deep to be taken apart.
    """
    _bound(statement)
    try:
        trees = Postgres().parse(statement.text)
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        what = f"syntax error: {first.get('description', 'the statement can not be read')}"
        near = first.get("highlight")
        raise _placed(f"{what} near '{near}'" if near else what, statement.text, first) from error
    except RecursionError as error:
        raise QueryError("the statement is too deeply nested", todo="Split it by WITH.", code="54001") from error
    except SqlglotError as error:
        raise QueryError(f"syntax error: {str(error).splitlines()[0]}", code="42601") from error
    if len(trees) != 1 or not isinstance(trees[0], exp.Expression):
        raise QueryError("syntax error: one statement expected", code="42601")
    return trees[0]


def _bound(statement: Statement) -> None:
    """The router's own bounds, before anything is built of the text."""
    depth = 0
    for text, quoted in statement.tokens:
        word = "" if quoted else text.upper()
        depth += (word in _OPEN) - (word in _CLOSE)
        if depth > MAX_DEPTH:
            what = f"the statement is nested more than {MAX_DEPTH} deep"
            raise QueryError(what, todo="Split it by WITH.", code="54001")
    if len(statement.tokens) > MAX_TOKENS:
        raise QueryError(f"the statement has more than {MAX_TOKENS} tokens", todo="Shorten it.", code="54001")


def explained(statement: Statement) -> str:
    """The query that an EXPLAIN is about. Errors: QueryError 0A000 for one with options."""
    found = re.match(r"explain(\s+cube)?\s+(?=select|with|values|table|\()", statement.text, re.IGNORECASE)
    rest = statement.text[found.end() :] if found else ""
    if not rest or rest.startswith("("):
        todo = "Write EXPLAIN CUBE SELECT ..., without options."
        raise QueryError("EXPLAIN with options is not supported", todo=todo, code="0A000")
    return rest


def without_schema(statement: Statement) -> str:
    """Facts live in `public`: a query that says so is rendered without it, any other keeps its own text."""
    if not any(text.lower() == PUBLIC for text, _ in statement.tokens):
        return statement.text
    tree = parse(statement)
    for node in tree.find_all(exp.Table, exp.Column):
        if (node.text("db") or "").lower() == PUBLIC:
            node.set("db", None)
            node.set("catalog", None)
    return tree.sql("postgres")


def _statement(sql: str, tokens: list[Token]) -> Statement:
    start, end = tokens[0].start, tokens[-1].end + 1
    quoted = (TokenType.STRING, TokenType.IDENTIFIER, TokenType.HEREDOC_STRING, TokenType.BYTE_STRING)
    return Statement(sql[start:end], start, tuple((t.text, t.token_type in quoted) for t in tokens))


def _placed(what: str, text: str, place: dict[str, object]) -> QueryError:
    """The error, with the position in characters where the parser knows line and column."""
    error = QueryError(what, code="42601")
    line, column, mark = place.get("line"), place.get("col"), place.get("highlight")
    if isinstance(line, int) and isinstance(column, int):
        before = sum(len(row) + 1 for row in text.split("\n")[: line - 1])
        # The parser's column is where the marked word ends.
        error.position = max(1, before + column - len(str(mark or " ")) + 1)
    return error
