"""Quotas of the access file, enforced over the wire: rows, seconds of a statement, and how many run at once."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from gated import Gated, until

from lake.settings import Settings
from lake.users import Users

PASSWORD = "correct horse battery"
ACCESS = """
roles:
  reader: {facts: [requests], rows: {requests: all}, system: [queries]}
  few: {quotas: {rows: 5}}
users:
  ann: {roles: [reader, few]}
  bob: {roles: [reader], tenant: small}
  sue: {roles: [reader], quotas: {statement_s: 1}}
  one: {roles: [reader], quotas: {running: 1}}
  tim: {roles: [reader], tenant: pair}
  tom: {roles: [reader], tenant: pair}
tenants:
  small: {rows: 25, statement_s: 30}
  pair: {running: 1}
"""


class Place:
    """An endpoint with those users; `gate` lets held statements go."""

    def __init__(self, port: int, server: Any, gate: threading.Event) -> None:
        self.port, self.server, self.gate = port, server, gate

    def connect(self, user: str) -> psycopg.Connection[Any]:
        given = {"host": "127.0.0.1", "port": self.port, "password": PASSWORD, "dbname": "fleet"}
        return psycopg.connect(autocommit=True, connect_timeout=60, user=user, **given)

    def ask(self, user: str, sql: str) -> list[tuple[Any, ...]]:
        with self.connect(user) as connection:
            return connection.execute(sql).fetchall()  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def place(serving: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    lake = tmp_path_factory.mktemp("quotas")
    settings = Settings(lake=lake)
    for name in ("ann", "bob", "sue", "one", "tim", "tom"):
        Users(settings.users_file).add(name, PASSWORD)
    settings.access_file.write_text(ACCESS)
    gate = threading.Event()
    with serving(lambda: Gated(gate), {"lake": lake}) as endpoint:
        yield Place(endpoint.port, endpoint.server, gate)


@pytest.mark.parametrize("form", ["{}", "COPY ({}) TO STDOUT"])
def test_an_answer_of_more_rows_is_refused_and_never_cut(place: Place, form: str) -> None:
    def rows(user: str, sql: str) -> int:
        with place.connect(user) as connection:
            if form == "{}":
                return len(connection.execute(sql).fetchall())  # type: ignore[call-overload]
            with connection.cursor().copy(form.format(sql)) as copy:  # type: ignore[arg-type]
                return sum(1 for _ in copy.rows())

    assert rows("ann", "SELECT rows_5 FROM requests") == 5
    # A large answer goes out by pages of ten rows: the third is one too many for bob.
    assert rows("bob", "SELECT paged_2 FROM requests") == 20
    for user, sql in (("ann", "rows_6"), ("bob", "rows_26"), ("bob", "paged_3"), ("ann", "paged_2")):
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="rows of your quota"):
            rows(user, f"SELECT {sql} FROM requests")
    assert rows("bob", "SELECT rows_25 FROM requests") == 25
    assert (place.server._admission.running, place.server._sessions._lent) == (0, 0)


def test_the_catalogue_is_not_counted(place: Place) -> None:
    assert len(place.ask("ann", "SELECT * FROM pg_type")) > 5


def test_a_statement_ends_when_its_time_is_over(place: Place) -> None:
    for sql in ("SELECT held FROM requests", "SELECT held, paged_3 FROM requests"):
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            place.ask("sue", sql)


def test_time_in_line_counts(place: Place) -> None:
    """sue's second passes while all places are taken: she is let go from the line."""
    held = [(user, "SELECT held FROM requests") for user in ("ann", "ann", "bob", "bob")]
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(place.ask, *one) for one in held]
        try:
            until(lambda: place.server._admission.running == 4)
            with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
                place.ask("sue", "SELECT rows_1 FROM requests")
            assert place.server._admission.waiting == 0
        finally:
            place.gate.set()
        assert [one.result(60) for one in running] == [[(0,)]] * 4
    place.gate.clear()


@pytest.mark.parametrize("users", [("one", "one"), ("tim", "tom")])
def test_of_a_user_or_tenant_only_so_many_run(place: Place, users: tuple[str, str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        try:
            running = [pool.submit(place.ask, user, "SELECT held FROM requests") for user in users]
            until(lambda: place.server._admission.waiting == 1)
            assert place.server._admission.running == 1
            # Others are not held back by that.
            assert place.ask("ann", "SELECT rows_2 FROM requests") == [(0,), (1,)]
        finally:
            place.gate.set()
        assert [one.result(60) for one in running] == [[(0,)]] * 2
    place.gate.clear()


def test_an_open_answer_counts_and_never_blocks_its_own_connection(serving: Callable[..., Any]) -> None:
    with serving(lambda: Gated(threading.Event()), {"serve_running": 1}) as endpoint, endpoint.connect() as wire:
        wire.query("BEGIN")
        wire.send("P", b"\0SELECT paged_3 FROM requests\0\0\0")
        wire.send("B", b"\0\0" + struct.pack("!hhh", 0, 0, 0))
        wire.send("E", b"\0" + struct.pack("!i", 5))
        wire.send("S")
        assert len(wire.result().rows) == 5
        refused = wire.query("SELECT rows_1 FROM requests")
        assert [error["C"] for error in refused.errors] == ["53400"]
        assert "open answers" in refused.errors[0]["M"]
        wire.query("ROLLBACK")
        assert wire.query("SELECT rows_1 FROM requests").rows == [("0",)]
