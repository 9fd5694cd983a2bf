"""One client's connection: start-up, the message loop, and rows out in pages that the client's pace bounds.

Statements run in the server's threads; this side waits, and ends them when the client cancels, leaves or exceeds the
deadline. A statement that was told to stop is answered with 57014 even if it finished meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cubes.serve.desk import Desk, Outcome
from cubes.serve.extended import Extended, Portal
from cubes.serve.failures import Failure, failure_of
from cubes.serve.pg_types import data_rows, fields_of
from cubes.serve.pgwire import Message, Reply, Startup, decode_message, decode_startup
from cubes.serve.statements import Statement, split
from lake.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_PAGE_ROWS = 8192
_POLL_S = 0.05
_STOP_S = 2.0
_QUIET = {"warning": ("NOTICE",), "error": ("NOTICE", "WARNING")}


@dataclass(frozen=True)
class Limits:
    """What one connection may take."""

    start_s: float = 10.0
    statement_s: float = 60.0
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
        self._extended = Extended(desk)
        desk.forget = self._extended.forget
        self._skip_to_sync = False
        self._running = False
        self._stopped_by = ""

    async def run(self, start: Startup, key: bytes) -> None:
        """Greet the client, then serve its messages."""
        try:
            await self._greet(start, key)
            while await self._serve_one():
                pass
        except (_Fatal, ConnectionError, asyncio.IncompleteReadError):
            _LOG.debug("connection %s ended", self.desk.process)

    def cancel(self, why: str = "canceling statement due to user request") -> None:
        """End the running statement, if one runs."""
        if self._running:
            self._stopped_by = self._stopped_by or why
            self.desk.interrupt()

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
            message = await self._read()
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
        elif message.kind in _EXTENDED and not self._skip_to_sync:
            try:
                await _EXTENDED[message.kind](self, message)
            except (_Fatal, ConnectionError, asyncio.IncompleteReadError):
                raise
            except Exception as error:  # noqa: BLE001
                # The edge of a connection: what goes wrong in a statement is told to its client, and the next one runs.
                await self._fail(error, message.kind)
        return True

    async def _read(self) -> Message:
        head = await self._reader.readexactly(5)
        kind, size = chr(head[0]), struct.unpack("!i", head[1:])[0]
        if not 4 <= size <= self._limits.message_bytes:
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
        outcome = await self._work(lambda: self.desk.answer(statement))
        if outcome.table is not None:
            self._writer.write(Reply.rows_of(fields_of(outcome.table.schema)))
            await self._rows(outcome.table)
        self._done(outcome, 0 if outcome.table is None else outcome.table.num_rows)

    async def _rows(self, table: pa.Table) -> None:
        """Send rows page by page: `drain` holds the next page back until the client took the last one."""
        for start in range(0, table.num_rows, _PAGE_ROWS):
            page = table.slice(start, _PAGE_ROWS)
            self._writer.write(await self._work(partial(data_rows, page)))
            await self._writer.drain()

    def _done(self, outcome: Outcome, rows: int) -> None:
        for warning in outcome.warnings:
            self._tell("WARNING", warning)
        for notice in outcome.notices:
            self._tell("NOTICE", notice)
        for name, value in outcome.told:
            self._writer.write(Reply.parameter(name, value))
        self._writer.write(Reply.complete(f"SELECT {rows}" if outcome.tag == "SELECT" else outcome.tag))

    def _tell(self, severity: str, text: str) -> None:
        if severity in _QUIET.get(self.desk.variables.get("client_min_messages"), ()):
            return
        code = "01000" if severity == "WARNING" else "00000"
        self._writer.write(Reply.notice(Failure(code, text, severity=severity).fields()))

    async def _work(self, task: Callable[[], T]) -> T:
        """Run a task in the server's threads; end it on cancel, on the deadline, or when the client is gone."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._deadline_s()
        self._running, self._stopped_by = True, ""
        job = self._pool.submit(task)
        waiting = asyncio.wrap_future(job)
        try:
            while not (await asyncio.wait({waiting}, timeout=_POLL_S))[0]:
                if self._reader.at_eof():
                    self.cancel("the client has left")
                elif loop.time() > deadline:
                    self.cancel("canceling statement due to statement timeout")
                # Again and again: an interrupt between two engine calls of one statement would be lost.
                if self._stopped_by:
                    self.desk.interrupt()
                    job.cancel()
        except asyncio.CancelledError:
            # The server stops: the session must be idle before it is closed.
            self.desk.interrupt()
            await asyncio.wait({waiting}, timeout=_STOP_S)
            raise
        finally:
            self._running = False
        if self._stopped_by:
            if not waiting.cancelled():
                _LOG.debug("stopped statement ended with %r", waiting.exception())
            raise QueryError(self._stopped_by, code="57014")
        return waiting.result()

    def _deadline_s(self) -> float:
        """The server's limit, or the client's own where that is shorter."""
        own = int(self.desk.variables.get("statement_timeout")) / 1000
        return min(own, self._limits.statement_s) if own else self._limits.statement_s

    async def _fail(self, error: Exception, kind: str, offset: int = 0) -> None:
        """Report an error; within the extended protocol everything up to the next Sync is then left out."""
        self.desk.failed()
        self._skip_to_sync = kind not in ("Q",)
        self._writer.write(Reply.error(failure_of(error).fields(offset)))
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
            self._writer.write(Reply.parameters_of(prepared.oids))
        else:
            portal = self._extended.portal(message.portal)
            outcome = await self._described(portal)
        table = None if outcome is None else outcome.table
        self._writer.write(Reply.NO_DATA if table is None else Reply.rows_of(fields_of(table.schema)))

    async def _described(self, portal: Portal) -> Outcome | None:
        """The portal's outcome, but only if it gives rows: describing a SET must not set."""
        if portal.statement is None or not self.desk.has_rows(portal.statement):
            return None
        return await self._work(lambda: self._extended.run(portal))

    async def _on_execute(self, message: Message) -> None:
        portal = self._extended.portal(message.portal)
        if portal.statement is None:
            self._writer.write(Reply.EMPTY_QUERY)
            return
        outcome = await self._work(lambda: self._extended.run(portal))
        rows = 0
        if outcome.table is not None:
            page = portal.page(message.max_rows)
            rows = page.num_rows
            await self._rows(page)
        if portal.has_more:
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


async def read_startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: Limits) -> Startup:
    """The start or cancel packet, after saying no to encryption as often as a client asks (at most twice).

    Errors: QueryError 08P01 for malformed bytes; also when plain bytes came together with the request for encryption,
    which a man in the middle could have put there. IncompleteReadError when the client leaves.
    """
    first = await reader.readexactly(1)
    for _ in range(3):
        (size,) = struct.unpack("!i", first + await reader.readexactly(3))
        if not 8 <= size <= limits.start_bytes:
            raise QueryError(f"invalid length of startup packet: {size}", code="08P01")
        start = decode_startup(await reader.readexactly(size - 4))
        if start.request in ("start", "cancel"):
            return start
        following = asyncio.ensure_future(reader.readexactly(1))
        await asyncio.sleep(0)
        if following.done() and following.exception() is None:
            raise QueryError("received data in plain text after the request for encryption", code="08P01")
        writer.write(b"N")
        await writer.drain()
        first = await following
    raise QueryError("encryption was asked for too often", code="08P01")
