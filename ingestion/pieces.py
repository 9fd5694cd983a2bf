"""The words in which a column's SQL is put together: pieces, the faults they can have, and names that fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lake.facts import Column


@dataclass(frozen=True)
class Fault:
    """A way to be wrong: the check's name, SQL that is TRUE where it applies, SQL that words the reason.

    Both may name the typed columns, the texts (`_t_<column>`) and what Python read (`_a_<column>_<what>`).
    """

    check: str
    bad: str
    reason: str


@dataclass(frozen=True)
class Piece:
    """One column read: its typed `value`, its faults in order, and TRUE-where SQL for what is counted as a notice."""

    value: str
    faults: tuple[Fault, ...] = ()
    rounded: str = "false"
    truncated: str = "false"
    hard: str = ""  # TRUE where only the Python lane can read the text; empty where SQL reads all


@dataclass(frozen=True)
class Context:
    """What the SQL around a piece provides: the text, and whether texts that Python read are joined (`aside`)."""

    text: str
    plain: str  # text in the column's unit, NULL where only Python can convert it
    aside: bool
    reading: Mapping[str, Any]


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def aside(column: Column, what: str) -> str:
    """Name of the joined column with `what` Python read of it: value, unscaled, problem, reason or rounded."""
    return f'"_a_{column.name}_{what}"'


def shown(text: str) -> str:
    """SQL for a text as a reason may show it: quoted, and short."""
    return f"'''' || CASE WHEN length({text}) > 80 THEN left({text}, 77) || '...' ELSE {text} END || ''''"
