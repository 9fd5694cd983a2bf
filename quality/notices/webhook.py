"""A signed POST to a web address: HMAC-SHA256 over the time and the body, never followed to another address.

The receiver checks it in ten lines (docs/running.md), refuses what is older than five minutes, and drops repeats by
the Idempotency-Key.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ssl
import time
from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

from lake.errors import TransportError
from quality.notices.channels import WebhookChannel
from quality.notices.deadline import Deadline
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
    with Deadline(channel.timeout_s) as deadline:
        try:
            with closing(_connection(channel, deadline)) as connection:
                connection.request("POST", _path(channel.url), body, headers)
                answer = connection.getresponse()
                answer.read(_READ_BYTES)
        except http.client.InvalidURL as error:
            # Its text would show the path, which may hold a token.
            raise TransportError("The webhook's address can't be asked for.", where=name) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TransportError(f"The webhook can't be reached: {deadline.why(error)}.", where=name) from error
    if 300 <= answer.status < 400:
        what = f"The webhook answered {answer.status}, a redirect, which is never followed."
        raise TransportError(what, where=name, todo="Write the final address into notices.yaml.")
    if not 200 <= answer.status < 300:
        raise TransportError(f"The webhook answered {answer.status}.", where=name)


def _connection(channel: WebhookChannel, deadline: Deadline) -> http.client.HTTPConnection:
    parts = urlsplit(channel.url)
    host, is_plain = parts.hostname or "", parts.scheme == "http"
    port = parts.port or (80 if is_plain else 443)
    made = http.client.HTTPConnection(host, port) if is_plain else http.client.HTTPSConnection(host, port)
    context = None if is_plain else ssl.create_default_context(cafile=None if channel.ca is None else str(channel.ca))
    sock = deadline.connect(host, port)
    made.sock = sock if context is None else context.wrap_socket(sock, server_hostname=host)
    return made


def _path(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
