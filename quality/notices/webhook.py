"""A signed POST to a web address: HMAC-SHA256 over the time and the body, never followed to another address.

The receiver checks it in ten lines (docs/running.md), refuses what is older than five minutes, and drops repeats by
the Idempotency-Key.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from lake.errors import TransportError
from quality.notices.channels import WebhookChannel
from quality.notices.notice import Notice

SIGNATURE: Final = "Fleetcube-Signature"
TIMESTAMP: Final = "Fleetcube-Timestamp"
IDENTITY: Final = "Idempotency-Key"
_LEAST_SECRET: Final = 16
_READ_BYTES: Final = 65_536


def sign(secret: str, timestamp: int, body: bytes) -> str:
    """The value of the signature's header."""
    return "v1=" + hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()


def post(name: str, channel: WebhookChannel, notice: Notice) -> None:
    """Deliver one notice. Errors: TransportError unless the answer is a 2xx within the channel's time."""
    body, timestamp = notice.body(), int(time.time())
    secret = channel.secret.read(name, least=_LEAST_SECRET)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "fleetcube",
        IDENTITY: notice.id,
        TIMESTAMP: str(timestamp),
        SIGNATURE: sign(secret, timestamp, body),
    }
    connection = _connection(channel)
    # Each read has a time-out of its own; an answer that drips in byte by byte is ended by this clock.
    late = threading.Event()
    clock = threading.Timer(channel.timeout_s, _end, (connection, late))
    clock.daemon = True
    clock.start()
    try:
        connection.request("POST", _path(channel.url), body, headers)
        answer = connection.getresponse()
        answer.read(_READ_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as error:
        what = f"no answer within {channel.timeout_s} s" if late.is_set() else f"{type(error).__name__}: {error}"
        raise TransportError(f"The webhook can't be reached: {what}.", where=name) from error
    finally:
        clock.cancel()
        connection.close()
    if 300 <= answer.status < 400:
        what = f"The webhook answered {answer.status}, a redirect, which is never followed."
        raise TransportError(what, where=name, todo="Write the final address into notices.yaml.")
    if not 200 <= answer.status < 300:
        raise TransportError(f"The webhook answered {answer.status}.", where=name)


def _connection(channel: WebhookChannel) -> http.client.HTTPConnection:
    parts = urlsplit(channel.url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=channel.timeout_s)
    context = ssl.create_default_context(cafile=None if channel.ca is None else str(channel.ca))
    return http.client.HTTPSConnection(host, parts.port, timeout=channel.timeout_s, context=context)


def _path(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _end(connection: http.client.HTTPConnection, late: threading.Event) -> None:
    late.set()
    sock: socket.socket | None = connection.sock
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
