"""The pieces of a CREATE CUBE statement, and a cursor that takes them one by one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from lake.errors import DefinitionError

_TOKEN: Final = re.compile(
    r"""(?P<blank>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")+")
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?(?![A-Za-z0-9_]))
    |(?P<word>[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*)
    |(?P<mark>=>|<>|<=|>=|!=|.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """A piece of the text: its kind (text, name, number, word, mark, or end), what it says, and where it stands."""

    kind: str
    said: str
    start: int
    end: int
    line: int

    def is_word(self, *words: str) -> bool:
        return self.kind == "word" and self.said.upper() in words


def _tokens(path: Path, text: str) -> list[Token]:
    found, line = [], 1
    for match in _TOKEN.finditer(text):
        kind, said = str(match.lastgroup), match[0]
        if kind in ("text", "name"):
            quote = said[0]
            found.append(Token(kind, said[1:-1].replace(quote * 2, quote), *match.span(), line))
        elif kind != "blank":
            if said in "'\"":
                raise DefinitionError("a quote is not closed.", where=f"{path}:{line}", todo="Close it.")
            found.append(Token(kind, said, *match.span(), line))
        line += said.count("\n")
    return [*found, Token("end", "the end", len(text), len(text), line)]


class Cursor:
    """Takes tokens in order; what is not as expected is a DefinitionError with file and line."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text, self.tokens, self.at = path, text, _tokens(path, text), 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.at]

    def each(self, read: Callable[[], Any]) -> None:
        """One or more, divided by commas."""
        read()
        while self.accept_mark(","):
            read()

    def names(self) -> list[str]:
        found: list[str] = []
        self.mark("(")
        if not self.accept_mark(")"):
            self.each(lambda: found.append(self.name()))
            self.mark(")")
        return found

    def name(self) -> str:
        if self.token.kind not in ("word", "name"):
            raise self.unexpected("a name")
        self.at += 1
        return self.tokens[self.at - 1].said

    def a(self, kind: str, wanted: str) -> str:
        if self.token.kind != kind:
            raise self.unexpected(wanted)
        self.at += 1
        return self.tokens[self.at - 1].said

    def number(self) -> int | Decimal:
        said = self.a("number", "a number")
        return int(said) if re.fullmatch(r"-?[0-9]+", said) else Decimal(said)

    def scalar(self) -> Any:
        if self.token.kind == "number":
            return self.number()
        return self.a("text", "a value") if self.token.kind == "text" else self.name()

    def slice_until(self, stops: Callable[[Token], bool]) -> str:
        """The text up to a token that stands outside all brackets; not read any further here."""
        first, depth = self.at, 0
        while self.token.kind != "end" and (depth or not stops(self.token)):
            depth += {"(": 1, ")": -1}.get(self.token.said, 0) if self.token.kind == "mark" else 0
            self.at += 1
        if first == self.at:
            raise self.unexpected("a predicate")
        return self.text[self.tokens[first].start : self.tokens[self.at - 1].end]

    def accept(self, word: str) -> bool:
        self.at += (found := self.token.is_word(word))
        return found

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.unexpected(word)

    def accept_mark(self, mark: str) -> bool:
        self.at += (found := self.token.kind == "mark" and self.token.said == mark)
        return found

    def mark(self, mark: str) -> None:
        if not self.accept_mark(mark):
            raise self.unexpected(f"'{mark}'")

    def unexpected(self, wanted: str) -> DefinitionError:
        shown = self.token.said if len(self.token.said) <= 40 else self.token.said[:37] + "..."
        return self.error(
            f"{wanted} is expected, not {shown!r}." if self.token.kind != "end" else f"{wanted} is missing."
        )

    def error(self, what: str, todo: str = "", line: int = 0) -> DefinitionError:
        """The error for the line of the next token, or another one."""
        return DefinitionError(what, where=f"{self.path}:{line or self.token.line}", todo=todo)
