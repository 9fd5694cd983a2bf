"""The desk of one connection: takes a statement, gives its outcome. No bytes and no sockets here.

Facts go to a session of the server's pool, system tables to its catalogue; transactions and settings are kept here.
One statement at a time; `interrupt` may come from any thread.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from cubes.require import require
from cubes.serve.copy_out import CopyOptions, read_copy
from cubes.serve.ending import asks_to_end, ended, without_calls
from cubes.serve.failures import failure_of
from cubes.serve.house import House
from cubes.serve.infer import parameter_oids
from cubes.serve.pg_types import conform, settle
from cubes.serve.pgwire import Field
from cubes.serve.pool import SessionLike
from cubes.serve.quotas import Bound, bound_of, share_of
from cubes.serve.running import Activity, Viewer
from cubes.serve.setting_words import reset, set_variable, shown
from cubes.serve.statements import PUBLIC, Statement, explained, parse, without_schema
from cubes.serve.stream import Stream
from cubes.serve.variables import SERVER_VERSION, Variables
from lake.errors import FleetcubeError, QueryError

if TYPE_CHECKING:
    import pyarrow as pa

    from cubes.access import Policy

_LOG = logging.getLogger(__name__)
_TRUSTED = "answered from trusted rows"
_QUERIES = frozenset({"SELECT", "WITH", "VALUES", "TABLE"})
_WRITES = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "COMMENT", "CALL"}
    | {"VACUUM", "ANALYZE", "REINDEX", "REFRESH", "DO"}
)
# Rows of a page of a large answer.
_PAGE_ROWS = 65_536


@dataclass(frozen=True)
class Outcome:
    """What a statement came to: its tag ('SELECT' wants the number of rows sent), rows if any, and what to tell.

    `table` may be the first page of a large answer, then `rest` has the others; `copy` is how COPY wants them.
    """

    tag: str
    table: pa.Table | None = None
    notices: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    told: tuple[tuple[str, str], ...] = ()
    rest: Stream | None = None
    copy: CopyOptions | None = None


@dataclass
class Desk:
    """State of one connection. `status` is I idle, T in a transaction, E in a failed one."""

    house: House
    variables: Variables
    activity: Activity
    status: str = "I"
    bound: Bound = field(default_factory=Bound)
    forget: Callable[[str | None], None] = field(default=lambda name: None)
    policy: Callable[[], Policy | None] = field(default=lambda: None)
    # Writes the audit log: operation, resource, and by name result, policy, detail, durable.
    tell: Callable[..., None] = field(default=lambda *what, **more: None)
    _session: SessionLike | None = None
    _stopped: bool = False
    _lock: Lock = field(default_factory=Lock)

    @property
    def process(self) -> int:
        """The number of the connection."""
        return self.activity.process

    def answer(self, statement: Statement, wanted: Sequence[Field] | None = None, *, asked: bool = True) -> Outcome:
        """Run one statement. Errors: QueryError and whatever the session raises; then call `failed`.

        `wanted` are the columns that a client was told beforehand; not `asked` is a statement that only describes.
        """
        self._stopped = False
        verb = statement.verb
        if self.status == "E" and verb not in ("ROLLBACK", "ABORT", "COMMIT", "END"):
            todo = "Send ROLLBACK first."
            raise QueryError(
                "current transaction is aborted, commands ignored until end of transaction block",
                todo=todo,
                code="25P02",
            )
        if verb in _QUERIES or verb == "EXPLAIN":
            return self._query(statement, wanted, asked=asked)
        if verb == "COPY":
            copy = read_copy(statement)
            return replace(self._query(copy.query, None, asked=True), tag="COPY", copy=copy.options)
        handler = _HANDLERS.get(verb)
        if handler is not None:
            return handler(self, statement)
        if verb in _WRITES:
            todo = "Rows come in by `fleetcube agent` and `fleetcube replay`."
            raise QueryError(
                f"cannot execute {verb} in a read-only transaction: the endpoint only reads", todo=todo, code="25006"
            )
        if not verb.isidentifier():
            raise QueryError(f"syntax error at or near '{verb or statement.text[:20]}'", code="42601")
        known = verb in (
            "DECLARE",
            "FETCH",
            "LISTEN",
            "NOTIFY",
            "LOCK",
            "PREPARE",
            "EXECUTE",
        )
        code = "0A000" if known else "42601"
        raise QueryError(f"{verb} is not supported" if known else f"syntax error at or near '{verb}'", code=code)

    def failed(self) -> None:
        """A statement ended in an error: an open transaction is spoilt by it."""
        if self.status == "T":
            self.status = "E"

    def interrupt(self) -> None:
        """Stop what runs, or keep it from starting."""
        self._stopped = True
        with self._lock:
            # Under the lock the session can't be given back, so no other connection's statement is hit.
            if self._session is not None:
                self._session.interrupt()
        self.house.catalogue.interrupt(self.process)

    def has_rows(self, statement: Statement) -> bool:
        """Whether the statement gives rows, known without running it."""
        return statement.verb in _QUERIES or statement.verb in ("EXPLAIN", "SHOW")

    def parameter_oids(self, statement: Statement) -> dict[int, int]:
        """The types of parameters as far as their places tell them."""
        tree = parse(statement)
        return parameter_oids(tree, self.house.catalogue.column_types(tree))

    def _query(self, statement: Statement, wanted: Sequence[Field] | None, *, asked: bool) -> Outcome:
        if any(text == "$" and not quoted for text, quoted in statement.tokens):
            raise QueryError("there is no parameter $1: no values were bound", code="42P02")
        policy = self.policy()
        self.bound, viewer = bound_of(policy), Viewer(self.variables.user, policy)
        owned = statement.verb != "EXPLAIN" and self.house.catalogue.owns(statement)
        # Tools ask the catalogue all the time: of the last statements they would leave nothing else.
        kept = asked and not owned
        self.activity.begin(statement.text, None if policy is None else policy.tenant, kept=kept)
        if owned:
            self.activity.answered("catalogue")
            return self._catalogued(statement, viewer, wanted)
        try:
            outcome = self._lent(statement, viewer, wanted, asked=asked)
        except Exception as error:
            self._note(
                statement, policy, result=failure_of(error).code if isinstance(error, FleetcubeError) else "XX000"
            )
            raise
        if asked:
            self._note(statement, policy, result="ok")
        return outcome

    def _catalogued(self, statement: Statement, viewer: Viewer, wanted: Sequence[Field] | None) -> Outcome:
        """A query for the catalogue; one that ends what others run does so once its rows are there."""
        catalogue = self.house.catalogue.under(viewer.policy)
        ends: dict[int, bool] = {}
        if asks_to_end(statement):
            statement, ends = without_calls(statement)
        table = catalogue.query(statement, self.variables, self._known(), self.process, viewer)
        warnings: list[str] = []
        if ends:
            end = self.house.ender.end
            table, warnings = ended(table, ends, lambda one, hard: end(one, viewer, self.tell, terminate=hard))
        return Outcome("SELECT", _settled(table, wanted), warnings=tuple(warnings))

    def _note(self, statement: Statement, policy: Policy | None, *, result: str) -> None:
        digest = "" if policy is None else policy.digest
        detail = {"process": self.process}
        self.tell("query", statement.text, result=result, policy=digest, detail=detail, durable=False)

    def _lent(self, statement: Statement, viewer: Viewer, wanted: Sequence[Field] | None, *, asked: bool) -> Outcome:
        """Ask a session; a large answer keeps it after this call: then its stream takes over what is held."""
        with ExitStack() as held:
            share = share_of(viewer.policy, viewer.user, self.process)
            held.enter_context(self.house.admission.enter(share, lambda: self._stopped, self.activity.waits))
            self.activity.runs()
            session = held.enter_context(self.house.sessions.lend(lambda: self._stopped))
            self._hold(session)
            try:
                answer, outcome = self._ask(session, statement, viewer, wanted, asked=asked)
                if answer.rest is None:
                    return outcome
                # The engine's result goes before its session is lent again.
                held.callback(answer.rest.close)
                self.house.slots.take(held)
                assert outcome.table is not None, "what has more pages has a first one"
                names, first = outcome.table.column_names, outcome.table.num_rows
                kept = held.pop_all()
            finally:
                self._hold(None)

        def hold(working: bool) -> None:
            self._hold(session if working else None)
            if working and self._stopped:
                raise QueryError("the statement was stopped", code="57014")

        # Before any row is sent nothing is stopped.
        check = self.bound.check
        rest = Stream(answer.rest, names, kept, hold=hold, check=check, rows=first, wanted=wanted)
        return replace(outcome, rest=rest)

    def _hold(self, session: SessionLike | None) -> None:
        with self._lock:
            self._session = session

    def _ask(
        self,
        session: SessionLike,
        statement: Statement,
        viewer: Viewer,
        wanted: Sequence[Field] | None,
        *,
        asked: bool,
    ) -> tuple[Any, Outcome]:
        """A statement for a session: its rows, the notices that it earns, and its line in the journal."""
        explain = statement.verb == "EXPLAIN"
        text = explained(statement) if explain else without_schema(statement)
        begun = time.perf_counter()
        answer = session.query(
            text,
            raw=self.variables.is_on("fleetcube.raw"),
            fresh=self.variables.is_on("fleetcube.fresh"),
            explain=explain,
            policy=viewer.policy,
            page_rows=_PAGE_ROWS,
            as_of=self.variables.get("fleetcube.as_of"),
        )
        self.activity.answered(answer.path)
        try:
            return answer, self._told(answer, statement, viewer, wanted, asked=asked, begun=begun)
        except BaseException:
            # Its pages are still open in the engine, which the session must not be lent with.
            if answer.rest is not None:
                answer.rest.close()
            raise

    def _told(
        self,
        answer: Any,
        statement: Statement,
        viewer: Viewer,
        wanted: Sequence[Field] | None,
        *,
        asked: bool,
        begun: float,
    ) -> Outcome:
        """What an answer comes to, if the client may have it."""
        explain = statement.verb == "EXPLAIN"
        self.bound.check(answer.table.num_rows)
        if not explain:
            require(self.variables.get("fleetcube.require"), answer)
        receipt = answer.receipt if self.variables.is_on("fleetcube.receipt") and not explain and asked else None
        table = _settled(answer.table, wanted) if answer.rest is None or wanted is not None else answer.table
        if asked:
            latency_ms = (time.perf_counter() - begun) * 1000
            told = (self.process, viewer, statement.text, answer.path)
            kept = receipt if receipt is not None or explain else answer.outline
            self.house.journal.add(*told, rows=table.num_rows, latency_ms=latency_ms, receipt=kept)
        notices = list(answer.notices)
        if answer.path in ("raw", "mixed") and not explain and not any(_TRUSTED in notice for notice in notices):
            fits = f"no cube fits the {'whole ' if answer.path == 'mixed' else ''}query"
            notices.insert(0, f"{_TRUSTED}: {'as asked' if self.variables.is_on('fleetcube.raw') else fits}")
        if receipt is not None:
            notices.append(json.dumps(receipt, ensure_ascii=False, separators=(",", ":"), default=str))
        return Outcome("EXPLAIN" if explain else "SELECT", table, tuple(notices))

    def _known(self) -> dict[str, str | int]:
        user = self.variables.user
        return {
            "version": f"PostgreSQL {SERVER_VERSION}",
            "current_schema": PUBLIC,
            "current_database": "fleet",
            "current_user": user,
            "session_user": user,
            "current_role": user,
            "user": user,
            "pg_backend_pid": self.process,
        }

    def _begin(self, statement: Statement) -> Outcome:
        if self.status != "I":
            return Outcome("BEGIN", warnings=("there is already a transaction in progress",))
        self.variables.begin()
        self.status = "T"
        return Outcome(statement.verb if statement.verb == "BEGIN" else "START TRANSACTION")

    def _end(self, statement: Statement) -> Outcome:
        if statement.verb == "ROLLBACK" and "TO" in statement.words:
            return self._savepoint(statement)
        keep = statement.verb in ("COMMIT", "END") and self.status == "T"
        idle = self.status == "I"
        before = dict(self.variables.told())
        if not idle:
            self.variables.end(keep=keep)
        self.status = "I"
        warnings = ("there is no transaction in progress",) if idle else ()
        told = tuple((name, value) for name, value in self.variables.told() if before[name] != value)
        return Outcome(
            "COMMIT" if keep or (idle and statement.verb != "ROLLBACK") else "ROLLBACK", warnings=warnings, told=told
        )

    def _savepoint(self, statement: Statement) -> Outcome:
        if self.status == "I":
            raise QueryError(
                f"{statement.verb} can only be used in transaction blocks", todo="Send BEGIN first.", code="25P01"
            )
        if statement.verb == "ROLLBACK":
            self.status = "T"
        return Outcome(statement.verb)

    def _set(self, statement: Statement) -> Outcome:
        told, warnings = set_variable(self.variables, statement, in_transaction=self.status != "I")
        return Outcome("SET", told=told, warnings=warnings)

    def _show(self, statement: Statement) -> Outcome:
        return Outcome("SHOW", shown(self.variables, statement))

    def _reset(self, statement: Statement) -> Outcome:
        discards = statement.verb == "DISCARD"
        if discards:
            self.forget(None)
        return Outcome("DISCARD ALL" if discards else "RESET", told=reset(self.variables, statement))

    def _let_go(self, statement: Statement) -> Outcome:
        """CLOSE and UNLISTEN of everything: a pool sends them when a connection comes back; there is nothing of it."""
        if statement.words[1:] not in (("ALL",), ("*",)):
            raise QueryError(f"{statement.verb} of one name is not supported", code="0A000")
        return Outcome("CLOSE CURSOR ALL" if statement.verb == "CLOSE" else "UNLISTEN")

    def _deallocate(self, statement: Statement) -> Outcome:
        names = [text for text, _ in statement.tokens[1:] if text.upper() != "PREPARE"]
        everything = bool(names) and names[0].upper() == "ALL"
        self.forget(None if everything or not names else names[0])
        return Outcome("DEALLOCATE ALL" if everything else "DEALLOCATE")


_HANDLERS: dict[str, Callable[[Desk, Statement], Outcome]] = {
    "BEGIN": Desk._begin,
    "START": Desk._begin,
    "COMMIT": Desk._end,
    "END": Desk._end,
    "ROLLBACK": Desk._end,
    "ABORT": Desk._end,
    "SAVEPOINT": Desk._savepoint,
    "RELEASE": Desk._savepoint,
    "SET": Desk._set,
    "SHOW": Desk._show,
    "RESET": Desk._reset,
    "DISCARD": Desk._reset,
    "CLOSE": Desk._let_go,
    "UNLISTEN": Desk._let_go,
    "DEALLOCATE": Desk._deallocate,
}


def _settled(table: pa.Table, wanted: Sequence[Field] | None) -> pa.Table:
    """The table with the types that are told now, or those that the client was told before."""
    return settle(table) if wanted is None else conform(table, wanted)
