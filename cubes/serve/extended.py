"""The extended query protocol of one connection: prepared statements and portals, by name.

A portal runs at its first Describe or Execute and keeps its rows until they are fetched. Its rows have the types of the
statement's own description, where there was one: a client decodes them by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cubes.serve import parameters
from cubes.serve.desk import Desk, Outcome
from cubes.serve.pages import Pages
from cubes.serve.pg_types import PG_TYPES, fields_of
from cubes.serve.pgwire import Field, Message
from cubes.serve.statements import Statement, split
from lake.errors import QueryError

_MOST = 1000
_TEXT = PG_TYPES["text"].oid


@dataclass
class Prepared:
    """A parsed statement; None for an empty query text. `oids` has one entry per parameter, 25 (text) where unknown.

    `fields` are its columns once a client was told them.
    """

    statement: Statement | None
    sent_oids: tuple[int, ...]
    oids: tuple[int, ...]
    fields: tuple[Field, ...] | None = None


@dataclass
class Portal:
    """A bound statement, its outcome once it ran, and how many of its rows were sent."""

    statement: Statement | None
    prepared: Prepared
    result_formats: tuple[int, ...] = ()
    outcome: Outcome | None = None
    pages: Pages | None = None

    def formats(self, columns: int) -> tuple[int, ...]:
        """The format of each column, as Bind asked. Errors: 08P01 for another number of formats than columns."""
        if len(self.result_formats) > 1 and len(self.result_formats) != columns:
            what = f"{len(self.result_formats)} result formats were sent, but the query has {columns} columns"
            raise QueryError(what, code="08P01")
        return self.result_formats if len(self.result_formats) > 1 else (self.result_formats or (0,)) * columns

    def close(self) -> None:
        """Let go of rows that were not fetched."""
        if self.pages is not None:
            self.pages.close()


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
        found_oids = self.desk.parameter_oids(statement) if statement and count and not all(sent) else {}
        told = tuple(oid or found_oids.get(place, _TEXT) for place, oid in enumerate(sent, start=1))
        self._prepared[message.statement] = Prepared(statement, sent, told)

    def bind(self, message: Message) -> None:
        """Make a portal of a statement and values."""
        prepared = self.prepared(message.statement)
        if any(form not in (0, 1) for form in message.result_formats):
            raise QueryError("a result format is neither text nor binary", code="08P01")
        if message.portal and message.portal in self._portals:
            raise QueryError(f'portal "{message.portal}" already exists', code="42P03")
        if len(self._portals) >= _MOST:
            raise QueryError(f"a connection keeps at most {_MOST} portals", code="53400")
        statement = prepared.statement
        if statement is not None:
            statement = parameters.bound(statement, prepared.sent_oids, message.formats, message.values, prepared.oids)
        self._drop(message.portal)
        self._portals[message.portal] = Portal(statement, prepared, message.result_formats)

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
            portal.outcome = self.desk.answer(portal.statement, portal.prepared.fields)
            if portal.outcome.table is not None:
                portal.pages = Pages(portal.outcome)
        return portal.outcome

    def columns(self, prepared: Prepared) -> Outcome | None:
        """An outcome with the columns that a statement will give (its rows mean nothing); None where it gives none."""
        if prepared.statement is None or not self.desk.has_rows(prepared.statement):
            return None
        plain = parameters.unbound(prepared.statement, prepared.sent_oids)
        outcome = self.desk.answer(parameters.without_rows(plain), asked=False)
        if outcome.table is not None:
            prepared.fields = tuple(fields_of(outcome.table.schema))
        return outcome

    def close(self, message: Message) -> None:
        """Forget a statement or portal; a name that isn't there is no error."""
        if message.target == "S":
            self._prepared.pop(message.statement, None)
        else:
            self._drop(message.portal)

    def forget(self, name: str | None) -> None:
        """DEALLOCATE: forget one prepared statement, or all for None. Errors: 26000."""
        if name is None:
            self._prepared.clear()
        elif self._prepared.pop(name, None) is None:
            raise QueryError(f'prepared statement "{name}" does not exist', code="26000")

    def end_transaction(self) -> None:
        """Portals live as long as their transaction."""
        for name in list(self._portals):
            self._drop(name)

    def _drop(self, name: str) -> None:
        portal = self._portals.pop(name, None)
        if portal is not None:
            portal.close()
