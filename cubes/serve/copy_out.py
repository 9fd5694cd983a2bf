"""COPY ... TO STDOUT: what is asked for, read from its words; the rows are those of the query inside."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from cubes.serve.statements import Statement, split
from lake.errors import QueryError, did_you_mean

_FORMS: Final = ("text", "csv", "binary")
_OPTIONS: Final = ("format", "delimiter", "null", "header", "encoding")
_TODO: Final = "Write COPY (SELECT ...) TO STDOUT, or ... WITH (FORMAT csv, HEADER)."


@dataclass(frozen=True)
class CopyOptions:
    """The form of the data: text, csv or binary."""

    form: str = "text"
    delimiter: str = "\t"
    null: str = "\\N"
    header: bool = False


@dataclass(frozen=True)
class Copy:
    """A COPY as the query that gives its rows, and the form they are wanted in."""

    query: Statement
    options: CopyOptions


def read_copy(statement: Statement) -> Copy:
    """Read a COPY. Errors: QueryError 25006 for one that writes, 0A000 for files and unknown options, 42601."""
    tokens = statement.tokens
    if tokens[1:2] == (("(", False),):
        inner, rest = _inside(statement.text, statement.text.index("(") + 1)
        query = split(inner)
        if len(query) != 1 or query[0].verb not in ("SELECT", "WITH", "VALUES", "TABLE"):
            raise QueryError("COPY wants one query in its brackets", todo=_TODO, code="42601")
        source, words = query[0], split("x " + rest)[0].tokens[1:] if rest.strip() else ()
    else:
        source, words = _table(statement)
    return Copy(source, _target(words))


def _inside(text: str, start: int) -> tuple[str, str]:
    """The text within the bracket that opens before `start`, and what is behind it; literals are no brackets."""
    from sqlglot import TokenType
    from sqlglot.dialects.postgres import Postgres

    depth = 0
    for token in Postgres().tokenize(text):
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
        if token.token_type is TokenType.R_PAREN and depth == 0:
            return text[start : token.start], text[token.end + 1 :]
    raise QueryError("syntax error: a bracket is not closed", todo=_TODO, code="42601")


def _closing(tokens: tuple[tuple[str, bool], ...], start: int) -> int:
    depth = 0
    for place in range(start, len(tokens)):
        depth += (tokens[place] == ("(", False)) - (tokens[place] == (")", False))
        if depth == 0:
            return place
    raise QueryError("syntax error: a bracket is not closed", todo=_TODO, code="42601")


def _table(statement: Statement) -> tuple[Statement, tuple[tuple[str, bool], ...]]:
    """COPY table [(columns)] TO STDOUT as a SELECT."""
    tokens = statement.tokens[1:]
    words = [text.upper() if not quoted else "" for text, quoted in tokens]
    end = next((place for place, word in enumerate(words) if word in ("(", "TO", "FROM")), len(words))
    if not end or any(not quoted and not re.fullmatch(r"[A-Za-z_][\w$]*|\.", text) for text, quoted in tokens[:end]):
        raise QueryError("syntax error: COPY wants a table or a query", todo=_TODO, code="42601")
    if "FROM" in words[end:]:
        _refuse_writing()
    name = "".join(text if not quoted and text == "." else _quoted(text, quoted) for text, quoted in tokens[:end])
    columns = "*"
    if words[end : end + 1] == ["("]:
        close = _closing(tokens, end)
        listed = tokens[end + 1 : close]
        if any(not quoted and text != "," and not re.fullmatch(r"[A-Za-z_][\w$]*", text) for text, quoted in listed):
            raise QueryError("syntax error: COPY wants names of columns", todo=_TODO, code="42601")
        columns = ", ".join(_quoted(text, quoted) for text, quoted in listed if (text, quoted) != (",", False))
        end = close + 1
    return split(f"SELECT {columns} FROM {name}")[0], tokens[end:]


def _quoted(text: str, quoted: bool) -> str:
    return '"' + (text if quoted else text.lower()).replace('"', '""') + '"'


def _refuse_writing() -> None:
    todo = "Rows come in by `fleetcube agent` and `fleetcube replay`."
    raise QueryError("COPY FROM is not possible: the endpoint only reads", todo=todo, code="25006")


def _target(tokens: tuple[tuple[str, bool], ...]) -> CopyOptions:
    """TO STDOUT and the options behind it, in brackets or, as before PostgreSQL 9, bare."""
    words = [text.upper() if not quoted else "" for text, quoted in tokens]
    if words[:1] == ["FROM"]:
        _refuse_writing()
    if words[:2] != ["TO", "STDOUT"]:
        raise QueryError("COPY goes to STDOUT only: the endpoint writes no files", todo=_TODO, code="0A000")
    rest = list(tokens[2:])
    if rest and not rest[0][1] and rest[0][0].upper() == "WITH":
        rest = rest[1:]
    if rest and rest[0] == ("(", False):
        return _made(_pairs(rest[1 : _closing(tuple(rest), 0)]))
    return _made(_bare(rest))


def _pairs(tokens: list[tuple[str, bool]]) -> dict[str, str]:
    found: dict[str, str] = {}
    group: list[tuple[str, bool]] = []
    for token in [*tokens, (",", False)]:
        if token != (",", False):
            group.append(token)
            continue
        if not group or len(group) > 2 or group[0][1]:
            raise QueryError("syntax error in the options of COPY", todo=_TODO, code="42601")
        found[group[0][0].lower()] = group[1][0] if len(group) == 2 else "true"
        group = []
    return found


def _bare(tokens: list[tuple[str, bool]]) -> dict[str, str]:
    """CSV HEADER, DELIMITER AS 'x', NULL AS 'x'."""
    found: dict[str, str] = {}
    at = 0
    while at < len(tokens):
        word = tokens[at][0].lower()
        if word in ("csv", "binary", "header"):
            found["header" if word == "header" else "format"] = "true" if word == "header" else word
            at += 1
            continue
        value = at + 2 if tokens[at + 1 : at + 2] and tokens[at + 1][0].lower() == "as" else at + 1
        if word not in _OPTIONS or value >= len(tokens):
            raise QueryError(f"COPY does not know '{tokens[at][0]}'", todo=_TODO, code="0A000")
        found[word] = tokens[value][0]
        at = value + 1
    return found


def _made(found: dict[str, str]) -> CopyOptions:
    for name in found:
        if name not in _OPTIONS:
            todo = did_you_mean(name, _OPTIONS) or _TODO
            raise QueryError(f"COPY option '{name}' is not supported", todo=todo, code="0A000")
    form = found.get("format", "text").lower()
    if form not in _FORMS:
        raise QueryError(f"COPY format '{form}' is not supported", todo=did_you_mean(form, _FORMS), code="22023")
    if found.get("encoding", "utf8").lower() not in ("utf8", "utf-8"):
        raise QueryError("COPY is served in UTF8 only", todo="Leave the encoding out.", code="0A000")
    plain = CopyOptions(form, ",", "") if form == "csv" else CopyOptions(form)
    made = replace(
        plain,
        delimiter=found.get("delimiter", plain.delimiter),
        null=found.get("null", plain.null),
        header=found.get("header", "false").lower() in ("true", "on", "1", "match"),
    )
    if form == "binary" and set(found) - {"format", "encoding"}:
        raise QueryError("COPY in binary has no header, delimiter or NULL text", todo=_TODO, code="42601")
    if len(made.delimiter) != 1 or made.delimiter in '\r\n"\\' or made.delimiter in made.null:
        raise QueryError("COPY wants one plain character as delimiter", todo=_TODO, code="22023")
    if set(made.null) & set("\r\n"):
        raise QueryError("COPY wants a NULL text without line ends", todo=_TODO, code="22023")
    return made
