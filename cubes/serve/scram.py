"""SCRAM-SHA-256 (RFC 5802, 7677), the server's side of one exchange, with channel binding where there is TLS.

The password never travels. An unknown user is answered as a known one, by a verifier that accepts nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from typing import TYPE_CHECKING, Final

from lake.errors import QueryError

if TYPE_CHECKING:
    from lake.users import Verifier

PLAIN: Final = "SCRAM-SHA-256"
PLUS: Final = "SCRAM-SHA-256-PLUS"
_BINDING: Final = "p=tls-server-end-point"


class Scram:
    """One exchange: `first`, then `final`."""

    def __init__(self, verifier: Verifier, binding: bytes) -> None:
        """`binding` is the hash of the server's certificate, empty where the connection has none."""
        self._verifier, self._binding = verifier, binding
        self._header = self._bare = self._first = self._nonce = ""
        self._plus = False

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What the client may choose from, the strongest first."""
        return (PLUS, PLAIN) if self._binding else (PLAIN,)

    def first(self, data: bytes) -> bytes:
        """The answer to a SASLInitialResponse: salt, rounds and a nonce. Errors: 08P01, 28000 for a wrong mechanism."""
        name, behind, rest = data.partition(b"\0")
        mechanism = name.decode("latin-1")
        if not behind or mechanism not in self.mechanisms:
            raise QueryError("the client chose a SASL mechanism that was not offered", code="28000")
        size = int.from_bytes(rest[:4], "big", signed=True)
        if len(rest) < 4 or size != len(rest) - 4:
            raise _malformed()
        self._plus = mechanism == PLUS
        parts = _text(rest[4:]).split(",", 2)
        if len(parts) != 3 or parts[1]:
            raise _malformed()
        self._check_binding(parts[0])
        self._header, self._bare = f"{parts[0]},,", parts[2]
        # The name within is left aside: the user is the one of the start packet.
        fields = self._bare.split(",")
        if len(fields) < 2 or not fields[0].startswith("n=") or not fields[1].startswith("r=") or len(fields[1]) < 10:
            raise _malformed()
        self._nonce = fields[1][2:] + base64.b64encode(secrets.token_bytes(18)).decode()
        salt = base64.b64encode(self._verifier.salt).decode()
        self._first = f"r={self._nonce},s={salt},i={self._verifier.iterations}"
        return self._first.encode()

    def final(self, data: bytes) -> bytes | None:
        """The server's own proof for a client that knows the password; None for one that does not. Errors: 08P01."""
        text = _text(data)
        before, found, proof = text.rpartition(",p=")
        fields = before.split(",")
        if not found or len(fields) < 2 or not fields[0].startswith("c=") or not fields[1].startswith("r="):
            raise _malformed()
        bound = self._header.encode() + (self._binding if self._plus else b"")
        same = hmac.compare_digest(_decoded(fields[0][2:]), bound)
        same &= hmac.compare_digest(fields[1][2:].encode(), self._nonce.encode())
        message = f"{self._bare},{self._first},{before}".encode()
        accepted = self._verifier.accepts(message, _decoded(proof))
        if not (accepted and same):
            return None
        return b"v=" + base64.b64encode(self._verifier.signature(message))

    def _check_binding(self, flag: str) -> None:
        if self._plus != (flag == _BINDING) or flag not in ("n", "y", _BINDING):
            raise QueryError("the client's channel binding does not fit the chosen mechanism", code="08P01")
        if flag == "y" and self._binding:
            what = "the client was not told of channel binding, which the server offers: somebody may be in between"
            raise QueryError(what, code="28000")


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed() from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed() from error


def _malformed() -> QueryError:
    return QueryError("malformed SCRAM message", code="08P01")
