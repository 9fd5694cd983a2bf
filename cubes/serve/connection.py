"""One client's connection: start-up, the message loop, and rows out in pages that the client's pace bounds.

Statements run in the server's threads; this side waits, and ends them when the client cancels, leaves or exceeds the
deadline. A statement that was told to stop is answered with 57014 even if it finished meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from cubes.serve.desk import Desk, Outcome
from cubes.serve.extended import Extended
from cubes.serve.failures import Failure, failure_of
from cubes.serve.pages import Pages
from cubes.serve.pg_types import fields_of
from cubes.serve.pgwire import Message, Reply, Startup, decode_message
from cubes.serve.statements import Statement, split
from lake.errors import QueryError

T = TypeVar("T")
# Sends a question of the log-in and gives the client's answer.
Exchange = Callable[[bytes], Awaitable[bytes]]
# Lets a client in, or raises; gives the last words of the log-in.
Login = Callable[[Exchange], Awaitable[bytes]]
_LOG = logging.getLogger(__name__)
_POLL_S = 0.05
_STOP_S = 2.0
_QUIET = {"warning": ("NOTICE",), "error": ("NOTICE", "WARNING")}


@dataclass(frozen=True)
class Limits:
    """What one connection may take."""

    start_s: float = 10.0
    statement_s: float = 60.0
    login_s: float = 60.0
    idle_s: float = 0.0
    start_bytes: int = 10_000
    message_bytes: int = 16 * 2**20


class _Fatal(Exception):
    """The connection must end: its bytes can't be trusted any more. Never leaves this module."""


class Connection:
    """A client that passed start-up requests; `run` returns when it has left or was sent away."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, desk: Desk, pool: Executor, limits: Limits
    ) -> None:
        """Take over a socket whose start packet `desk` was made for."""
        self._reader, self._writer, self._pool, self._limits = reader, writer, pool, limits
        self.desk = desk
        self.greeted = False
        self._extended = Extended(desk)
        desk.forget = self._extended.forget
        self._skip_to_sync = False
        self._running = False
        self._stopped_by = ""
        self._begun_s = 0.0
        self._task: asyncio.Task[None] | None = None

    async def run(self, start: Startup, key: bytes, login: Login) -> None:
        """Greet the client once `login` let it in, then serve its messages."""
        self._task = asyncio.current_task()
        try:
            async with asyncio.timeout(self._limits.login_s):
                self._writer.write(await login(self._exchange))
            self.greeted = True
            await self._greet(start, key)
            while await self._serve_one():
                pass
        except (_Fatal, ConnectionError, asyncio.IncompleteReadError):
            _LOG.debug("connection %s ended", self.desk.process)
        finally:
            self._extended.end_transaction()

    def cancel(self, why: str = "canceling statement due to user request") -> None:
        """End the running statement, if one runs."""
        if self._running:
            self._stopped_by = self._stopped_by or why
            self.desk.interrupt()

    def terminate(self) -> None:
        """End the running statement and the connection with it."""
        self.cancel("terminating connection due to administrator command")
        if self._task is not None:
            self._task.cancel()

    async def _exchange(self, question: bytes) -> bytes:
        """Ask the client something in the log-in, and give its answer."""
        self._writer.write(question)
        await self._writer.drain()
        message = await self._read(self._limits.start_bytes)
        if message.kind != "p":
            raise QueryError(f"expected the answer of the log-in, not a message {message.kind!r}", code="08P01")
        return message.data

    async def _greet(self, start: Startup, key: bytes) -> None:
        options = [name for name in start.parameters if name.startswith("_pq_.")]
        if start.version[1] > 0 or options:
            self._writer.write(Reply.negotiate(options))
        self._writer.write(Reply.AUTHENTICATED)
        warnings = self.desk.variables.start(start.parameters)
        for name, value in self.desk.variables.told():
            self._writer.write(Reply.parameter(name, value))
        self._writer.write(Reply.backend_key(self.desk.process, key))
        for warning in warnings:
            self._tell("WARNING", warning)
        await self._ready()

    async def _serve_one(self) -> bool:
        """Read and serve one message; False when the client says goodbye."""
        try:
            # Between statements only: what the client waits for has the statement's deadline.
            async with asyncio.timeout(self._limits.idle_s or None):
                message = await self._read()
        except TimeoutError:
            what = "terminating connection due to idle-session timeout"
            await self._send_away(QueryError(what, todo="Connect again.", code="57P05"))
            return False
        except QueryError as error:
            if error.code == "08P01":
                await self._send_away(error)
            await self._fail(error, "")
            return True
        if message.kind == "X":
            return False
        if message.kind == "S":
            self._skip_to_sync = False
            self._end_portals()
            await self._ready()
        elif message.kind == "Q":
            self._skip_to_sync = False
            await self._simple(message.sql)
        elif message.kind == "H":
            await self._writer.drain()
        elif message.kind == "p":
            await self._send_away(QueryError("nobody asked for a password", code="08P01"))
        elif message.kind in _EXTENDED and not self._skip_to_sync:
            self._begin()
            try:
                await _EXTENDED[message.kind](self, message)
            except (_Fatal, ConnectionError, asyncio.IncompleteReadError):
                raise
            except Exception as error:  # noqa: BLE001
                # The edge of a connection: what goes wrong in a statement is told to its client, and the next one runs.
                await self._fail(error, message.kind)
            finally:
                self._running = False
        return True

    async def _read(self, most: int = 0) -> Message:
        head = await self._reader.readexactly(5)
        kind, size = chr(head[0]), struct.unpack("!i", head[1:])[0]
        if not 4 <= size <= (most or self._limits.message_bytes):
            raise QueryError(f"invalid message length {size}", code="08P01")
        return decode_message(kind, await self._reader.readexactly(size - 4))

    async def _simple(self, sql: str) -> None:
        """A query message: every statement's result; an error ends the message."""
        offset = 0
        try:
            statements = split(sql)
            if not statements:
                self._writer.write(Reply.EMPTY_QUERY)
            for statement in statements:
                offset = statement.offset
                await self._whole(statement)
        except (_Fatal, ConnectionError, asyncio.IncompleteReadError):
            raise
        except Exception as error:  # noqa: BLE001
            # The same edge as in _serve_one.
            await self._fail(error, "Q", offset)
        self._end_portals()
        await self._ready()

    async def _whole(self, statement: Statement) -> None:
        self._begin()
        try:
            await self._answered(statement)
        finally:
            self._running = False

    async def _answered(self, statement: Statement) -> None:
        outcome = await self._work(lambda: self.desk.answer(statement))
        if outcome.table is None:
            self._done(outcome, 0)
            return
        self.desk.activity.sends()
        pages = Pages(outcome)
        try:
            if outcome.copy is not None:
                rows = await self._copied(pages)
            else:
                self._writer.write(Reply.rows_of(pages.fields))
                rows = await self._rows(pages)
        finally:
            pages.close()
        self._done(outcome, rows)

    async def _rows(self, pages: Pages, most: int = 0, formats: Sequence[int] = ()) -> int:
        """Send rows page by page: `drain` holds the next page back until the client took the last one."""
        sent = 0
        while not most or sent < most:
            count, data = await self._work(partial(pages.rows, most and most - sent, formats))
            if not count:
                break
            self._writer.write(data)
            await self._drain()
            sent += count
            self.desk.activity.sent(pages.sent)
        return sent

    async def _copied(self, pages: Pages) -> int:
        """Send everything as COPY data."""
        options = pages.outcome.copy
        self._writer.write(Reply.copy_out(len(pages.schema), options is not None and options.form == "binary"))
        count = 1
        while count:
            count, data = await self._work(pages.lines)
            self._writer.write(data)
            await self._drain()
            self.desk.activity.sent(pages.sent)
        self._writer.write(Reply.COPY_DONE)
        return pages.sent

    async def _drain(self) -> None:
        """Wait until the client has taken what was sent; one that takes nothing until the deadline is let go."""
        left = self._begun_s + self._limit_s() - asyncio.get_running_loop().time()
        try:
            await asyncio.wait_for(self._writer.drain(), max(left, 0.1))
        except TimeoutError:
            _LOG.warning("connection %s takes no rows: closed at the statement's deadline", self.desk.process)
            raise _Fatal from None

    def _begin(self) -> None:
        """A statement starts: from here on a cancel request is for it, also while the client takes its rows."""
        self._running, self._stopped_by = True, ""
        self._begun_s = asyncio.get_running_loop().time()

    def _done(self, outcome: Outcome, rows: int) -> None:
        self.desk.activity.end()
        for warning in outcome.warnings:
            self._tell("WARNING", warning)
        for notice in outcome.notices:
            self._tell("NOTICE", notice)
        for name, value in outcome.told:
            self._writer.write(Reply.parameter(name, value))
        counted = outcome.tag in ("SELECT", "COPY")
        self._writer.write(Reply.complete(f"{outcome.tag} {rows}" if counted else outcome.tag))

    def _tell(self, severity: str, text: str) -> None:
        if severity in _QUIET.get(self.desk.variables.get("client_min_messages"), ()):
            return
        code = "01000" if severity == "WARNING" else "00000"
        self._writer.write(Reply.notice(Failure(code, text, severity=severity).fields()))

    async def _work(self, task: Callable[[], T]) -> T:
        """Run a task in the server's threads; end it on cancel, on the deadline, or when the client is gone."""
        loop = asyncio.get_running_loop()
        already = self._stopped_by
        if not already and loop.time() > self._begun_s + self._limit_s():
            # A large answer is many tasks, each of which may be short.
            already = "canceling statement due to statement timeout"
            self.cancel(already)
        if already:
            raise QueryError(already, code="57014")
        job = self._pool.submit(task)
        waiting = asyncio.wrap_future(job)
        try:
            while not (await asyncio.wait({waiting}, timeout=_POLL_S))[0]:
                if self._reader.at_eof():
                    self.cancel("the client has left")
                elif loop.time() > self._begun_s + self._limit_s():
                    self.cancel("canceling statement due to statement timeout")
                # Again and again: an interrupt between two engine calls of one statement would be lost.
                if self._stopped_by:
                    self.desk.interrupt()
                    job.cancel()
        except asyncio.CancelledError:
            # The connection ends: the session must be idle before it is given back. As above, again and again.
            for _ in range(int(_STOP_S / _POLL_S)):
                self.desk.interrupt()
                if (await asyncio.wait({waiting}, timeout=_POLL_S))[0]:
                    break
            raise
        if self._stopped_by:
            if not waiting.cancelled():
                _LOG.debug("stopped statement ended with %r", waiting.exception())
            raise QueryError(self._stopped_by, code="57014")
        return waiting.result()

    def _limit_s(self) -> float:
        """Seconds from a statement's arrival: the server's limit, or the client's own or the quota where shorter."""
        own = int(self.desk.variables.get("statement_timeout")) / 1000
        quota = self.desk.bound.statement_s
        return min(one for one in (self._limits.statement_s, own, quota) if one)

    async def _fail(self, error: Exception, kind: str, offset: int = 0) -> None:
        """Report an error; within the extended protocol everything up to the next Sync is then left out."""
        failure = failure_of(error)
        self.desk.failed()
        self.desk.activity.end(failure.code)
        self._skip_to_sync = kind not in ("Q",)
        self._writer.write(Reply.error(failure.fields(offset)))
        await self._writer.drain()

    async def _send_away(self, error: QueryError) -> None:
        failure = failure_of(error)
        fatal = Failure(failure.code, failure.message, hint=failure.hint, severity="FATAL")
        self._writer.write(Reply.error(fatal.fields()))
        await self._writer.drain()
        raise _Fatal

    def _end_portals(self) -> None:
        if self.desk.status == "I":
            self._extended.end_transaction()
            self.desk.activity.end()

    async def _ready(self) -> None:
        self._writer.write(Reply.ready(self.desk.status))
        await self._writer.drain()

    async def _on_parse(self, message: Message) -> None:
        await self._work(lambda: self._extended.parse(message))
        self._writer.write(Reply.PARSED)

    async def _on_bind(self, message: Message) -> None:
        await self._work(lambda: self._extended.bind(message))
        self._writer.write(Reply.BOUND)

    async def _on_describe(self, message: Message) -> None:
        if message.target == "S":
            prepared = self._extended.prepared(message.statement)
            outcome = await self._work(lambda: self._extended.columns(prepared))
            self.desk.activity.end()
            self._writer.write(Reply.parameters_of(prepared.oids))
            table = None if outcome is None else outcome.table
            self._writer.write(Reply.NO_DATA if table is None else Reply.rows_of(fields_of(table.schema)))
            return
        portal = self._extended.portal(message.portal)
        # Describing a SET must not set: only what gives rows is run.
        if portal.statement is None or not self.desk.has_rows(portal.statement):
            self._writer.write(Reply.NO_DATA)
            return
        outcome = await self._work(lambda: self._extended.run(portal))
        self.desk.activity.sends()
        assert portal.pages is not None, "what has rows has pages"
        fields = portal.pages.fields
        self._writer.write(Reply.rows_of(fields, portal.formats(len(fields))))

    async def _on_execute(self, message: Message) -> None:
        portal = self._extended.portal(message.portal)
        if portal.statement is None:
            self._writer.write(Reply.EMPTY_QUERY)
            return
        outcome = await self._work(lambda: self._extended.run(portal))
        if portal.pages is not None:
            self.desk.activity.sends()
        rows = 0
        if portal.pages is not None and outcome.copy is not None:
            rows = await self._copied(portal.pages)
        elif portal.pages is not None:
            formats = portal.formats(len(portal.pages.schema))
            rows = await self._rows(portal.pages, message.max_rows, formats)
        if portal.pages is not None and portal.pages.has_more:
            self._writer.write(Reply.SUSPENDED)
        else:
            self._done(outcome, rows)

    async def _on_close(self, message: Message) -> None:
        self._extended.close(message)
        self._writer.write(Reply.CLOSED)


_EXTENDED: dict[str, Callable[[Connection, Message], Awaitable[None]]] = {
    "P": Connection._on_parse,
    "B": Connection._on_bind,
    "D": Connection._on_describe,
    "E": Connection._on_execute,
    "C": Connection._on_close,
}
