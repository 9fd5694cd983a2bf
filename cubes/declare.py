"""Cubes declared in SQL: a CREATE CUBE statement is read to the very document that its YAML would be read to.

    CREATE CUBE serving COMMENT 'Calls to model services' AS
    SELECT site, service, hardware, hardware.vendor, band(prompt_tokens, 0, 128, 1024) AS prompt_size,
        count(*) AS requests,
        count(*) FILTER (WHERE status <> 'ok') AS errors,
        quantiles(e2e_ms) AS latency WITH (relative_error = 0.01, grains = (1h, 1d))
    FROM requests LEFT JOIN hardware
    WHERE environment = 'prod'
    GROUP BY ALL, GROUPING SETS ((service), (site, vendor)), LATTICE (MANDATORY (service) JOINT (site, vendor) MOST 3)
    PARTITION BY 5m, 1h, 1d, 1w STARTING sunday
    KEEP 5m FOR 30d, 1d FOR 10y
    AGE OUT hardware AFTER 1y
    BUDGET (cuboids = 64)

What the parts mean, and every error about it, is up to `cubes.load`; here is the grammar only. A file may hold several
statements; `--` and `/* */` are remarks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from cubes.measures import FUNCTIONS
from cubes.tokens import Cursor
from lake.documents import Document
from lake.errors import DefinitionError, did_you_mean

_MOST_CHARACTERS: Final = 1 << 20
_Place = tuple[str | int, ...]


def read_statements(path: Path) -> list[Document]:
    """The documents of a file's CREATE CUBE statements; DefinitionError names file and line of what is no such text."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError(f"can't be read as UTF-8 text: {error}.", where=str(path)) from None
    if len(text) > _MOST_CHARACTERS:
        raise DefinitionError("the file is longer than 1 MiB.", where=str(path), todo="Split it.")
    statement = _Statement(path, text)
    found = []
    while statement.token.kind != "end":
        found.append(statement.document())
    return found


class _Statement(Cursor):
    """Reads statements token by token; `value` and `lines` become the document."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(path, text)
        self.value: dict[str, Any] = {}
        self.lines: dict[_Place, int] = {}

    def document(self) -> Document:
        """One statement, from CREATE to its semicolon or the end."""
        self.value, self.lines = {}, {(): self.token.line}
        self.expect("CREATE")
        self.expect("CUBE")
        self.put(("cube",), self.name())
        if self.accept("COMMENT"):
            self.put(("description",), self.a("text", "a text in quotes"))
        self.expect("AS")
        self.select()
        for word, read in self.clauses().items():
            if self.accept(word):
                read()
        if self.token.kind != "end":
            self.mark(";")
        while self.token.said == ";" and self.token.kind == "mark":
            self.at += 1
        return Document(self.path, self.value, self.lines)

    def clauses(self) -> dict[str, Callable[[], None]]:
        return {
            "WHERE": self.where,
            "GROUP": self.group,
            "PARTITION": self.partition,
            "KEEP": self.keep,
            "AGE": self.age_out,
            "BUDGET": lambda: self.options(("budget",)),
        }

    # Clauses

    def select(self) -> None:
        self.expect("SELECT")
        self.put(("dimensions",), [])
        self.put(("measures",), {})
        self.each(self.item)
        self.expect("FROM")
        self.put(("fact",), self.name())
        joined = []
        while self.token.is_word("JOIN", "LEFT"):
            self.accept("LEFT")
            self.expect("JOIN")
            joined.append(self.name())
        for lookup in self.value.get("joins", {}):
            if lookup not in joined:
                line = self.lines[("joins", lookup)]
                raise self.error(f"lookup {lookup} is not joined.", f"Write FROM ... JOIN {lookup}.", line)
        for lookup in joined:
            bands = [band["column"] for band in self.value.get("bands", {}).values()]
            if lookup not in self.value.get("joins", {}) and not any(one.startswith(f"{lookup}.") for one in bands):
                line = self.tokens[self.at - 1].line
                raise self.error(f"lookup {lookup} is joined and not used.", f"Select {lookup}.<column>.", line)

    def item(self) -> None:
        """A dimension, a lookup's column, a band or a measure."""
        line, first = self.token.line, self.name()
        if self.token.said == "(":
            self.band() if first.lower() == "band" else self.measure(first, line)
            return
        table, _, column = first.rpartition(".")
        if not table:
            self.put(("dimensions", len(self.value["dimensions"])), first, line)
            return
        name = self.name() if self.accept("AS") else column
        self.once("joins", table, line)
        self.put(("joins", table, name), column, line)

    def band(self) -> None:
        line = self.token.line
        self.mark("(")
        column, edges = self.name(), []
        while self.accept_mark(","):
            edges.append(self.number())
        self.mark(")")
        self.expect("AS")
        name = self.name()
        self.put(("bands", name), {"column": column, "edges": edges}, line)

    def measure(self, function: str, line: int) -> None:
        function = function.lower()
        if function not in FUNCTIONS:
            raise self.error(f"there is no measure {function}().", did_you_mean(function, (*FUNCTIONS, "band")))
        said = self.arguments()
        if self.accept("FILTER"):
            if function != "count" or said != "*":
                raise self.error("only count(*) takes a FILTER.", "Write count(*) FILTER (WHERE ...).")
            self.mark("(")
            self.expect("WHERE")
            said = {"where": self.slice_until(lambda token: token.said == ")")}
            self.mark(")")
        self.expect("AS")
        name = self.name()
        if name in self.value["measures"]:
            raise self.error(f"measure '{name}' is there twice.", "Give one another name.")
        self.put(("measures", name), {function: said}, line)
        self.lines[("measures", name, function)] = line
        if self.accept("WITH"):
            self.options(("measures", name))

    def arguments(self) -> Any:
        """What a measure is called with: a column, a star, or parts by name (`of => errors`)."""
        self.mark("(")
        if self.accept_mark("*"):
            self.mark(")")
            return "*"
        first = self.name()
        said: Any = first
        if self.token.said == "=>":
            self.at -= 1
            said = {}
            self.each(lambda: self.part(said))
        self.mark(")")
        return said

    def part(self, said: dict[str, Any]) -> None:
        name = self.name()
        self.mark("=>")
        said[name] = self.scalar()

    def where(self) -> None:
        line = self.token.line
        self.put(
            ("where",), self.slice_until(lambda token: token.is_word("GROUP", "PARTITION") or token.said == ";"), line
        )

    def group(self) -> None:
        line = self.token.line
        self.expect("BY")
        listed: list[str] = []
        self.each(lambda: self.grouping(listed))
        names = [*self.value["dimensions"], *(name for one in self.value.get("joins", {}).values() for name in one)]
        names += self.value.get("bands", {})
        if listed and sorted(listed) != sorted(names):
            raise self.error("GROUP BY does not list the dimensions of SELECT.", "Write GROUP BY ALL.", line)

    def grouping(self, listed: list[str]) -> None:
        if self.accept("ALL"):
            return
        if self.accept("GROUPING"):
            self.expect("SETS")
            self.mark("(")
            self.each(lambda: self.put(("cuboids", len(self.value.setdefault("cuboids", []))), self.names()))
            self.mark(")")
        elif self.accept("LATTICE"):
            self.lattice(("groups", len(self.value.setdefault("groups", []))))
        else:
            listed.append(self.name())

    def lattice(self, place: _Place) -> None:
        found: dict[str, Any] = {}
        line = self.token.line
        self.mark("(")
        while not self.accept_mark(")"):
            if self.accept("INCLUDE"):
                found["include"] = self.names()
            elif self.accept("MANDATORY"):
                found["mandatory"] = self.names()
            elif self.accept("HIERARCHY"):
                found.setdefault("hierarchies", []).append(self.names())
            elif self.accept("JOINT"):
                found.setdefault("joints", []).append(self.names())
            else:
                self.expect("MOST")
                found["max_dimensions"] = self.number()
        self.put(place, found, line)

    def partition(self) -> None:
        self.expect("BY")
        self.put(("grains",), [])
        self.each(lambda: self.put(("grains", len(self.value["grains"])), self.name()))
        if self.accept("STARTING"):
            self.put(("week_starts",), self.name())

    def keep(self) -> None:
        def one() -> None:
            line, grain = self.token.line, self.name()
            self.expect("FOR")
            self.put(("keep", grain), self.name(), line)

        self.each(one)

    def age_out(self) -> None:
        def one() -> None:
            line, name = self.token.line, self.name()
            self.expect("AFTER")
            self.put(("age_out", name), self.name(), line)

        self.expect("OUT")
        self.each(one)

    def options(self, place: _Place) -> None:
        def one() -> None:
            line, name = self.token.line, self.name()
            self.mark("=")
            self.put((*place, name), self.names() if self.token.said == "(" else self.scalar(), line)

        self.mark("(")
        self.each(one)
        self.mark(")")

    def once(self, field: str, key: str, line: int) -> None:
        if key not in self.value.setdefault(field, {}):
            self.put((field, key), {}, line)

    def put(self, place: _Place, value: Any, line: int = 0) -> None:
        """Set a field of the document and remember its line."""
        held: Any = self.value
        for step in place[:-1]:
            held = held.setdefault(step, {})
        if isinstance(held, list):
            held.append(value)
        else:
            held[place[-1]] = value
        for length in range(1, len(place) + 1):
            self.lines.setdefault(place[:length], line or self.tokens[max(self.at - 1, 0)].line)
