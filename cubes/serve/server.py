"""The listening server: accepts clients on loopback, hands each a desk, routes cancel requests, stops cleanly."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import secrets
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from cubes.serve.connection import Connection, Limits, read_startup
from cubes.serve.desk import Desk
from cubes.serve.failures import Failure, failure_of
from cubes.serve.journal import Journal
from cubes.serve.pg_catalog import Catalogue
from cubes.serve.pgwire import Reply, Startup
from cubes.serve.pool import SessionLike, SessionPool
from cubes.serve.relations import relations
from cubes.serve.variables import Variables
from lake.errors import ConfigError, QueryError
from lake.settings import Settings

_LOG = logging.getLogger(__name__)
_MOST_CLIENTS = 64
_THREADS = 16
_STOP_S = 5.0


class Server:
    """The endpoint of one lake. `start`, then `stop`; both on the same event loop."""

    def __init__(
        self, settings: Settings, session_factory: Callable[[], SessionLike], *, limits: Limits | None = None
    ) -> None:
        """Nothing is opened yet; sessions are made by the factory as statements on facts need them."""
        self._limits = limits or Limits(statement_s=float(settings.statement_timeout_s))
        self._sessions = SessionPool(session_factory)
        self._journal = Journal()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="serve")
        self._clients: dict[int, tuple[bytes, Connection]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._next_process = 1

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port (any free one for 0). Errors: ConfigError off loopback or for a taken port."""
        _check_loopback(host)
        self._catalogue = Catalogue(relations(self._journal))
        try:
            self._server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            what = f"cannot listen on {host}:{port}: {error.strerror or error}"
            raise ConfigError(what, where="serve", todo="Choose another --port, or 0 for any free one.") from error
        bound = int(self._server.sockets[0].getsockname()[1])
        _LOG.info("listening on %s:%s", host, bound)
        return bound

    async def stop(self) -> None:
        """Take no more clients, end running statements, close every connection and thread."""
        if self._server is not None:
            self._server.close()
        for _, connection in list(self._clients.values()):
            connection.cancel("terminating connection due to administrator command")
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_S)
        self._sessions.close()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._attend(reader, writer)
        except QueryError as error:
            await _refuse(writer, error)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError) as error:
            _LOG.debug("client left or was too slow at start: %r", error)
        except asyncio.CancelledError:
            await _refuse(writer, QueryError("terminating connection due to administrator command", code="57P01"))
        except Exception:  # noqa: BLE001
            # The edge of the process: one client's trouble must not reach the others.
            _LOG.exception("connection failed")
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 1)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start = await asyncio.wait_for(read_startup(reader, writer, self._limits), self._limits.start_s)
        if start.request == "cancel":
            self._cancel(start)
            return
        if len(self._clients) >= _MOST_CLIENTS:
            raise QueryError("sorry, too many clients already", todo="Close a connection and try again.", code="53300")
        user = start.parameters.get("user", "")
        if not user:
            raise QueryError("no user name was given in the startup packet", code="28000")
        process, key = self._next_process, secrets.token_bytes(4)
        self._next_process = self._next_process % (2**31 - 1) + 1
        desk = Desk(self._sessions, self._catalogue, self._journal, Variables(user), process)
        connection = Connection(reader, writer, desk, self._pool, self._limits)
        self._clients[process] = (key, connection)
        try:
            await connection.run(start, key)
        finally:
            del self._clients[process]

    def _cancel(self, start: Startup) -> None:
        """A cancel request says nothing back, right key or wrong."""
        key, connection = self._clients.get(start.process, (b"", None))
        if connection is not None and hmac.compare_digest(key, start.key):
            connection.cancel()
        else:
            _LOG.warning("cancel request with a wrong key for connection %s", start.process)


def serve(
    settings: Settings,
    session_factory: Callable[[], SessionLike],
    host: str,
    port: int,
    ready: Callable[[int], None],
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called with the port once clients can connect.

    Errors: ConfigError for a host off loopback or a port in use.
    """
    asyncio.run(_until_told(Server(settings, session_factory), host, port, ready))


async def _until_told(server: Server, host: str, port: int, ready: Callable[[int], None]) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Only the main thread may take signals; elsewhere the owner of the thread ends the loop.
        with suppress(ValueError, RuntimeError):
            loop.add_signal_handler(number, told.set)
    bound = await server.start(host, port)
    ready(bound)
    try:
        await told.wait()
    finally:
        await server.stop()


def _check_loopback(host: str) -> None:
    """Without authentication nobody but this machine may connect."""
    try:
        safe = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        safe = False
    if not safe:
        raise ConfigError(
            f"the SQL endpoint has no log-in yet, so it listens on loopback only, not on '{host}'.",
            where="serve_host",
            todo="Use --host 127.0.0.1, and an SSH tunnel from other machines.",
        )


async def _refuse(writer: asyncio.StreamWriter, error: QueryError) -> None:
    failure = failure_of(error)
    fields = Failure(failure.code, failure.message, hint=failure.hint, severity="FATAL").fields()
    with suppress(ConnectionError):
        writer.write(Reply.error(fields))
        await writer.drain()
