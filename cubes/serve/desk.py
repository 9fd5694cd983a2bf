"""The desk of one connection: takes a statement, gives its outcome. No bytes and no sockets here.

Facts go to a session of the server's pool, system tables to its catalogue; transactions and settings are kept here.
One statement at a time; `interrupt` may come from any thread.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from cubes.serve.journal import Journal
from cubes.serve.pg_catalog import Catalogue
from cubes.serve.pg_types import settle
from cubes.serve.pool import SessionLike, SessionPool
from cubes.serve.statements import Statement, parse
from cubes.serve.variables import SERVER_VERSION, Variables
from lake.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa

_LOG = logging.getLogger(__name__)
_TRUSTED = "answered from trusted rows"
_QUERIES = frozenset({"SELECT", "WITH", "VALUES", "TABLE"})
_WRITES = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE", "ALTER", "DROP", "GRANT", "REVOKE", "COMMENT", "CALL"}
    | {"VACUUM", "ANALYZE", "REINDEX", "REFRESH", "DO"}
)
_PUBLIC = "public"


@dataclass(frozen=True)
class Outcome:
    """What a statement came to: its tag ('SELECT' wants the number of rows sent), rows if any, and what to tell."""

    tag: str
    table: pa.Table | None = None
    notices: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    told: tuple[tuple[str, str], ...] = ()


@dataclass
class Desk:
    """State of one connection. `status` is I idle, T in a transaction, E in a failed one."""

    sessions: SessionPool
    catalogue: Catalogue
    journal: Journal
    variables: Variables
    process: int = 0
    status: str = "I"
    forget: Callable[[str | None], None] = field(default=lambda name: None)
    _session: SessionLike | None = None
    _stopped: bool = False
    _lock: Lock = field(default_factory=Lock)

    def answer(self, statement: Statement) -> Outcome:
        """Run one statement. Errors: QueryError and whatever the session raises; then call `failed`."""
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
            return self._query(statement)
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
            "COPY",
            "DECLARE",
            "FETCH",
            "CLOSE",
            "LISTEN",
            "NOTIFY",
            "UNLISTEN",
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
        self.catalogue.interrupt(self.process)

    def has_rows(self, statement: Statement) -> bool:
        """Whether the statement gives rows, known without running it."""
        return statement.verb in _QUERIES or statement.verb in ("EXPLAIN", "SHOW")

    def _query(self, statement: Statement) -> Outcome:
        if any(text == "$" and not quoted for text, quoted in statement.tokens):
            raise QueryError("there is no parameter $1: no values were bound", code="42P02")
        if statement.verb != "EXPLAIN" and self.catalogue.owns(statement):
            table = self.catalogue.query(statement, self.variables, self._known(), self.process)
            return Outcome("SELECT", settle(table))
        with self.sessions.lend(lambda: self._stopped) as session:
            self._hold(session)
            try:
                return self._ask(session, statement)
            finally:
                self._hold(None)

    def _hold(self, session: SessionLike | None) -> None:
        with self._lock:
            self._session = session

    def _ask(self, session: SessionLike, statement: Statement) -> Outcome:
        """A statement for a session: its rows, the notices that it earns, and its line in the journal."""
        explain = statement.verb == "EXPLAIN"
        text = _explained(statement) if explain else _without_schema(statement)
        begun = time.perf_counter()
        answer = session.query(text, fresh=self.variables.is_on("fleetcube.fresh"), explain=explain)
        if not explain:
            _require(self.variables.get("fleetcube.require"), answer)
        receipt = answer.receipt if self.variables.is_on("fleetcube.receipt") and not explain else None
        table = settle(answer.table)
        self.journal.add(
            self.process,
            statement.text,
            answer.path,
            table.num_rows,
            (time.perf_counter() - begun) * 1000,
            receipt=receipt,
        )
        notices = list(answer.notices)
        if answer.path in ("raw", "mixed") and not explain and not any(_TRUSTED in notice for notice in notices):
            notices.insert(0, f"{_TRUSTED}: no cube fits the {'whole ' if answer.path == 'mixed' else ''}query")
        if receipt is not None:
            notices.append(json.dumps(receipt, ensure_ascii=False, separators=(",", ":"), default=str))
        return Outcome("EXPLAIN" if explain else "SELECT", table, tuple(notices))

    def _known(self) -> dict[str, str | int]:
        user = self.variables.user
        return {
            "version": f"PostgreSQL {SERVER_VERSION}",
            "current_schema": _PUBLIC,
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
        tokens = list(statement.tokens[1:])
        scope = tokens[0][0].upper() if tokens else ""
        if scope in ("LOCAL", "SESSION") and len(tokens) > 1:
            tokens = tokens[1:]
        words = [text.upper() for text, _ in tokens]
        if words[:1] in (["TRANSACTION"], ["CHARACTERISTICS"]):
            return self._set_transaction(words)
        if words[:2] == ["TIME", "ZONE"]:
            name, values = "timezone", tokens[2:]
        elif words[:1] == ["NAMES"]:
            name, values = "client_encoding", tokens[1:]
        else:
            name, values = _assignment(tokens)
        default = not values or [text.upper() for text, _ in values] in (["DEFAULT"], ["LOCAL"])
        value = None if default else "".join(", " if text == "," else text for text, _ in values)
        if scope == "LOCAL" and self.status == "I":
            return Outcome("SET", warnings=("SET LOCAL can only be used in transaction blocks",))
        return Outcome("SET", told=tuple(self.variables.set(name, value, local=scope == "LOCAL")))

    def _set_transaction(self, words: list[str]) -> Outcome:
        if "WRITE" in words:
            raise QueryError("cannot set transaction read-write mode: the endpoint only reads", code="25006")
        return Outcome("SET")

    def _show(self, statement: Statement) -> Outcome:
        import pyarrow as pa

        words = [text for text, _ in statement.tokens[1:]]
        upper = [word.upper() for word in words]
        if upper == ["ALL"]:
            pairs = self.variables.listed()
            columns = {
                "name": [n for n, _ in pairs],
                "setting": [v for _, v in pairs],
                "description": [""] * len(pairs),
            }
            return Outcome("SHOW", pa.table(columns))
        names = {"TRANSACTION ISOLATION LEVEL": "transaction_isolation", "TIME ZONE": "TimeZone"}
        name = names.get(" ".join(upper), "".join(words))
        return Outcome("SHOW", pa.table({name: pa.array([self.variables.get(name)], pa.string())}))

    def _reset(self, statement: Statement) -> Outcome:
        name = "".join(text for text, _ in statement.tokens[1:])
        if name.upper() == "ALL" or statement.verb == "DISCARD":
            if statement.verb == "DISCARD":
                self.forget(None)
            tag = "DISCARD ALL" if statement.verb == "DISCARD" else "RESET"
            return Outcome(tag, told=tuple(self.variables.reset()))
        return Outcome("RESET", told=tuple(self.variables.set(name, None)))

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
    "DEALLOCATE": Desk._deallocate,
}


def _assignment(tokens: list[tuple[str, bool]]) -> tuple[str, list[tuple[str, bool]]]:
    """`name = values` or `name TO values`; a name may have dots."""
    for place, (text, quoted) in enumerate(tokens):
        if not quoted and text.upper() in ("=", "TO"):
            return "".join(word for word, _ in tokens[:place]), tokens[place + 1 :]
    raise QueryError("syntax error: SET wants a name, = or TO, and a value", code="42601")


def _explained(statement: Statement) -> str:
    found = re.match(r"explain(\s+cube)?\s+(?=select|with|values|table|\()", statement.text, re.IGNORECASE)
    rest = statement.text[found.end() :] if found else ""
    if not rest or rest.startswith("("):
        todo = "Write EXPLAIN CUBE SELECT ..., without options."
        raise QueryError("EXPLAIN with options is not supported", todo=todo, code="0A000")
    return rest


def _without_schema(statement: Statement) -> str:
    """Facts live in `public`: a query that says so is rendered without it, any other keeps its own text."""
    if not any(text.lower() == _PUBLIC for text, _ in statement.tokens):
        return statement.text
    tree = parse(statement)
    for node in tree.find_all(exp.Table, exp.Column):
        if (node.text("db") or "").lower() == _PUBLIC:
            node.set("db", None)
            node.set("catalog", None)
    return tree.sql("postgres")


def _require(mode: str, answer: Any) -> None:
    """Strict mode: refuse an answer that the client said it does not want."""
    if mode == "cube" and answer.path in ("raw", "mixed"):
        todo = "SET fleetcube.require = any, or see EXPLAIN CUBE for what would fit."
        reason = next((notice for notice in answer.notices if _TRUSTED in notice), "no cube fits the query")
        raise QueryError(f"fleetcube.require = cube: {reason}", todo=todo, code="0A000")
    if mode == "exact" and any(column.relative_error for column in answer.columns):
        todo = "SET fleetcube.require = any to accept the error bound of the receipt."
        raise QueryError("fleetcube.require = exact: the answer has approximate columns", todo=todo, code="0A000")
