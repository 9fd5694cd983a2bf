"""The body of a push: read with a deadline, inflated with a bound, or refused with the answer that says why."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterable, Mapping

from lake.errors import TransportError

_BODY_S = 30.0


class Refusal(TransportError):
    """A request that can't be taken; `status` is the HTTP status of the answer."""

    def __init__(self, status: int, what: str, todo: str) -> None:
        """`what` is wrong with the request, and what its sender may do about it."""
        super().__init__(what, todo=todo)
        self.status = status


async def read_body(headers: Mapping[str, str], chunks: AsyncIterable[bytes], limit: int) -> bytes:
    """The body, inflated; refused as soon as either side of the compression passes `limit`, or after a deadline."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if media != "application/x-ndjson" or encoding not in ("identity", "gzip"):
        what = f"Can't read '{media or 'nothing'}' in encoding '{encoding}'."
        raise Refusal(415, what, "Send application/x-ndjson, plain or with gzip.")
    told = headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit:
        raise _too_large(limit)
    inflater = _Inflater(limit) if encoding == "gzip" else None
    body, arrived = bytearray(), 0
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in chunks:
                arrived += len(chunk)
                body += inflater.add(chunk) if inflater else chunk
                if max(arrived, len(body)) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise Refusal(408, f"The body took more than {_BODY_S:.0f} s.", "Send it faster, or in parts.") from None
    if inflater:
        inflater.end()
    return bytes(body)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"The body is larger than {limit} bytes.", "Send it in parts.")


class _Inflater:
    """One gzip stream, in pieces; never more than `limit` bytes and one come out, however small they went in."""

    def __init__(self, limit: int) -> None:
        self._left = limit + 1
        self._stream = zlib.decompressobj(wbits=31)

    def add(self, chunk: bytes) -> bytes:
        if not chunk:
            return b""
        try:
            out = self._stream.decompress(chunk, self._left) if self._left else b""
        except zlib.error as error:
            raise Refusal(400, f"The gzip stream is damaged: {error}.", "Send it again.") from error
        if self._stream.unused_data:
            raise Refusal(400, "There is something behind the gzip stream.", "Send a single stream.")
        self._left -= len(out)
        return out

    def end(self) -> None:
        if not self._stream.eof:
            raise Refusal(400, "The gzip stream is cut short.", "Send it again.")
