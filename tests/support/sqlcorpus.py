"""The query corpus: text files of named queries, each run through both doors and compared.

A file holds records divided by blank lines. A record is a line `query <name> [path=<path>] [<option>=<text> ...]`, then
the SQL. Lines that begin with `#` are remarks. `pairs` reads the files of SQL pairs: `# key: value` lines, two
statements ended by `;`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from cubes.session import Answer, Session

FOLDER = Path(__file__).parent.parent / "sql"
TOLERANCE = 0.01


@dataclass(frozen=True)
class Query:
    """One query; `path` is the expected path of its receipt, empty when any will do; `options` are as in the file."""

    name: str
    sql: str
    path: str
    place: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """Two statements that must have the same answer; `meta` are the `# key: value` lines above them."""

    meta: dict[str, str]
    left: str
    right: str
    place: str


def queries(pattern: str, folder: str = "queries") -> list[Query]:
    """Every query of the corpus files of a folder that match, in order."""
    found = []
    for path in sorted((FOLDER / folder).glob(pattern)):
        line = 1
        for record in path.read_text(encoding="utf-8").split("\n\n"):
            lines = [text for text in record.splitlines() if text.strip() and not text.startswith("#")]
            if lines:
                word, name, *options = lines[0].split()
                assert word == "query", f"{path.name}:{line}: a record begins with 'query <name>'"
                chosen = dict(option.split("=", 1) for option in options)
                sql = "\n".join(lines[1:])
                place = f"{path.name}:{line}"
                found.append(Query(f"{path.stem}/{name}", sql, chosen.get("path", ""), place, chosen))
            line += record.count("\n") + 2
    return found


def pairs(pattern: str) -> list[Pair]:
    """Every pair of the files of SQL pairs that match."""
    found = []
    for path in sorted((FOLDER / "route").glob(pattern)):
        meta: dict[str, str] = {}
        statements: list[str] = []
        text = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("# "):
                key, _, value = line[2:].partition(": ")
                meta[key] = value
            elif line.strip() and not line.startswith("--"):
                text += line + "\n"
                if line.endswith(";"):
                    statements.append(text.strip().removesuffix(";"))
                    text = ""
            if len(statements) == 2:
                found.append(Pair(meta, statements[0], statements[1], f"{path.name}:{number}"))
                meta, statements = {}, []
        assert not statements, f"{path.name}: a pair is not complete"
    return found


def check(session: Session, query: Query) -> Answer:
    """Run a query through both doors; AssertionError says where they differ. Gives the router's answer."""
    routed, raw = session.query(query.sql), session.query(query.sql, raw=True)
    same(routed, raw, query.place)
    assert raw.path in ("raw", "constant"), query.place
    if query.path:
        assert routed.path == query.path, f"{query.place}: {routed.path}: {routed.notices}"
    return routed


def same(routed: Answer, exact: Answer, place: str) -> None:
    """Equal columns, types and rows; where a column says that it is approximate, within 1 %."""
    shapes = [[(column.name, column.type) for column in answer.columns] for answer in (routed, exact)]
    assert shapes[0] == shapes[1], f"{place}: {shapes[0]} is not {shapes[1]}"
    errors = [column.relative_error for column in routed.columns]
    assert all(error <= TOLERANCE for error in errors), place
    left, right = _rows(routed, errors), _rows(exact, errors)
    assert len(left) == len(right), f"{place}: {len(left)} rows, not {len(right)}"
    for a, b in zip(left, right, strict=True):
        for value, wanted, error in zip(a, b, errors, strict=True):
            assert _equal(value, wanted, error), f"{place}: {value!r} is not {wanted!r}, in {a} for {b}"


def _rows(answer: Answer, errors: list[float]) -> list[tuple[Any, ...]]:
    """Rows sorted by their exact columns, then the others: the order between equal keys of ORDER BY is anybody's."""
    columns = [column.to_pylist() for column in answer.table.columns]
    rows = list(zip(*columns, strict=True))

    def place(row: tuple[Any, ...]) -> tuple[str, list[tuple[bool, float]]]:
        near = [v for v, error in zip(row, errors, strict=True) if error]
        told = repr([v for v, error in zip(row, errors, strict=True) if not error])
        return told, [(v is not None, float(v or 0)) for v in near]

    return sorted(rows, key=place)


def _equal(value: Any, wanted: Any, error: float) -> bool:
    if not error or value is None or wanted is None:
        return bool(value == wanted) and type(value) is type(wanted)
    return abs(Decimal(value) - Decimal(wanted)) <= Decimal(str(TOLERANCE)) * abs(Decimal(wanted)) + Decimal("1e-9")
