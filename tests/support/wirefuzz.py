"""Malformed messages of the wire protocol, from a seed: random bytes, and good messages that were bent."""

from __future__ import annotations

import random
import socket
import struct
from contextlib import suppress

_START = struct.pack("!i", 196608) + b"user\0me\0database\0fleet\0\0"
_SQL = (
    "SELECT 1", "SELECT $1::int", "BEGIN", "COPY requests TO STDOUT", "SELECT * FROM nope", "", ";;", "SET a = b",
    "SELECT relname FROM pg_class LIMIT 2", "SELECT '\u00e9'", "SELECT count(*) FROM requests", "CLOSE ALL",
    "FETCH 1", "'",
)  # fmt: skip


def framed(kind: bytes, body: bytes) -> bytes:
    """A message with its true length."""
    return kind + struct.pack("!i", len(body) + 4) + body


def start() -> bytes:
    """A good start packet."""
    return struct.pack("!i", len(_START) + 4) + _START


def good(dice: random.Random) -> bytes:
    """A message that a client might send."""
    sql = dice.choice(_SQL).encode()
    name = dice.choice([b"", b"a", b"b"])
    return dice.choice(
        [
            lambda: framed(b"Q", sql + b"\0"),
            lambda: framed(b"P", name + b"\0" + sql + b"\0" + struct.pack("!hi", 1, dice.choice([0, 20, 1016, -1]))),
            lambda: framed(b"P", name + b"\0" + sql + b"\0\0\0"),
            lambda: framed(
                b"B", name + b"\0" + name + b"\0" + struct.pack("!hhhi1sh", 1, dice.choice([0, 1]), 1, 1, b"7", 0)
            ),
            lambda: framed(b"B", name + b"\0" + name + b"\0" + struct.pack("!hhhh", 0, 0, 1, dice.choice([0, 1, 2]))),
            lambda: framed(b"D", dice.choice([b"S", b"P"]) + name + b"\0"),
            lambda: framed(b"E", name + b"\0" + struct.pack("!i", dice.choice([0, 1, -1, 2**31 - 1]))),
            lambda: framed(b"C", dice.choice([b"S", b"P"]) + name + b"\0"),
            lambda: framed(dice.choice([b"S", b"H", b"c", b"d", b"f", b"p", b"F"]), b""),
        ]
    )()


def bent(dice: random.Random) -> bytes:
    """A message with something wrong: its length, a byte, its end, or all of it."""
    message = bytearray(good(dice))
    way = dice.randrange(6)
    if way == 0:
        message[1:5] = struct.pack("!i", dice.choice([0, 3, 4, -1, 2**31 - 1, len(message) + 7, dice.randrange(1, 60)]))
    elif way == 1:
        for _ in range(dice.randrange(1, 4)):
            message[dice.randrange(len(message))] = dice.randrange(256)
    elif way == 2:
        del message[dice.randrange(1, len(message)) :]
    elif way == 3:
        return framed(bytes([dice.randrange(256)]), dice.randbytes(dice.randrange(40)))
    elif way == 4:
        return dice.randbytes(dice.randrange(1, 60))
    else:
        body = bytearray(message[5:])
        place = dice.randrange(len(body) + 1)
        body[place:place] = dice.randbytes(dice.randrange(1, 9))
        return framed(bytes(message[:1]), bytes(body))
    return bytes(message)


def visit(port: int, dice: random.Random, messages: int) -> None:
    """One connection that sends about so many messages, most of them bent, and reads or leaves as it likes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw, suppress(OSError):
        raw.settimeout(5)
        if dice.random() < 0.8:
            raw.sendall(start())
        for _ in range(messages):
            raw.sendall(bent(dice) if dice.random() < 0.7 else good(dice))
            if dice.random() < 0.05:
                raw.settimeout(0.01)
                with suppress(TimeoutError):
                    raw.recv(65_536)
                raw.settimeout(5)
        if dice.random() < 0.5:
            raw.shutdown(socket.SHUT_WR)
            while raw.recv(65_536):
                pass
