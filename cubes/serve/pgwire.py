"""Messages of the PostgreSQL wire protocol 3.0: bytes to values and back. No SQL and no sockets here.

A message of a client is one type byte, a length that counts itself, and a body; the opening message has no type byte.
Every malformed body raises QueryError with code 08P01, so a reader never sees struct or index errors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lake.errors import QueryError

_SPECIAL = {80877102: "cancel", 80877103: "ssl", 80877104: "gss"}
_VERSION_3_0 = 196608
# Where a message carries nothing but its type.
_BARE = frozenset("SHXcdf")


@dataclass(frozen=True)
class Startup:
    """The opening packet. `request` is ssl, gss, cancel (then process and key) or start (version, parameters)."""

    request: str
    version: tuple[int, int] = (3, 0)
    parameters: Mapping[str, str] = field(default_factory=dict)
    process: int = 0
    key: bytes = b""


@dataclass(frozen=True)
class Message:
    """A client's message; `kind` is its type letter and only the fields of that kind are filled.

    `formats` and `result_formats` are as sent: empty means all text, one entry stands for every value.
    """

    kind: str
    sql: str = ""
    statement: str = ""
    portal: str = ""
    target: str = ""
    oids: tuple[int, ...] = ()
    formats: tuple[int, ...] = ()
    values: tuple[bytes | None, ...] = ()
    result_formats: tuple[int, ...] = ()
    max_rows: int = 0
    data: bytes = b""


@dataclass(frozen=True)
class Field:
    """A column of a row description. `size` is the type's bytes, -1 for variable."""

    name: str
    oid: int
    size: int = -1
    modifier: int = -1


class _Body:
    """A cursor over a message body that never reads past its end."""

    def __init__(self, body: bytes, kind: str) -> None:
        self._body, self._at, self._kind = body, 0, kind

    def violation(self, what: str) -> QueryError:
        return QueryError(f"invalid message of type '{self._kind}': {what}", code="08P01")

    def take(self, count: int) -> bytes:
        if count < 0 or self._at + count > len(self._body):
            raise self.violation("it ends too early")
        piece = self._body[self._at : self._at + count]
        self._at += count
        return piece

    def int16(self) -> int:
        return int(struct.unpack("!h", self.take(2))[0])

    def int32(self) -> int:
        return int(struct.unpack("!i", self.take(4))[0])

    def text(self) -> str:
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise self.violation("a text has no end")
        raw = self.take(end - self._at)
        self._at += 1
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise QueryError(
                "the text is not valid UTF-8", code="22021", todo="Set client_encoding to UTF8."
            ) from error

    def value(self) -> bytes | None:
        size = self.int32()
        return None if size == -1 else self.take(size)

    def rest(self) -> bytes:
        return self.take(len(self._body) - self._at)

    def count(self) -> int:
        """A number of entries, unsigned as in PostgreSQL."""
        return self.int16() & 0xFFFF

    def end(self) -> None:
        if self._at != len(self._body):
            raise self.violation(f"{len(self._body) - self._at} bytes too many")


def decode_startup(packet: bytes) -> Startup:
    """The opening packet without its length."""
    body = _Body(packet, "startup")
    code = body.int32()
    request = _SPECIAL.get(code)
    if request == "cancel":
        return Startup(request, process=body.int32(), key=packet[8:])
    if request is not None:
        body.end()
        return Startup(request)
    version = ((code >> 16) & 0xFFFF, code & 0xFFFF)
    if version[0] != 3:
        raise QueryError(f"unsupported protocol {version[0]}.{version[1]}: the server speaks 3.0", code="0A000")
    parameters: dict[str, str] = {}
    while name := body.text():
        parameters[name] = body.text()
    body.end()
    return Startup("start", version, parameters)


def decode_message(kind: str, packet: bytes) -> Message:
    """A client's message of type `kind`, without type and length. Unknown types raise 08P01."""
    if kind in _BARE:
        return Message(kind)
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise QueryError(f"invalid message type {kind!r}", code="08P01")
    body = _Body(packet, kind)
    message = decoder(body)
    body.end()
    return message


def _query(body: _Body) -> Message:
    return Message("Q", sql=body.text())


def _password(body: _Body) -> Message:
    return Message("p", data=body.rest())


def _parse(body: _Body) -> Message:
    name, sql = body.text(), body.text()
    return Message("P", statement=name, sql=sql, oids=tuple(body.int32() for _ in range(body.count())))


def _bind(body: _Body) -> Message:
    portal, statement = body.text(), body.text()
    formats = tuple(body.int16() for _ in range(body.count()))
    values = tuple(body.value() for _ in range(body.count()))
    results = tuple(body.int16() for _ in range(body.count()))
    if len(formats) > 1 and len(formats) != len(values):
        raise body.violation(f"{len(formats)} formats for {len(values)} values")
    message = Message("B", portal=portal, statement=statement, formats=formats, values=values, result_formats=results)
    return message


def _describe(body: _Body) -> Message:
    return _targeted("D", body)


def _close(body: _Body) -> Message:
    return _targeted("C", body)


def _targeted(kind: str, body: _Body) -> Message:
    target = body.take(1).decode("latin-1")
    if target == "S":
        return Message(kind, target=target, statement=body.text())
    if target == "P":
        return Message(kind, target=target, portal=body.text())
    raise body.violation(f"neither statement nor portal but {target!r}")


def _execute(body: _Body) -> Message:
    return Message("E", portal=body.text(), max_rows=max(0, body.int32()))


_DECODERS = {"Q": _query, "P": _parse, "B": _bind, "D": _describe, "C": _close, "E": _execute, "p": _password}


def _packet(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _cstring(text: str) -> bytes:
    """Text with its end mark; a NUL inside would end it early, so it is shown as U+FFFD."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace") + b"\0"


class Reply:
    """The server's messages, each as the whole bytes to send."""

    PARSED = _packet(b"1")
    BOUND = _packet(b"2")
    CLOSED = _packet(b"3")
    EMPTY_QUERY = _packet(b"I")
    NO_DATA = _packet(b"n")
    SUSPENDED = _packet(b"s")
    COPY_DONE = _packet(b"c")
    AUTHENTICATED = _packet(b"R", b"\0\0\0\0")

    @staticmethod
    def negotiate(options: Sequence[str]) -> bytes:
        """The newest version spoken here, and the protocol options that are not understood."""
        return _packet(b"v", struct.pack("!ii", _VERSION_3_0, len(options)) + b"".join(map(_cstring, options)))

    @staticmethod
    def parameter(name: str, value: str) -> bytes:
        """A setting that clients keep a copy of."""
        return _packet(b"S", _cstring(name) + _cstring(value))

    @staticmethod
    def backend_key(process: int, key: bytes) -> bytes:
        """What a client must present to cancel this connection's statement."""
        return _packet(b"K", struct.pack("!i", process) + key)

    @staticmethod
    def ready(status: str) -> bytes:
        """Ready for the next query; `status` is I (idle), T (in a transaction) or E (in a failed one)."""
        return _packet(b"Z", status.encode("ascii"))

    @staticmethod
    def rows_of(fields: Sequence[Field], formats: Sequence[int] = ()) -> bytes:
        """The description of the rows that follow; `formats` has an entry a column, empty is all text."""
        parts = [
            _cstring(item.name) + struct.pack("!ihihih", 0, 0, item.oid, item.size, item.modifier, form)
            for item, form in zip(fields, formats or (0,) * len(fields), strict=True)
        ]
        return _packet(b"T", struct.pack("!h", len(parts)) + b"".join(parts))

    @staticmethod
    def copy_out(columns: int, binary: bool) -> bytes:
        """Data of COPY follow, of so many columns."""
        return _packet(b"H", struct.pack(f"!bh{columns}h", int(binary), columns, *[int(binary)] * columns))

    @staticmethod
    def sasl(mechanisms: Sequence[str]) -> bytes:
        """The server wants to know the user by one of these mechanisms."""
        return _packet(b"R", struct.pack("!i", 10) + b"".join(map(_cstring, mechanisms)) + b"\0")

    @staticmethod
    def sasl_next(data: bytes, *, final: bool) -> bytes:
        """The server's side of the exchange, its last message or one before."""
        return _packet(b"R", struct.pack("!i", 12 if final else 11) + data)

    @staticmethod
    def parameters_of(oids: Sequence[int]) -> bytes:
        """The parameter types of a prepared statement."""
        return _packet(b"t", struct.pack(f"!h{len(oids)}i", len(oids), *oids))

    @staticmethod
    def complete(tag: str) -> bytes:
        """A statement is done; `tag` such as 'SELECT 3'."""
        return _packet(b"C", _cstring(tag))

    @staticmethod
    def error(fields: Iterable[tuple[str, str]]) -> bytes:
        """An error of one-letter field codes: S V severity, C code, M message, D detail, H hint, P position."""
        return _packet(b"E", _fields(fields))

    @staticmethod
    def notice(fields: Iterable[tuple[str, str]]) -> bytes:
        """A notice, with the field codes of an error."""
        return _packet(b"N", _fields(fields))


def _fields(fields: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(code.encode("ascii") + _cstring(text) for code, text in fields if text) + b"\0"
