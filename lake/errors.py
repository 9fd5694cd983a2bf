"""The error tree: every error says what is wrong, where, and what to do next.

This module lies under all others and imports nothing of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

# The path of a table in an object store (see lake/places.py), which people know by its URL; files of the home itself
# lie in folders whose names start with _.
_AT_HOME: Final = re.compile(r"^.*/s3:/(?!(?:.*/)?_)")


class FleetcubeError(Exception):
    """Base of every error that a user may see; the command line prints its text and ends with `exit_code`."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", todo: str = "") -> None:
        """`what` is wrong, `where` (file:line, table, field), and what `todo` about it; the last two may be empty."""
        self.what, self.where, self.todo = what, _AT_HOME.sub("s3://", where), todo
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        step = f" {self.todo}" if self.todo else ""
        return f"{place}{self.what}{step}"


class ConfigError(FleetcubeError):
    """A setting is missing, unknown or has a value that can't be used."""


class DefinitionError(FleetcubeError):
    """A declared document (fact, metric, mapping, suite, cube) is broken."""


class LakeError(FleetcubeError):
    """A lake is missing, damaged, locked by another process, or changed under a writer."""


class OutOfMemory(LakeError):
    """The engine's memory limit was reached, and it could not spill."""


class QueryError(FleetcubeError):
    """A SQL statement can't be answered; `code` is its PostgreSQL SQLSTATE."""

    def __init__(self, what: str, *, where: str = "", todo: str = "", code: str = "42601", position: int = 0) -> None:
        """As for the base; `code` is the SQLSTATE that the wire protocol sends, `position` the character (1-based)."""
        super().__init__(what, where=where, todo=todo)
        self.code, self.position = code, position


class TransportError(FleetcubeError):
    """Rows could not be handed over between agent, receiver and lander."""


class GateBlocked(FleetcubeError):
    """The gate stopped a batch; its rows are kept and nothing of it was published."""

    exit_code = 3


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """A sentence that proposes the nearest of `choices`, or lists the few that there are, or nothing.

    >>> did_you_mean("modle", ["model", "host"])
    "Did you mean 'model'?"
    """
    known = sorted(set(choices))
    lowered = {choice.lower(): choice for choice in known}
    near = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    if near:
        return f"Did you mean '{lowered[near[0]]}'?"
    if 0 < len(known) <= 12:
        return "Known: " + ", ".join(known) + "."
    return ""
