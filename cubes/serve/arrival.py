"""The first bytes of a connection: encryption asked for, begun at once or left out, then the start packet.

They are read from the socket itself, never a byte too many: what belongs to TLS must reach TLS, and what a man in the
middle put behind a request for encryption must not be taken for the client's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from cubes.serve.pgwire import Startup, decode_startup
from cubes.serve.tls import PROTOCOL, Tls
from lake.errors import QueryError

_HANDSHAKE: Final = 0x16


@dataclass(frozen=True)
class Arrived:
    """A client at the door. `binding` is what a log-in over its TLS can be bound to, empty without."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    start: Startup
    secure: bool = False
    binding: bytes = b""


async def arrive(sock: socket.socket, tls: Tls | None, *, most_bytes: int) -> Arrived:
    """Read to the start or cancel packet, over TLS if the client asks for it and there is one.

    Errors: QueryError 08P01 for malformed bytes, also when plain bytes came together with the request for encryption;
    ssl.SSLError, ConnectionError and IncompleteReadError when the client fails or leaves.
    """
    for _ in range(3):
        if await _peek(sock) == _HANDSHAKE:
            return await _secured(sock, tls, most_bytes, direct=True)
        start = await _packet(lambda size: _exactly(sock, size), most_bytes)
        if start.request in ("start", "cancel"):
            reader, writer = await _streams(sock, None)
            return Arrived(reader, writer, start)
        if _has_more(sock):
            raise QueryError("received data in plain text after the request for encryption", code="08P01")
        loop = asyncio.get_running_loop()
        if start.request == "ssl" and tls is not None:
            await loop.sock_sendall(sock, b"S")
            return await _secured(sock, tls, most_bytes, direct=False)
        await loop.sock_sendall(sock, b"N")
    raise QueryError("encryption was asked for too often", code="08P01")


async def _secured(sock: socket.socket, tls: Tls | None, most_bytes: int, *, direct: bool) -> Arrived:
    if tls is None:
        raise QueryError("the server does not speak TLS: serve_certificate is not set", code="08P01")
    reader, writer = await _streams(sock, tls.context())
    try:
        spoken = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        if direct and spoken != PROTOCOL:
            raise ConnectionError("direct TLS without the protocol's name")
        start = await _packet(reader.readexactly, most_bytes)
        if start.request not in ("start", "cancel"):
            raise ConnectionError("encryption was asked for twice")
    except QueryError as error:
        # The caller knows the bare socket only, on which no plain word may be said any more.
        writer.transport.abort()
        raise ConnectionError(str(error)) from error
    except BaseException:
        writer.transport.abort()
        raise
    return Arrived(reader, writer, start, True, tls.binding)


async def _packet(read: Callable[[int], Awaitable[bytes]], most_bytes: int) -> Startup:
    (size,) = struct.unpack("!i", await read(4))
    if not 8 <= size <= most_bytes:
        raise QueryError(f"invalid length of startup packet: {size}", code="08P01")
    return decode_startup(await read(size - 4))


async def _streams(
    sock: socket.socket, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not piece:
            raise asyncio.IncompleteReadError(data, size)
        data += piece
    return data


async def _peek(sock: socket.socket) -> int:
    """The next byte, left where it is."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            data = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            await _readable(loop, sock)
            continue
        if not data:
            raise asyncio.IncompleteReadError(b"", 1)
        return data[0]


async def _readable(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
    told = asyncio.Event()
    loop.add_reader(sock, told.set)
    try:
        await told.wait()
    finally:
        loop.remove_reader(sock)


def _has_more(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
