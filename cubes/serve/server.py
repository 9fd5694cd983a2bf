"""The listening server: accepts clients, lets them in, hands each a desk, routes cancel requests, stops cleanly."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import secrets
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cubes.load import load_cubes
from cubes.serve.admission import Admission
from cubes.serve.arrival import Arrived, arrive
from cubes.serve.connection import Connection, Exchange, Limits
from cubes.serve.desk import Desk
from cubes.serve.doorkeeper import Doorkeeper, Guest
from cubes.serve.ending import Ender
from cubes.serve.failures import Failure, failure_of
from cubes.serve.house import House
from cubes.serve.journal import Journal
from cubes.serve.pg_catalog import Catalogue, Relation
from cubes.serve.pgwire import Reply, Startup
from cubes.serve.pool import SessionLike, SessionPool
from cubes.serve.relations import relations
from cubes.serve.running import Activity, Running
from cubes.serve.start_options import with_options
from cubes.serve.stream import Slots
from cubes.serve.system_lake import LakeTables
from cubes.serve.system_server import ServerTables
from cubes.serve.tls import tls_of
from cubes.serve.variables import ACT_FOR, Variables
from lake.audit import Audit
from lake.errors import ConfigError, QueryError
from lake.settings import Settings

_LOG = logging.getLogger(__name__)
# Beside one for each client, so that those in line never keep the others' words from being read.
_THREADS = 4
_STOP_S = 5.0
_PAUSE_S = 0.5
_AT_THE_DOOR = 32


class Server:
    """The endpoint of one lake. `start`, then `stop`; both on the same event loop."""

    def __init__(
        self,
        settings: Settings,
        session_factory: Callable[[], SessionLike],
        *,
        limits: Limits | None = None,
        more: Sequence[Relation] = (),
    ) -> None:
        """Nothing is opened yet; sessions are made by the factory as statements on facts need them.

        `more` are tables of the schema `fleet` beside the server's own.
        """
        idle = float(settings.serve_idle_s)
        self._limits = limits or Limits(statement_s=float(settings.statement_timeout_s), idle_s=idle)
        self._most = settings.serve_clients
        self._tls = tls_of(settings)
        self._audit = Audit(settings.lake)
        self._door = Doorkeeper(settings, self._audit.append)
        self._more = more
        self._sessions = SessionPool(session_factory, settings.serve_running)
        self._admission = Admission(settings.serve_running, settings.serve_waiting)
        self._slots = Slots(settings.serve_running)
        self._running, self._journal = Running(), Journal()
        own = settings.definitions if settings.definitions != Path("") else None
        self._cubes = tuple(load_cubes(own).values())
        self._lake = LakeTables(settings, self._cubes)
        self._pool = ThreadPoolExecutor(self._most + _THREADS, thread_name_prefix="serve")
        self._clients: dict[int, tuple[bytes, Connection]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._next_process = 1

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port (any free one for 0).

        Errors: ConfigError for a taken port, and off loopback without TLS or without users.
        """
        _check_safe(host, is_open=self._door.is_open(), has_tls=self._tls is not None)
        self._loop = loop = asyncio.get_running_loop()
        system = ServerTables(self._running, self._journal, self._admission, self._lake).relations()
        self._house = House(
            self._sessions,
            self._admission,
            self._slots,
            Catalogue((*relations(self._cubes), *system, *self._more)),
            self._running,
            self._journal,
            Ender(self._running, self._end),
        )
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in dict.fromkeys(found):
                # Every address of a name on the one port that the first was given.
                bound = self._listening[0].getsockname()[1] if self._listening else port
                self._listening.append(socket.create_server((address[0], bound), family=family, backlog=100))
        except OSError as error:
            for held in self._listening:
                held.close()
            what = f"cannot listen on {host}:{port}: {error.strerror or error}"
            raise ConfigError(what, where="serve", todo="Choose another --port, or 0 for any free one.") from error
        for held in self._listening:
            held.setblocking(False)
        self._accepting = [asyncio.create_task(self._accept_all(held)) for held in self._listening]
        bound = int(self._listening[0].getsockname()[1])
        _LOG.info("listening on %s:%s", host, bound)
        return bound

    async def stop(self) -> None:
        """Take no more clients, end running statements, close every connection and thread."""
        for accepting in self._accepting:
            accepting.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        for held in self._listening:
            held.close()
        for _, connection in list(self._clients.values()):
            connection.cancel("terminating connection due to administrator command")
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_S)
        self._sessions.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._lake.close()
        self._audit.close()

    async def _accept_all(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listening)
            except OSError as error:
                # No more file descriptors, as a rule: what is open goes on, and some will be closed.
                _LOG.warning("a client can't be accepted: %s", error)
                await asyncio.sleep(_PAUSE_S)
                continue
            sock.setblocking(False)
            # asyncio does so for sockets of its own making only; else each small answer waits for a delayed
            # acknowledgement, some 40 ms.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # Those at the door are no clients yet; they too are counted.
            if len(self._tasks) >= 2 * self._most + _AT_THE_DOOR:
                sock.close()
                continue
            task = asyncio.create_task(self._accept(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _accept(self, sock: socket.socket) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self._limits.start_s):
                arrived = await arrive(sock, self._tls, most_bytes=self._limits.start_bytes)
            writer = arrived.writer
            await self._attend(arrived)
        except QueryError as error:
            await _refuse(sock, writer, error)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError, ssl.SSLError) as error:
            _LOG.debug("client left or was too slow at start: %r", error)
        except ConfigError as error:
            _LOG.error("nobody is let in: %s", error)
            await _refuse(sock, writer, QueryError("the server's users can't be read", code="57P03"))
        except asyncio.CancelledError:
            await _refuse(sock, writer, QueryError("terminating connection due to administrator command", code="57P01"))
        except Exception:  # noqa: BLE001
            # The edge of the process: one client's trouble must not reach the others.
            _LOG.exception("connection failed")
        finally:
            if writer is None:
                sock.close()
            else:
                writer.close()
                with suppress(OSError, asyncio.CancelledError, TimeoutError):
                    await asyncio.wait_for(writer.wait_closed(), 1)
                # One that takes nothing, or never says that it saw the end, is not waited for.
                writer.transport.abort()
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)

    async def _attend(self, arrived: Arrived) -> None:
        start = arrived.start
        if start.request == "cancel":
            self._cancel(start)
            return
        address, port = (*arrived.writer.get_extra_info("peername", ("", 0)), 0, 0)[:2]
        if self._tls is not None and not arrived.secure and not _is_loopback(address):
            todo = "Connect with sslmode=require or verify-full."
            raise QueryError("the server wants TLS", todo=todo, code="28000")
        if len(self._clients) >= self._most:
            raise QueryError("sorry, too many clients already", todo="Close a connection and try again.", code="53300")
        parameters = with_options(start.parameters)
        user = parameters.get("user", "")
        if not user:
            raise QueryError("no user name was given in the startup packet", code="28000")
        # Out of the settings, so that nothing can show it.
        token = parameters.pop(ACT_FOR, None)
        start = replace(start, parameters=parameters)
        known = not self._door.is_open()
        if token is not None and not known:
            todo = "Declare the service by `fleetcube user add NAME --role service`."
            raise QueryError("nobody logs in here, so nobody can be acted for", todo=todo, code="28000")
        process, key = self._next_process, secrets.token_bytes(4)
        self._next_process = self._next_process % (2**31 - 1) + 1
        activity = Activity(process, user, address, port)
        desk = Desk(self._house, Variables(user), activity)
        activity.application, activity.status = partial(desk.variables.get, "application_name"), lambda: desk.status
        connection = Connection(arrived.reader, arrived.writer, desk, self._pool, self._limits)
        guest = Guest(user)
        self._seat(desk, guest, address, known=known)

        async def login(exchange: Exchange) -> bytes:
            nonlocal guest
            words = await self._log_in(exchange, user, address, arrived.binding) if known else b""
            if token is not None:
                guest = await self._door.guest(user, token, address)
            await self._door.welcome(guest, address, secure=arrived.secure)
            self._seat(desk, guest, address, known=known)
            return words

        self._clients[process] = (key, connection)
        self._running.arrive(activity)
        try:
            await connection.run(start, key, login)
        finally:
            del self._clients[process]
            self._running.leave(process)
            if connection.greeted:
                self._door.farewell(guest, address)

    def _seat(self, desk: Desk, guest: Guest, address: str, *, known: bool) -> None:
        """Make a desk that of a user: of who knocks, and then of whom they ask for."""
        desk.activity.user = desk.variables.user = guest.user
        desk.variables.via = guest.via
        desk.policy = partial(self._door.policy, guest, known=known)
        desk.tell = partial(self._audit.append, who=guest.user, via=guest.via, origin=address)

    async def _log_in(self, exchange: Exchange, user: str, address: str, binding: bytes) -> bytes:
        scram = self._door.exchange(user, binding)
        first = scram.first(await exchange(Reply.sasl(scram.mechanisms)))
        proof = await exchange(Reply.sasl_next(first, final=False))
        return Reply.sasl_next(await self._door.judge(scram, proof, user, address), final=True)

    def _end(self, process: int, terminate: bool) -> None:
        """End what a connection runs, or the connection; from any thread."""

        def act() -> None:
            _, connection = self._clients.get(process, (b"", None))
            if connection is not None:
                connection.terminate() if terminate else connection.cancel()

        self._loop.call_soon_threadsafe(act)

    def _cancel(self, start: Startup) -> None:
        """A cancel request says nothing back, right key or wrong."""
        key, connection = self._clients.get(start.process, (b"", None))
        if connection is not None and hmac.compare_digest(key, start.key):
            connection.desk.tell("query.cancel", str(start.process), durable=False)
            connection.cancel()
        else:
            _LOG.warning("cancel request with a wrong key for connection %s", start.process)


def serve(
    settings: Settings,
    session_factory: Callable[[], SessionLike],
    host: str,
    port: int,
    ready: Callable[[int], None],
    *,
    more: Sequence[Relation] = (),
) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is called with the port once clients can connect.

    Errors: ConfigError for a host off loopback without TLS or users, for a port in use, or for broken TLS files.
    """
    asyncio.run(_until_told(Server(settings, session_factory, more=more), host, port, ready))


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


def _is_loopback(address: str) -> bool:
    with suppress(ValueError):
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    return False


def _check_safe(host: str, *, is_open: bool, has_tls: bool) -> None:
    """Without a log-in and without TLS nobody but this machine may connect."""
    if _is_loopback(host) or (has_tls and not is_open):
        return
    lacks = [*(["`serve_certificate` and `serve_key`"] if not has_tls else []), *(["users"] if is_open else [])]
    raise ConfigError(
        f"off loopback the SQL endpoint wants TLS and a log-in, so it does not listen on '{host}' as it is.",
        where="serve_host",
        todo=f"Use --host 127.0.0.1, or give it {' and '.join(lacks)} (`fleetcube user add`; docs/endpoint.md).",
    )


async def _refuse(sock: socket.socket, writer: asyncio.StreamWriter | None, error: QueryError) -> None:
    failure = failure_of(error)
    message = Reply.error(Failure(failure.code, failure.message, hint=failure.hint, severity="FATAL").fields())
    with suppress(OSError):
        if writer is None:
            sock.send(message)
        else:
            writer.write(message)
            await asyncio.wait_for(writer.drain(), 1)
