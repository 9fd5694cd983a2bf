"""Receivers of notices as tests run them: a web server that checks signatures by itself, and a real mail server."""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword

SECRET = "a-secret-of-the-webhook-0123456789"


class Hook:
    """A web server on loopback. `answers` are given in turn, the last one for ever: a status, or 'slow' or 'drip'."""

    def __init__(self, certificate: dict[str, str] | None = None) -> None:
        self.answers: list[int | str] = [200]
        self.taken: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self.server.server_address[1]
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate["serve_certificate"], certificate["serve_key"])
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.taken.append((self.path, dict(self.headers), body))
                answer = hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0]
                if answer == "slow":
                    hook.released.wait(60)
                elif answer == "drip":
                    for _ in range(600):
                        if hook.released.wait(0.1):
                            return
                        self.wfile.write(b"H")
                else:
                    self.send_response(int(answer))
                    self.send_header("Location", f"http://127.0.0.1:{hook.port}/elsewhere")
                    self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        return Handler

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.thread.join(60)
        self.server.server_close()


@contextmanager
def hook(certificate: dict[str, str] | None = None) -> Iterator[Hook]:
    """A web server, ended after the test."""
    made = Hook(certificate)
    try:
        yield made
    finally:
        made.close()


def verified(headers: dict[str, str], body: bytes, *, secret: str = SECRET, now: float | None = None) -> bool:
    """The check that docs/running.md gives to receivers, written anew."""
    at = headers["Fleetcube-Timestamp"]
    wanted = hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    given = headers["Fleetcube-Signature"].removeprefix("v1=")
    age_s = abs((time.time() if now is None else now) - int(at))
    return hmac.compare_digest(wanted, given) and age_s <= 300


@contextmanager
def dripping(first: bytes, piece: bytes) -> Iterator[tuple[int, threading.Event]]:
    """A port where `first` comes at once and `piece` ten times a second, for a minute: gives it, and what ends it."""
    released = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        # Whoever is too late to connect must leave nobody waiting.
        server.settimeout(0.2)

        def drip() -> None:
            taken = None
            while taken is None and not released.is_set():
                with suppress(TimeoutError):
                    taken, _ = server.accept()
            if taken is None:
                return
            with taken, suppress(OSError):
                taken.sendall(first)
                for _ in range(600):
                    if released.wait(0.1):
                        return
                    taken.sendall(piece)
            released.wait(60)

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield server.getsockname()[1], released
        finally:
            released.set()
            thread.join(60)


class Mailbox:
    """A mail server's memory: who logged in, and each envelope."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.logins: list[str] = []
        self.refuses: set[str] = set()
        self.port = 0

    async def handle_RCPT(self, server: SMTP, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if address in self.refuses:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 taken"

    def authenticate(self, server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = (data.login, data.password) == (b"fleet", b"pass word")
        self.logins += [data.login.decode()] if good else []
        return AuthResult(success=good, handled=False)


class _AnyPort(Controller):
    """aiosmtpd asks for a port that is known; here the system chooses a free one."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        super()._trigger_server()


@contextmanager
def mail_server(tls: str = "none", certificate: dict[str, str] | None = None) -> Iterator[Mailbox]:
    """A mail server on loopback: without TLS, with STARTTLS (and log-in) or with TLS from the start."""
    box, more, context = Mailbox(), dict[str, Any](), None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate["serve_certificate"], certificate["serve_key"])
    if tls == "starttls":
        more = {"tls_context": context, "authenticator": box.authenticate, "auth_required": True}
    if tls == "tls":
        more = {"ssl_context": context}
    controller = _AnyPort(box, hostname="127.0.0.1", port=0, **more)
    controller.start()
    box.port = controller.port
    try:
        yield box
    finally:
        controller.stop()


def secret_file(folder: Path, text: str = SECRET, name: str = "secret", mode: int = 0o600) -> Path:
    """A file with a secret in it."""
    path = folder / name
    path.write_text(text + "\n")
    path.chmod(mode)
    return path
