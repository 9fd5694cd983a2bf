"""The receiver: agents push records over HTTP; what it answers with 200 is durable in its journal.

    POST /v1/push    records, one JSON object a line (`application/x-ndjson`, gzip allowed) -> {"accepted", "malformed"}
    GET  /v1/status  counts since the start, and the size of the journal
    GET  /healthz    the only address without a token

Who sends is told by the token, never by the text. A batch is journalled whole before it is answered; a line that is no
record is journalled too, as malformed, so that it can be shown and counted. Everything else is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from ingestion.body import Refusal, read_body
from ingestion.credentials import Credentials
from ingestion.frames import Frame
from ingestion.journal import Journal
from ingestion.sample import decode_record
from ingestion.signals import stopped_by_signals
from ingestion.spool import SpoolFull
from ingestion.told import Refusals
from lake.audit import Audit
from lake.errors import ConfigError, FleetcubeError, TransportError
from lake.facts import load_facts
from lake.settings import Settings

INBOX = "_inbox"  # the journal's folder in a lake
_MIB = 1024 * 1024
_BODIES_AT_ONCE = 32
_LINES_MAX = 100_000
_NAME_LENGTH_MAX = 200
_CONNECTIONS_MAX = 256
_IDLE_S = 30.0


class Receiver:
    """The application (`app`, ASGI) with its journal; `close` ends it.

    `tokens` is a token file, read again whenever it changes, or a mapping of agent to token.
    """

    def __init__(
        self,
        journal: Path,
        tokens: Path | Mapping[str, str],
        *,
        facts: Collection[str],
        body_bytes: int = 20 * _MIB,
        journal_bytes: int = 4096 * _MIB,
        roll_s: float = 1.0,
        report: Callable[[str], None] = lambda text: None,
        told: Callable[[str, int, str], None] = lambda address, status, agent: None,
    ) -> None:
        """`told` hears of every refusal: address, status, and the agent whose token was shown ("" for none).

        Errors: ConfigError for bad tokens, TransportError if another receiver has the journal.
        """
        self._told = told
        self._credentials = Credentials(tokens)
        self._facts, self._body_bytes, self._report = frozenset(facts), body_bytes, report
        self._journal = Journal(journal, max_bytes=journal_bytes, roll_s=roll_s, report=report)
        self._bodies = asyncio.Semaphore(_BODIES_AT_ONCE)
        self._counts = {"accepted": 0, "malformed": 0, "refused": 0}
        self._started_s = time.time()
        self.app = Starlette(
            routes=[
                Route("/healthz", self._health, methods=["GET"]),
                Route("/v1/status", self._status, methods=["GET"]),
                Route("/v1/push", self._push, methods=["POST"]),
            ],
            middleware=[Middleware(_Gate, credentials=self._credentials, report=report, told=told)],
        )

    def close(self) -> None:
        """Make durable what waits, seal the journal and give it up."""
        self._journal.close()

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _status(self, request: Request) -> Response:
        size, oldest_age_s = await asyncio.to_thread(self._journal.spool.usage)
        segments = len(self._journal.spool.segments())
        waiting = {"segments": segments, "bytes": size, "oldest_age_s": round(oldest_age_s, 3)}
        return JSONResponse(self._counts | waiting | {"up_s": round(time.time() - self._started_s, 3)})

    async def _push(self, request: Request) -> Response:
        try:
            async with self._bodies:
                body = await read_body(request.headers, request.stream(), self._body_bytes)
                frames = await asyncio.to_thread(self._frames, request.scope["fleetcube.agent"], body)
                await asyncio.wrap_future(self._journal.append(frames))
        except Refusal as refusal:
            self._counts["refused"] += 1
            self._told(_address(request.scope), refusal.status, request.scope["fleetcube.agent"])
            return _answer(refusal.status, refusal)
        except SpoolFull as error:
            return _answer(503, error, {"Retry-After": "5"})
        except TransportError as error:
            return _answer(503, error, {"Retry-After": "1"})
        except ClientDisconnect:
            return Response(status_code=400)  # nobody hears it
        malformed = sum(frame.kind == "malformed" for frame in frames)
        self._counts["accepted"] += len(frames) - malformed
        self._counts["malformed"] += malformed
        return JSONResponse({"accepted": len(frames) - malformed, "malformed": malformed})

    def _frames(self, agent: str, body: bytes) -> list[Frame]:
        """A frame for every line that is not blank; 403 for the whole body if a record names another agent."""
        if body.count(b"\n") > _LINES_MAX:
            raise Refusal(413, f"More than {_LINES_MAX} lines.", "Send smaller batches.")
        now_us = int(time.time() * 1_000_000)
        return [self._frame(agent, line, now_us) for line in body.split(b"\n") if line.strip()]

    def _frame(self, agent: str, line: bytes, now_us: int) -> Frame:
        try:
            record = decode_record(line)
        except TransportError:
            return _malformed(agent, line, now_us, self._facts)
        if record.agent != agent:
            what = f"The token is that of agent '{agent}', the record names '{record.agent}'."
            raise Refusal(403, what, "Push each agent's records with its own token.")
        if record.fact not in self._facts:
            return _malformed(agent, line, now_us, self._facts)
        frame = Frame(agent, record.boot, record.seq, record.fact, now_us, line.strip())
        return replace(frame, kind="gap") if record.lost else frame


def _answer(status: int, error: FleetcubeError, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": error.what, "todo": error.todo}, status, headers)


def _address(scope: Scope) -> str:
    """Where a request comes from, without its port."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


class _Gate:
    """Lets nothing but /healthz through without a token, whether the address exists or not."""

    def __init__(
        self,
        app: ASGIApp,
        credentials: Credentials,
        report: Callable[[str], None],
        told: Callable[[str, int, str], None],
    ) -> None:
        self._app, self._credentials, self._report, self._told = app, credentials, report, told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/healthz":
            try:
                agent = self._credentials.agent_of(Request(scope).headers.get("authorization", ""))
            except ConfigError as error:
                self._report(str(error))
                broken = TransportError("The receiver can't check tokens.", todo="Ask whoever runs it.")
                await _answer(503, broken, {"Retry-After": "5"})(scope, receive, send)
                return
            if agent is None:
                self._told(_address(scope), 401, "")
                unknown = TransportError("No valid token.", todo="Send 'Authorization: Bearer <token>'.")
                await _answer(401, unknown, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
                return
            scope["fleetcube.agent"] = agent
        await self._app(scope, receive, send)


def _malformed(agent: str, line: bytes, now_us: int, facts: Collection[str]) -> Frame:
    """A line that is no record, as text. Its identity is its own where that can be read, else that of its content."""
    boot, seq, fact = f"line:{hashlib.sha256(line).hexdigest()[:24]}", 1, "samples"
    own = _readable(line)
    if own.get("fact") in [*facts]:
        fact = own["fact"]
    if own.get("agent") == agent and _is_name(own.get("boot")) and _is_number(own.get("seq")):
        boot, seq = own["boot"], own["seq"]
    text = line.decode("utf-8", "backslashreplace").strip()
    return Frame(agent, boot, seq, fact, now_us, text.encode("utf-8", "replace"), "malformed")


def _readable(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _NAME_LENGTH_MAX and value.isprintable()


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def serve_receiver(
    settings: Settings,
    *,
    ready: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
    report: Callable[[str], None] | None = None,
) -> None:
    """Receive into the lake's inbox until SIGTERM, SIGINT or `stop`; `ready` is told the port once it listens.

    Errors: ConfigError for tokens or TLS, TransportError if the address or the journal is taken.
    """
    stop, say = stop or threading.Event(), report or _say
    secure = _tls(settings)
    with _listener(settings) as listener:
        port = listener.getsockname()[1]
        told = Refusals(Audit(settings.lake), say)
        receiver = Receiver(settings.lake / INBOX, settings.token_file, facts=load_facts(), report=say, told=told.add)
        try:
            with stopped_by_signals(stop):
                server = _Server(_config(receiver, secure), stop, lambda: ready(port) if ready else None)
                asyncio.run(server.serve(sockets=[listener]))
        finally:
            receiver.close()
            told.close()


def _config(receiver: Receiver, secure: Mapping[str, str]) -> uvicorn.Config:
    config = uvicorn.Config(
        receiver.app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        ssl_certfile=secure.get("certificate"),
        ssl_keyfile=secure.get("private_key"),
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        todo = "Check that both are PEM files, that they match, and that they can be read."
        raise ConfigError(f"TLS can't start: {error}.", where=secure.get("certificate", ""), todo=todo) from error
    return config


def _tls(settings: Settings) -> dict[str, str]:
    """Certificate and key, if there are any; ConfigError if there are none for an address that others can reach."""
    if bool(settings.certificate) != bool(settings.private_key):
        raise ConfigError(
            "TLS wants both `certificate` and `private_key`.", where="settings", todo="Set the other one too."
        )
    if settings.certificate:
        return {"certificate": settings.certificate, "private_key": settings.private_key}
    if not _is_loopback(settings.receiver_host):
        what = f"Tokens would cross the network in clear text at {settings.receiver_host}."
        todo = "Set `certificate` and `private_key`, or `receiver_host` to 127.0.0.1."
        raise ConfigError(what, where="receiver_host", todo=todo)
    return {}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(settings: Settings) -> socket.socket:
    address = (settings.receiver_host, settings.receiver_port)
    try:
        return socket.create_server(address, family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    except OSError as error:
        where, todo = (
            f"{address[0]}:{address[1]}",
            "Set `receiver_host` and `receiver_port` to a free address of this host.",
        )
        raise TransportError(f"Can't listen: {error.strerror or error}.", where=where, todo=todo) from error


class _Server(uvicorn.Server):
    """Stops by an event rather than by signals of its own, and tells when it listens."""

    def __init__(self, config: uvicorn.Config, stop: threading.Event, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop, self._ready = stop, ready

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._stop.is_set()


class _Protocol(H11Protocol):
    """Closes a connection on which no request is begun for a while: dead peers, and those that drip their headers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(None)

    def _watch(self, seen: object) -> None:
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and seen == (self.cycle,):
            self.transport.close()
            return
        self.loop.call_later(_IDLE_S, self._watch, (self.cycle,) if idle else None)


def _say(text: str) -> None:
    sys.stderr.write(f"receiver: {text}\n")
