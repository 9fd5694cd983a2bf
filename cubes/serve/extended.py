"""The extended query protocol of one connection: prepared statements and portals, by name.

A portal runs at its first Describe or Execute and keeps its rows until they are fetched. Results are text only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cubes.serve import parameters
from cubes.serve.desk import Desk, Outcome
from cubes.serve.pgwire import Message
from cubes.serve.statements import Statement, split
from lake.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa

_MOST = 1000


@dataclass(frozen=True)
class Prepared:
    """A parsed statement; None for an empty query text. `oids` has one entry per parameter, 25 (text) where unknown."""

    statement: Statement | None
    sent_oids: tuple[int, ...]
    oids: tuple[int, ...]


@dataclass
class Portal:
    """A bound statement, its outcome once it ran, and how many of its rows were sent."""

    statement: Statement | None
    outcome: Outcome | None = None
    sent: int = 0

    def page(self, max_rows: int) -> pa.Table:
        """The next rows, all that are left for `max_rows` 0, counted as sent."""
        if self.outcome is None or self.outcome.table is None:
            raise QueryError("the portal has no rows", code="55000")
        rest = self.outcome.table.slice(self.sent, max_rows or None)
        self.sent += rest.num_rows
        return rest

    @property
    def has_more(self) -> bool:
        """Whether rows are left."""
        return self.outcome is not None and self.outcome.table is not None and self.sent < self.outcome.table.num_rows


@dataclass
class Extended:
    """Names of a connection. Every method may raise QueryError, after which the client must Sync."""

    desk: Desk
    _prepared: dict[str, Prepared] = field(default_factory=dict)
    _portals: dict[str, Portal] = field(default_factory=dict)

    def parse(self, message: Message) -> None:
        """Keep a statement under its name; only the unnamed one may be replaced."""
        if message.statement and message.statement in self._prepared:
            raise QueryError(f'prepared statement "{message.statement}" already exists', code="42P05")
        if len(self._prepared) >= _MOST:
            raise QueryError(f"a connection keeps at most {_MOST} prepared statements", code="53400")
        found = split(message.sql)
        if len(found) > 1:
            raise QueryError("cannot insert multiple commands into a prepared statement", code="42601")
        statement = found[0] if found else None
        count = parameters.count_of(statement) if statement else 0
        sent = message.oids + (0,) * (count - len(message.oids))
        self._prepared[message.statement] = Prepared(statement, sent, tuple(oid or 25 for oid in sent))

    def bind(self, message: Message) -> None:
        """Make a portal of a statement and values."""
        prepared = self.prepared(message.statement)
        if any(message.result_formats):
            todo = "Ask for text results: a plain cursor in psycopg, binaryTransfer=false in pgjdbc."
            raise QueryError("binary results are not supported yet", todo=todo, code="0A000")
        if message.portal and message.portal in self._portals:
            raise QueryError(f'portal "{message.portal}" already exists', code="42P03")
        if len(self._portals) >= _MOST:
            raise QueryError(f"a connection keeps at most {_MOST} portals", code="53400")
        statement = prepared.statement
        if statement is not None:
            statement = parameters.bound(statement, prepared.sent_oids, message.formats, message.values)
        self._portals[message.portal] = Portal(statement)

    def prepared(self, name: str) -> Prepared:
        """The statement of that name."""
        if name not in self._prepared:
            raise QueryError(f'prepared statement "{name}" does not exist', code="26000")
        return self._prepared[name]

    def portal(self, name: str) -> Portal:
        """The portal of that name."""
        if name not in self._portals:
            raise QueryError(f'portal "{name}" does not exist', code="34000")
        return self._portals[name]

    def run(self, portal: Portal) -> Outcome:
        """The outcome of a portal, which runs at the first call only."""
        if portal.outcome is None:
            if portal.statement is None:
                raise QueryError("the portal is empty", code="55000")
            portal.outcome = self.desk.answer(portal.statement)
        return portal.outcome

    def columns(self, prepared: Prepared) -> Outcome | None:
        """An outcome with the columns that a statement will give (its rows mean nothing); None where it gives none."""
        if prepared.statement is None or not self.desk.has_rows(prepared.statement):
            return None
        return self.desk.answer(parameters.unbound(prepared.statement, prepared.sent_oids))

    def close(self, message: Message) -> None:
        """Forget a statement or portal; a name that isn't there is no error."""
        if message.target == "S":
            self._prepared.pop(message.statement, None)
        else:
            self._portals.pop(message.portal, None)

    def forget(self, name: str | None) -> None:
        """DEALLOCATE: forget one prepared statement, or all for None. Errors: 26000."""
        if name is None:
            self._prepared.clear()
        elif self._prepared.pop(name, None) is None:
            raise QueryError(f'prepared statement "{name}" does not exist', code="26000")

    def end_transaction(self) -> None:
        """Portals live as long as their transaction."""
        self._portals.clear()
