from __future__ import annotations

import random
import struct
from contextlib import suppress
from typing import Any

import pytest

from cubes.serve.pgwire import Field, Message, Reply, decode_message, decode_startup
from lake.errors import QueryError


def test_messages_are_read() -> None:
    assert decode_message("Q", "sélect\0".encode()) == Message("Q", sql="sélect")
    parse = b"s\0select $1\0" + struct.pack("!hii", 2, 23, 0)
    assert decode_message("P", parse) == Message("P", statement="s", sql="select $1", oids=(23, 0))
    bind = b"p\0s\0" + struct.pack("!hhhi1sihh", 1, 0, 2, 1, b"7", -1, 1, 1)
    assert decode_message("B", bind) == Message(
        "B", portal="p", statement="s", formats=(0,), values=(b"7", None), result_formats=(1,)
    )
    assert decode_message("D", b"Ss\0") == Message("D", target="S", statement="s")
    assert decode_message("E", b"p\0" + struct.pack("!i", 5)) == Message("E", portal="p", max_rows=5)


@pytest.mark.parametrize(
    "kind, body",
    [
        ("Q", b"no end"),
        ("Q", b"two\0ends\0"),
        ("P", b"s\0x\0\x00\x05"),
        ("B", b"p\0s\0\x00\x00\xff\xff"),
        ("B", b"p\0s\0" + struct.pack("!hhh", 2, 0, 0) + struct.pack("!hh", 0, 0)),
        ("B", b"p\0s\0" + struct.pack("!hhi", 0, 1, -9)),
        ("D", b"X\0"),
        ("D", b""),
        ("E", b"p\0\0"),
        ("F", b""),
        ("\0", b""),
    ],
)
def test_malformed_messages_are_violations(kind: str, body: bytes) -> None:
    with pytest.raises(QueryError) as caught:
        decode_message(kind, body)
    assert caught.value.code == "08P01"


def test_text_that_is_not_utf8_is_no_violation() -> None:
    with pytest.raises(QueryError) as caught:
        decode_message("Q", b"\xff\0")
    assert caught.value.code == "22021"


def test_random_bytes_raise_query_errors_only() -> None:
    dice = random.Random(7)
    for _ in range(3000):
        body = dice.randbytes(dice.randrange(40))
        for decode in (decode_startup, lambda packet: decode_message(dice.choice("QPBDEC"), packet)):
            with suppress(QueryError):
                decode(body)


def test_startup_packets() -> None:
    start = decode_startup(struct.pack("!i", 196608) + b"user\0me\0database\0x\0\0")
    assert (start.request, start.version, start.parameters) == ("start", (3, 0), {"user": "me", "database": "x"})
    assert decode_startup(struct.pack("!ii", 80877102, 7) + b"key!").key == b"key!"
    with pytest.raises(QueryError, match=r"unsupported protocol 2\.0"):
        decode_startup(struct.pack("!i", 131072))


@pytest.mark.parametrize(
    "made, wanted",
    [
        (Reply.ready("I"), b"Z\0\0\0\x05I"),
        (Reply.complete("SELECT 1"), b"C\0\0\0\rSELECT 1\0"),
        (Reply.error([("S", "ERROR"), ("H", ""), ("M", "a\0b")]), b"E\0\0\0\x13SERROR\0Ma\xef\xbf\xbdb\0\0"),
        (
            Reply.rows_of([Field("n", 20, 8)]),
            b"T\0\0\0\x1a\0\x01n\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\0",
        ),
    ],
)
def test_replies(made: bytes, wanted: bytes) -> None:
    assert made == wanted


def frame(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return kind + struct.pack("!i", len(body) + 4 if size is None else size) + body


@pytest.mark.parametrize(
    "sent",
    [
        frame(b"Q", b"SELECT 1\0", 3),
        frame(b"Q", b"SELECT 1\0", -1),
        frame(b"Q", b"", 2**31 - 1),
        frame(b"Q", b"SELECT 1"),
        frame(b"~", b""),
        frame(b"F", b"\0\0\0\0"),
        frame(b"B", b"\0\0\xff\xff\xff\xff"),
    ],
)
def test_broken_framing_ends_the_connection_with_a_reason(endpoint: Any, sent: bytes) -> None:
    with endpoint.connect() as wire:
        wire.raw.sendall(sent)
        result = wire.result()
        assert [(error["S"], error["C"]) for error in result.errors] == [("FATAL", "08P01")]
        assert result.kinds == "E."
    assert endpoint.alive()


@pytest.mark.parametrize(
    "sent, code",
    [
        (struct.pack("!i", 4), "08P01"),
        (struct.pack("!i", 2**30) + b"x", "08P01"),
        (struct.pack("!ii", 8, 131072), "0A000"),
        (struct.pack("!ii", 8, 196608), "08P01"),
        (struct.pack("!ii", 9, 196608) + b"\0", "28000"),
        (struct.pack("!ii", 13, 196608) + b"user\0", "08P01"),
        (b"GET / HTTP/1.1\r\n\r\n", "08P01"),
        (struct.pack("!iiii", 8, 80877103, 8, 196608), "08P01"),
    ],
)
def test_broken_starts_are_refused(endpoint: Any, sent: bytes, code: str) -> None:
    with endpoint.bare() as wire:
        wire.raw.sendall(sent)
        assert [error["C"] for error in wire.result().errors] == [code]
    assert endpoint.alive()


def test_truncated_start_is_given_up(serving: Any) -> None:
    with serving(start_s=0.2) as endpoint, endpoint.bare() as wire:
        wire.raw.sendall(struct.pack("!ii", 50, 196608) + b"user")
        assert wire.result().kinds == "."
        assert endpoint.alive()


def test_garbage_from_many_clients_leaves_the_server_alive(endpoint: Any) -> None:
    dice = random.Random(11)
    for _ in range(60):
        with endpoint.bare() as wire:
            if dice.random() < 0.5:
                wire.start()
            wire.raw.sendall(dice.randbytes(dice.randrange(1, 80)))
    assert endpoint.alive()
