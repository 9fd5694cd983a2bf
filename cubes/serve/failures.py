"""An exception as PostgreSQL reports errors: SQLSTATE, message, detail, hint and position, and never a traceback."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

from lake.errors import ConfigError, DefinitionError, FleetcubeError, LakeError, QueryError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """What a client is told. `position` counts characters of the query text from 1; 0 is unknown."""

    code: str
    message: str
    hint: str = ""
    detail: str = ""
    position: int = 0
    severity: str = "ERROR"

    def fields(self, offset: int = 0) -> list[tuple[str, str]]:
        """As protocol fields; `offset` is where the statement begins in the text that the client sent."""
        position = str(self.position + offset) if self.position else ""
        heads = [("S", self.severity), ("V", self.severity), ("C", self.code), ("M", self.message)]
        return [*heads, ("D", self.detail), ("H", self.hint), ("P", position)]


def failure_of(error: BaseException) -> Failure:
    """Map any exception; one that nobody foresaw is logged whole under a number that the client is given."""
    if isinstance(error, QueryError):
        if error.code == "XX000":
            _LOG.error("the engine refused a statement", exc_info=error)
        return _failure(error, error.code, int(getattr(error, "position", 0)))
    if isinstance(error, (ConfigError, DefinitionError)):
        return _failure(error, "F0000")
    if isinstance(error, LakeError):
        return _failure(error, "53200" if "memory" in error.what else "58000")
    if isinstance(error, FleetcubeError):
        return _failure(error, "58000")
    if isinstance(error, MemoryError):
        return Failure("53200", "the server ran out of memory", hint="Ask for a shorter range or fewer columns.")
    if isinstance(error, RecursionError):
        return Failure("54001", "the statement is nested too deeply", hint="Split it into simpler statements.")
    number = secrets.token_hex(4)
    _LOG.error("statement failed, reference %s", number, exc_info=error)
    return Failure("XX000", f"internal error, reference {number}", hint="Its cause is in the server's log.")


def _failure(error: FleetcubeError, code: str, position: int = 0) -> Failure:
    return Failure(code, error.what, hint=error.todo, detail=error.where, position=position)
