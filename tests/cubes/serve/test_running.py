"""Running queries: who sees them, and who may end them, over the wire and with log-ins."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from gated import Gated, until

from lake.settings import Settings
from lake.users import Users

PASSWORD = "correct horse battery"
ACCESS = """
roles:
  reader: {facts: [requests], rows: {requests: all}, system: [queries, receipts]}
  overseer: {facts: [requests], rows: {requests: all}, system: ["*"], may: [queries.see, queries.end]}
  watcher: {system: [queries], may: [queries.see]}
users:
  ann: {roles: [reader], tenant: acme}
  abe: {roles: [reader], tenant: acme}
  bob: {roles: [reader], tenant: other}
  root: {roles: [overseer]}
  chief: {roles: [overseer], tenant: acme}
  eve: {roles: [watcher]}
"""


@dataclass
class Place:
    """An endpoint with users, whose held statements wait for the gate."""

    port: int
    lake: Path
    gate: threading.Event
    server: Any

    def connect(self, user: str, **more: Any) -> psycopg.Connection[Any]:
        given = {"host": "127.0.0.1", "port": self.port, "password": PASSWORD, "dbname": "fleet", **more}
        return psycopg.connect(autocommit=True, connect_timeout=60, user=user, **given)

    def events(self) -> list[dict[str, Any]]:
        self.server._audit.flush()
        paths = sorted((self.lake / "_audit").glob("*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


@pytest.fixture
def place(serving: Callable[..., Any], tmp_path: Path) -> Iterator[Place]:
    settings = Settings(lake=tmp_path)
    for name in ("ann", "abe", "bob", "root", "chief", "eve"):
        Users(settings.users_file).add(name, PASSWORD)
    settings.access_file.write_text(ACCESS)
    gate = threading.Event()
    with serving(lambda: Gated(gate), {"lake": tmp_path, "serve_running": 2}) as endpoint:
        try:
            yield Place(endpoint.port, tmp_path, gate, endpoint.server)
        finally:
            gate.set()


@pytest.fixture
def pool(place: Place) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as made:
        try:
            yield made
        finally:
            # Else a test that fails would wait for its own statements for ever.
            place.gate.set()


def ask(connection: psycopg.Connection[Any], sql: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql).fetchall()  # type: ignore[call-overload, no-any-return]


def held(place: Place, pool: ThreadPoolExecutor, user: str, state: str = "running") -> tuple[int, Future[Any]]:
    """A statement of a user that runs (or waits), and the number of its connection."""
    connection = place.connect(user)
    [(process,)] = ask(connection, "SELECT pg_backend_pid()")
    running = pool.submit(ask, connection, f"SELECT held_by_{user} FROM requests")
    running.add_done_callback(lambda _: connection.close())
    until(lambda: _stands(place, process, state), f"{user}'s statement as {state}")
    return process, running


def _stands(place: Place, process: int, state: str) -> bool:
    """Whether a statement runs or waits; one that has only arrived is shown as running, and has no place yet."""
    found = place.server._running.connection(process)
    query = None if found is None else found.query
    return query is not None and query.state == state and (state == "waiting" or query.started is not None)


def test_everybody_sees_their_own_and_who_may_those_of_others(place: Place, pool: ThreadPoolExecutor) -> None:
    numbers = {user: held(place, pool, user)[0] for user in ("ann", "bob")}
    numbers["abe"] = held(place, pool, "abe", "waiting")[0]
    sql = "SELECT who, state FROM fleet.queries WHERE path IS DISTINCT FROM 'catalogue' ORDER BY who"
    everyone = [("abe", "waiting"), ("ann", "running"), ("bob", "running")]
    for user, seen in (("ann", everyone[1:2]), ("root", everyone), ("eve", everyone), ("chief", everyone[:2])):
        with place.connect(user) as connection:
            assert ask(connection, sql) == seen
            active = "SELECT usename, pid FROM pg_stat_activity WHERE query LIKE '%held%' ORDER BY usename"
            wanted = [(name, numbers[name]) for name, _ in seen]
            assert [row for row in ask(connection, active) if row[1] in numbers.values()] == wanted
    with place.connect("root") as connection:
        columns = "tenant, client, statement, rows, latency_ms > 0"
        [row] = ask(connection, f"SELECT {columns} FROM fleet.queries WHERE who = 'bob'")
        assert row == ("other", "127.0.0.1", "SELECT held_by_bob FROM requests", None, True)
        [row] = ask(connection, "SELECT wait_event_type, wait_event FROM pg_stat_activity WHERE usename = 'abe'")
        assert row == ("IPC", "Admission")
        figures = "SELECT metric, value FROM fleet.metrics WHERE metric LIKE 'endpoint_statements_%g'"
        shown = [("endpoint_statements_running", 2.0), ("endpoint_statements_waiting", 1.0)]
        assert ask(connection, figures) == shown
    place.gate.set()


def test_who_may_ends_what_others_run_and_it_is_on_record(place: Place, pool: ThreadPoolExecutor) -> None:
    process, running = held(place, pool, "bob")
    for user in ("ann", "eve", "chief"):
        with place.connect(user) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(connection, f"SELECT pg_cancel_backend({process})")
    assert not running.done()
    with place.connect("root") as connection:
        assert ask(connection, f"SELECT pg_cancel_backend({process}) AS ended") == [(True,)]
        with pytest.raises(psycopg.errors.QueryCanceled):
            running.result(60)
        [row] = ask(connection, "SELECT state, error FROM fleet.queries WHERE who = 'bob'")
        assert row == ("failed", "57014")
    told = [
        (event["who"], event["result"], event["detail"])
        for event in place.events()
        if event["operation"] == "query.cancel" and event["resource"] == str(process)
    ]
    refused = [(user, "refused", {}) for user in ("ann", "eve", "chief")]
    assert told == [*refused, ("root", "ok", {"of": "bob"})]


def test_a_statement_in_line_and_all_of_a_tenants_are_ended(place: Place, pool: ThreadPoolExecutor) -> None:
    first, second, third = (held(place, pool, user, state)[1] for user, state in _LINE)
    with place.connect("chief") as connection:
        sql = "SELECT who, pg_terminate_backend(process) FROM fleet.queries WHERE state IN ('running', 'waiting')"
        found = ask(connection, f"{sql} AND who <> 'chief' ORDER BY who")
        assert found == [("abe", True), ("ann", True)]
    for ended in (first, third):
        with pytest.raises(psycopg.errors.AdminShutdown):
            ended.result(60)
    assert not second.done()
    place.gate.set()
    assert second.result(60) == [(0,)]
    until(lambda: place.server.clients == 0)
    assert (place.server._admission.running, place.server._sessions._lent) == (0, 0)


_LINE = (("ann", "running"), ("bob", "running"), ("abe", "waiting"))


def test_an_idle_connection_is_ended_and_a_number_of_nobody_is_a_warning(place: Place) -> None:
    with place.connect("root") as connection, place.connect("bob") as idle:
        heard: list[str] = []
        connection.add_notice_handler(lambda diag: heard.append(diag.message_primary or ""))
        assert ask(connection, "SELECT pg_cancel_backend(4711)") == [(False,)]
        assert heard == ["PID 4711 is not a PostgreSQL server process"]
        number = idle.info.backend_pid
        assert ask(connection, f"SELECT pg_catalog.pg_terminate_backend({number}, 1000)") == [(True,)]
        with pytest.raises(psycopg.errors.AdminShutdown):
            until(lambda: bool(ask(idle, "SELECT 1 WHERE false")))
        with place.connect("ann") as other, pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(other, "SELECT pg_cancel_backend(4711)")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1 WHERE pg_cancel_backend(1)",
        "SELECT count(*) FROM pg_stat_activity WHERE pg_terminate_backend(pid)",
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity",
        "SELECT DISTINCT pg_cancel_backend(pid) FROM pg_stat_activity",
        "SELECT * FROM (SELECT pg_cancel_backend(pid) FROM pg_stat_activity) AS t",
        "WITH t AS (SELECT pg_cancel_backend(pid) FROM pg_stat_activity) SELECT 1",
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity UNION SELECT true",
        "SELECT pg_cancel_backend()",
        "SELECT pg_cancel_backend(1, 2)",
    ],
)
def test_the_functions_stand_in_one_place_only(place: Place, sql: str) -> None:
    with place.connect("root") as connection, pytest.raises(psycopg.Error) as caught:
        ask(connection, sql)
    assert caught.value.sqlstate in ("0A000", "42883")
    assert not [event for event in place.events() if event["operation"].startswith("query.c")]


def test_receipts_are_ones_own(place: Place) -> None:
    for user in ("ann", "bob"):
        with place.connect(user) as connection:
            ask(connection, f"SELECT rows_3_of_{user} FROM requests")
            assert ask(connection, "SELECT who, rows FROM fleet.receipts") == [(user, 3)]
            [row] = ask(connection, "SELECT state, path, rows FROM fleet.queries WHERE path = 'cube'")
            assert row == ("done", "cube", 3)
    with place.connect("root") as connection:
        assert ask(connection, "SELECT who FROM fleet.receipts ORDER BY 1") == [("ann",), ("bob",)]


def test_a_describe_ends_nothing(serving: Callable[..., Any], pool: ThreadPoolExecutor, place: Place) -> None:
    gate = threading.Event()
    with serving(lambda: Gated(gate)) as endpoint, endpoint.connect() as wire, endpoint.connect() as other:
        running = pool.submit(wire.query, "SELECT held FROM requests")
        until(lambda: endpoint.server._admission.running == 1)
        other.send("P", b"ending\0SELECT pg_cancel_backend($1::int8)\0" + struct.pack("!hi", 1, 20))
        other.send("D", b"Sending\0")
        other.send("S")
        assert other.result().kinds == "1tTZ"
        assert not running.done()
        other.send(
            "B", b"\0ending\0" + struct.pack("!hhi", 0, 1, 1) + str(wire.process).encode() + struct.pack("!h", 0)
        )
        other.send("E", b"\0" + struct.pack("!i", 0))
        other.send("S")
        assert other.result().rows == [("t",)]
        assert [error["C"] for error in running.result(60).errors] == ["57014"]
