"""AS OF: the moment or the version whose answer is asked for, read from a statement or from a setting.

`FROM requests AS OF TIMESTAMP '2026-11-01 06:00:00+00'` and `AS OF VERSION 17` become what the parser knows, `FOR
TIMESTAMP AS OF ...`; the clause is then taken off the tree. It stands behind a table and is meant for all of them:
a statement sees one vector of versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import sqlglot
from sqlglot import exp

from lake.errors import QueryError
from lake.facts import load_facts
from lake.times import iso

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlglot import Token

_TODO: Final = "Write AS OF TIMESTAMP '2026-11-01 06:00:00+00' or, behind a fact, AS OF VERSION 17."
_MAYBE: Final = re.compile(r"\bas\s+of\b", re.IGNORECASE)
_VERSION: Final = re.compile(r"\s*([a-z_][a-z0-9_]*)\s*@\s*([0-9]{1,18})\s*")


@dataclass(frozen=True)
class AsOf:
    """Either a moment `at`, or the `version` of a fact's trusted table."""

    at: datetime | None = None
    fact: str = ""
    version: int = 0

    def __str__(self) -> str:
        """As a setting says it."""
        return f"{self.fact}@{self.version}" if self.at is None else iso(self.at)


def respelled(text: str) -> str:
    """The statement with `AS OF VERSION n` and `AS OF TIMESTAMP '...'` as the parser knows them; others as they are.

    >>> respelled("SELECT 1 FROM requests AS OF VERSION 17 AS r")
    'SELECT 1 FROM requests FOR VERSION AS OF 17 AS r'
    """
    if not _MAYBE.search(text):
        return text
    tokens = sqlglot.tokenize(text, read="postgres")
    words = [token.text.upper() for token in tokens]
    made, done = [], 0
    for place, token in enumerate(tokens[:-2]):
        if words[place : place + 2] != ["AS", "OF"]:
            continue
        kind, value = _clause(words, tokens, place + 2)
        if kind:
            made += [text[done : token.start], f"FOR {kind} AS OF "]
            done = tokens[value].start
    return "".join([*made, text[done:]])


def _clause(words: Sequence[str], tokens: Sequence[Token], place: int) -> tuple[str, int]:
    """(VERSION or TIMESTAMP, where its value stands) of what follows AS OF; '' where it is another AS."""
    if words[place - 3 : place - 2] in (["VERSION"], ["TIMESTAMP"]):
        return "", place
    following = tokens[place + 1] if place + 1 < len(tokens) else None
    if words[place] == "VERSION" and following is not None and following.token_type.name == "NUMBER":
        return "VERSION", place + 1
    if words[place] in ("TIMESTAMP", "TIMESTAMPTZ") and following is not None:
        return "TIMESTAMP", place + 1
    return ("TIMESTAMP", place) if tokens[place].token_type.name == "STRING" else ("", place)


def take_as_of(tree: exp.Expr) -> AsOf | None:
    """What the statement's AS OF clauses say, and the tree without them; QueryError when they differ."""
    found: list[AsOf] = []
    for table in tree.find_all(exp.Table):
        clause = table.args.pop("version", None)
        if isinstance(clause, exp.Version):
            found.append(_read(table, clause))
    if any(one != found[0] for one in found):
        raise QueryError(
            "AS OF says different things of two tables, and a statement sees one vector of versions.",
            todo="Say it once, or the same of each; compare two moments by two statements.",
            code="0A000",
        )
    return found[0] if found else None


def _read(table: exp.Table, clause: exp.Version) -> AsOf:
    value = clause.expression
    if clause.args.get("kind") != "AS OF" or not isinstance(value, exp.Literal):
        raise QueryError("AS OF takes a written moment or version.", todo=_TODO, code="0A000")
    if clause.name != "VERSION":
        return _moment(value.name)
    if table.name not in load_facts() or value.is_string or not value.name.isdigit():
        raise QueryError(f"AS OF VERSION {value.name}: versions are those of facts.", todo=_TODO, code="22023")
    return AsOf(fact=table.name, version=int(value.name))


def read_setting(text: str) -> AsOf | None:
    """What `fleetcube.as_of` and `--as-of` say: a moment, or `requests@17`; None for an empty text."""
    if not text.strip():
        return None
    found = _VERSION.fullmatch(text)
    if found is None:
        return _moment(text.strip())
    if found[1] not in load_facts():
        raise QueryError(f"there is no fact '{found[1]}'.", todo="Write a moment, or requests@17.", code="22023")
    return AsOf(fact=found[1], version=int(found[2]))


def _moment(text: str) -> AsOf:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise QueryError(f"'{text}' is no moment.", todo=_TODO, code="22007") from error
    return AsOf((at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC))
