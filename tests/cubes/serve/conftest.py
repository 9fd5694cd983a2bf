"""A running endpoint over a small stand-in for the session, and a client that speaks raw bytes."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from cubes.serve.connection import Limits
from cubes.serve.server import Server
from cubes.session import _following
from lake.duck import connect
from lake.errors import QueryError, did_you_mean
from lake.settings import Settings


class StandIn:
    """A session over one table `requests` of 1000 rows; a statement that names `e2e_ms` counts as pushed down."""

    def __init__(self, settings: Settings) -> None:
        self.duck = connect(settings)
        self.fresh: list[bool] = []
        self.policies: list[Any] = []
        self.duck.execute(
            "CREATE TABLE requests AS SELECT TIMESTAMPTZ '2026-01-01' + INTERVAL (range) SECOND AS ts,"
            " CASE WHEN range % 7 = 0 THEN NULL ELSE 'm' || range % 3 END AS model, range AS output_tokens,"
            " CAST(range * 0.125 AS DECIMAL(18, 6)) AS e2e_ms FROM range(1000)"
        )

    def query(self, sql: str, *, raw: bool = False, fresh: bool = False, explain: bool = False, **more: Any) -> Any:
        self.fresh.append(fresh)
        self.policies.append(more.get("policy"))
        if "nope" in sql:
            raise QueryError("no table 'nope'", where="FROM", todo=did_you_mean("nope", ["requests"]), code="42P01")
        if "crash" in sql:
            raise ZeroDivisionError("secret inner detail")
        pushed = "e2e_ms" in sql
        notices = ("answered from trusted rows: e2e_ms is no measure",) if pushed else ()
        receipt = {"path": "raw" if pushed else "cube"}
        columns = [SimpleNamespace(relative_error=0.0054 if "percentile" in sql else 0.0, type="BIGINT")]
        if explain:
            sql = f"SELECT 'candidate' AS step, {len(sql)} AS length"
        rest = None
        if more.get("page_rows") and "e2e_ms" in sql and not explain:
            # As Session._paged does it.
            batches = self.duck.stream(sql, more["page_rows"])
            table = pa.Table.from_batches([batch for _, batch in zip(range(2), batches, strict=False)])
            second = next(batches, None)
            rest = None if second is None else _following(second, batches)
        else:
            table = self.duck.table(sql)
        return SimpleNamespace(
            table=table,
            rest=rest,
            path=receipt["path"],
            notices=notices,
            receipt=receipt,
            outline={"outline": receipt["path"]},
            columns=columns,
        )

    def interrupt(self) -> None:
        self.duck.interrupt()

    def close(self) -> None:
        self.duck.connection.close()


@dataclass
class Endpoint:
    """A server in a thread of its own."""

    port: int
    server: Server
    sessions: list[StandIn] = field(default_factory=list)

    def bare(self) -> Wire:
        """A client that has said nothing yet."""
        return Wire(socket.create_connection(("127.0.0.1", self.port), timeout=20))

    def connect(self, **startup: str) -> Wire:
        wire = self.bare()
        wire.start(**startup)
        return wire

    def alive(self) -> bool:
        """Whether a new client still gets an answer."""
        with self.connect() as wire:
            return wire.query("SELECT count(*) FROM requests").rows == [("1000",)]


@dataclass
class Result:
    """What came back up to ReadyForQuery."""

    rows: list[tuple[str | None, ...]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    errors: list[dict[str, str]] = field(default_factory=list)
    notices: list[dict[str, str]] = field(default_factory=list)
    kinds: str = ""
    status: str = ""


class Wire:
    """A client of raw messages."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw, self.process, self.key, self.told = raw, 0, b"", dict[str, str]()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()

    def start(self, version: int = 196608, **parameters: str) -> Result:
        pairs = {"user": "me", **parameters}
        body = b"".join(f"{name}\0{value}\0".encode() for name, value in pairs.items()) + b"\0"
        self.raw.sendall(struct.pack("!ii", len(body) + 8, version) + body)
        return self.result()

    def send(self, kind: str, body: bytes = b"") -> None:
        self.raw.sendall(kind.encode() + struct.pack("!i", len(body) + 4) + body)

    def query(self, sql: str) -> Result:
        self.send("Q", sql.encode() + b"\0")
        return self.result()

    def take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.raw.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def result(self) -> Result:
        """Read to ReadyForQuery, or to the end of the connection (then `status` is empty)."""
        result = Result()
        try:
            while not result.status:
                kind, size = struct.unpack("!ci", self.take(5))
                self._note(kind.decode(), self.take(size - 4), result)
        except (EOFError, ConnectionError):
            result.kinds += "."
        return result

    def _note(self, kind: str, body: bytes, result: Result) -> None:
        result.kinds += kind
        if kind == "T":
            result.columns = [part.split(b"\0")[0].decode() for part in _described(body)]
        elif kind == "D":
            result.rows.append(_row(body))
        elif kind == "C":
            result.tags.append(body[:-1].decode())
        elif kind in "EN":
            fields = {part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part}
            (result.errors if kind == "E" else result.notices).append(fields)
        elif kind == "S":
            name, value, _ = body.decode().split("\0")
            self.told[name] = value
        elif kind == "K":
            self.process, self.key = struct.unpack("!i", body[:4])[0], body[4:]
        elif kind == "Z":
            result.status = body.decode()


def _described(body: bytes) -> list[bytes]:
    found, at = [], 2
    while at < len(body):
        end = body.index(b"\0", at) + 19
        found.append(body[at:end])
        at = end
    return found


def _row(body: bytes) -> tuple[str | None, ...]:
    cells: list[str | None] = []
    at = 2
    for _ in range(struct.unpack("!h", body[:2])[0]):
        size = struct.unpack("!i", body[at : at + 4])[0]
        at += 4
        cells.append(None if size < 0 else body[at : at + size].decode())
        at += max(size, 0)
    return tuple(cells)


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """A context manager that runs an endpoint with limits of one's own."""
    from contextlib import contextmanager

    @contextmanager
    def run(
        factory: Callable[[], Any] | None = None,
        settings: dict[str, Any] | None = None,
        more: Any = (),
        **limits: float,
    ) -> Iterator[Endpoint]:
        given = {"lake": tmp_path_factory.mktemp("serve"), "memory_mib": 512, "threads": 2, **(settings or {})}
        made = Settings(**given)
        sessions: list[StandIn] = []

        def stand_in() -> StandIn:
            sessions.append(StandIn(made))
            return sessions[-1]

        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        server = Server(made, factory or stand_in, limits=Limits(**limits), more=more)  # type: ignore[arg-type]
        port = asyncio.run_coroutine_threadsafe(server.start("127.0.0.1", 0), loop).result(10)
        try:
            yield Endpoint(port, server, sessions)
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()

    return run


@pytest.fixture(scope="session")
def endpoint(serving: Callable[..., Any]) -> Iterator[Endpoint]:
    """One endpoint for the tests that leave no trace in it."""
    with serving() as running:
        yield running
