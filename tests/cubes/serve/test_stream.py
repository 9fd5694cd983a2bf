"""Large answers: bounded memory, pages, cancel between pages, and sessions that are always given back."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

# Of the stand-in: a statement that names e2e_ms is answered from rows, page by page.
MILLION = "SELECT a.output_tokens AS n, b.ts, a.e2e_ms FROM requests a, requests b"
LARGE = (
    "SELECT a.output_tokens AS n, b.ts, a.e2e_ms FROM requests a, requests b, requests c WHERE c.output_tokens < {n}"
)


def resident() -> int:
    """MiB that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20


def drain(wire: Any) -> tuple[int, int, list[bytes]]:
    """Read to ReadyForQuery by counting only: rows, the most memory seen, error bodies."""
    rows, most, errors = 0, 0, []
    stream = wire.raw.makefile("rb", 2**20)
    while True:
        kind, size = struct.unpack("!ci", stream.read(5))
        body = stream.read(size - 4)
        if kind in (b"D", b"d"):
            rows += 1
            if rows % 100_000 == 0:
                most = max(most, resident())
        elif kind == b"E":
            errors.append(body)
        elif kind == b"Z":
            return rows, max(most, resident()), errors


@pytest.mark.slow
@pytest.mark.parametrize("form", ["{}", "COPY ({}) TO STDOUT (FORMAT csv)"])
def test_five_million_rows_in_bounded_memory(serving: Callable[..., Any], form: str) -> None:
    with serving(statement_s=200.0) as endpoint, endpoint.connect() as wire:
        wire.query(MILLION + " LIMIT 300000")
        before = resident()
        wire.send("Q", form.format(LARGE.format(n=5)).encode() + b"\0")
        rows, most, errors = drain(wire)
        assert (rows, errors) == (5_000_000, [])
        assert most - before < 150
        assert wire.query("SELECT 1").rows == [("1",)]


def test_a_refused_answer_gives_its_session_back(serving: Callable[..., Any]) -> None:
    with serving() as endpoint, endpoint.connect() as wire:
        for _ in range(6):
            assert wire.query("SET fleetcube.require = 'cube'").errors == []
            assert [error["C"] for error in wire.query(MILLION).errors] == ["0A000"]
            assert wire.query("SET fleetcube.require = 'any'").errors == []
            assert wire.query("SELECT count(*) FROM requests").rows == [("1000",)]


def test_the_deadline_ends_an_answer_between_its_pages(serving: Callable[..., Any]) -> None:
    with serving() as endpoint, endpoint.connect() as wire:
        assert wire.query("SET statement_timeout = '300ms'").errors == []
        wire.send("Q", LARGE.format(n=1000).encode() + b"\0")
        rows, _, errors = drain(wire)
        assert rows < 1_000_000_000
        assert [b"57014" in error for error in errors] == [True]
        assert wire.query("SELECT count(*) FROM requests").rows == [("1000",)]


def test_a_suspended_portal_goes_on_and_is_given_back(serving: Callable[..., Any]) -> None:
    with serving() as endpoint:
        place = f"host=127.0.0.1 port={endpoint.port} user=me dbname=fleet"
        for _ in range(6):
            with endpoint.connect() as wire:
                wire.query("BEGIN")
                wire.send("P", f"\0{MILLION}\0".encode() + b"\0\0")
                wire.send("B", b"\0\0" + struct.pack("!hhh", 0, 0, 0))
                for count in (70_000, 1, 100_000):
                    wire.send("E", b"\0" + struct.pack("!i", count))
                    wire.send("H")
                wire.send("S")
                rows, _, errors = drain(wire)
                assert (rows, errors) == (170_001, [])
                # Left open: the end of the connection must give its session back.
        with psycopg.connect(place) as connection:
            assert connection.execute("SELECT count(*) FROM requests").fetchone() == (1000,)
        ended = time.monotonic() + 10
        while endpoint.server.clients and time.monotonic() < ended:
            time.sleep(0.02)
        assert endpoint.server._sessions._lent == 0


def test_few_large_answers_at_once_leave_one_session(serving: Callable[..., Any]) -> None:
    with serving() as endpoint:
        held = [endpoint.connect() for _ in range(4)]
        for number, wire in enumerate(held):
            wire.query("BEGIN")
            wire.send("P", f"\0{MILLION}\0".encode() + b"\0\0")
            wire.send("B", b"\0\0" + struct.pack("!hhh", 0, 0, 0))
            wire.send("E", b"\0" + struct.pack("!i", 10))
            wire.send("S")
            result = wire.result()
            assert [error["C"] for error in result.errors] == ([] if number < 3 else ["53400"])
        assert endpoint.alive()
        for wire in held:
            wire.raw.close()
        assert endpoint.alive()


def test_a_cancel_reaches_a_stream(serving: Callable[..., Any]) -> None:
    with serving() as endpoint, endpoint.connect() as wire, endpoint.bare() as other:
        wire.send("Q", LARGE.format(n=900).encode() + b"\0")
        assert wire.raw.recv(1000)
        time.sleep(0.3)
        other.raw.sendall(struct.pack("!iii", 16, 80877102, wire.process) + wire.key)
        body = wire.raw.makefile("rb", 2**20)
        begun = time.monotonic()
        tail = b""
        while b"57014" not in tail:
            piece = body.read1(2**20)
            assert piece
            tail = tail[-200:] + piece
        assert time.monotonic() - begun < 10


def test_a_client_that_takes_nothing_is_let_go(serving: Callable[..., Any]) -> None:
    with serving(statement_s=1.0) as endpoint, endpoint.connect() as wire:
        wire.send("Q", LARGE.format(n=900).encode() + b"\0")
        ended = time.monotonic() + 15
        while endpoint.server.clients and time.monotonic() < ended:
            time.sleep(0.05)
        assert endpoint.server.clients == 0
        assert endpoint.alive()


def test_an_idle_client_is_let_go(serving: Callable[..., Any]) -> None:
    with serving(idle_s=0.3) as endpoint, endpoint.connect() as wire:
        assert wire.query("SELECT 1").rows == [("1",)]
        result = wire.result()
        assert [error["C"] for error in result.errors] == ["57P05"]


def test_an_error_within_a_stream_is_told(serving: Callable[..., Any]) -> None:
    sql = "SELECT CASE WHEN a.output_tokens + 1000 * b.output_tokens < 900000 THEN '1' ELSE 'x' END::int, a.e2e_ms"
    with serving() as endpoint, endpoint.connect() as wire:
        wire.send("Q", f"{sql} FROM requests a, requests b".encode() + b"\0")
        rows, _, errors = drain(wire)
        assert rows < 1_000_000
        assert len(errors) == 1
        assert b"C22" in errors[0]
        assert wire.query("SELECT 1").rows == [("1",)]


def test_asyncio_is_not_blocked_by_a_stream(serving: Callable[..., Any]) -> None:
    """Another client is answered while one reads a large answer."""
    with serving() as endpoint, endpoint.connect() as wire:
        wire.send("Q", LARGE.format(n=3).encode() + b"\0")
        begun = time.monotonic()
        assert endpoint.alive()
        assert time.monotonic() - begun < 5
        rows, _, errors = drain(wire)
        assert (rows, errors) == (3_000_000, [])


def test_long_texts_go_in_small_pages_and_too_long_ones_are_refused(serving: Callable[..., Any]) -> None:
    with serving() as endpoint, endpoint.connect() as wire:
        before = resident()
        wire.send("Q", b"SELECT repeat('x', 100000) AS t, e2e_ms FROM requests\0")
        rows, most, errors = drain(wire)
        assert (rows, errors) == (1000, [])
        assert most - before < 300
        refused = wire.query("SELECT repeat('x', 100000000) AS t FROM requests LIMIT 1")
        assert [error["C"] for error in refused.errors] == ["54000"]
        assert wire.query("SELECT 1").rows == [("1",)]
