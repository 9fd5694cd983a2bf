"""Attacks by a user who has logged in: over the wire they end as they do in a session, and users never mix."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from hostilelake import FILES, Place, attacks, make_place
from psycopg import pq

from lake.audit_check import verify
from lake.audit_keep import events
from lake.users import Users

_MOST = 20_000
# What may never give an answer, whichever engine a statement goes to.
_NEVER = re.compile(
    r"getvariable|write_log|getenv|read_|sleep|dblink|lo_|ls_dir|series|range|scan|glob|user_hash|duckdb_"
)
_PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = make_place(tmp_path_factory.mktemp("endpoint"))
    made.settings.users_file.unlink()
    for name in ("ada", "bob", "eve"):
        Users(made.settings.users_file).add(name, _PASSWORD)
    made.settings.access_file.write_text(made.access.read_text())
    return made


@pytest.fixture(scope="module")
def port(place: Place) -> Iterator[int]:
    """A server process: the client's library keeps the interpreter to itself while it waits."""
    command = [sys.executable, "-m", "fleetcube", "serve", "--lake", str(place.settings.lake), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = ""
        while (found := re.search(r"SQL on [^:]+:([0-9]+)", line)) is None:
            line = server.stderr.readline()
            assert line, "the server ended"
        yield int(found[1])
        server.terminate()
        server.communicate(timeout=30)


def _connect(port: int, user: str) -> psycopg.Connection[tuple[object, ...]]:
    where = f"host=127.0.0.1 port={port} dbname=fleet user={user} password='{_PASSWORD}' connect_timeout=20"
    return psycopg.connect(where, autocommit=True)


def _drain(connection: psycopg.Connection[tuple[object, ...]], sql: str) -> tuple[str, list[str]]:
    """By the simple protocol: the first error's SQLSTATE (or ""), and values that came; a flood is cancelled."""
    raw, code, values = connection.pgconn, "", list[str]()
    raw.send_query(sql.encode())
    raw.set_single_row_mode()
    while (result := raw.get_result()) is not None:
        if result.status == pq.ExecStatus.COPY_OUT:
            while (piece := raw.get_copy_data(0))[0] > 0:
                values.append(bytes(piece[1]).decode())
            continue
        code = code or (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        values += [(result.get_value(0, column) or b"").decode() for column in range(result.nfields) if result.ntuples]
        if len(values) > _MOST:
            connection.cancel_safe(timeout=20)
    return code, values


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_attacks_over_the_wire(place: Place, port: int, path: object) -> None:
    with _connect(port, "ada") as connection:
        for attack in attacks(path):  # type: ignore[arg-type]
            sql = place.written(attack)
            code, values = _drain(connection, sql)
            assert not code.startswith("XX") or attack.outcome == "either", (sql, code)
            assert code or attack.outcome in ("equal", "either") or not _NEVER.search(sql), sql
            assert "kanarie" not in "".join(values), sql
            if connection.pgconn.transaction_status != pq.TransactionStatus.IDLE:
                _drain(connection, "ROLLBACK")
        assert _drain(connection, "SELECT min(tenant), max(tenant) FROM requests") == ("", ["a", "a"])
    assert not place.target.exists()


def test_users_side_by_side_never_see_each_others_rows(port: int) -> None:
    def ask(user: str) -> set[tuple[str, ...]]:
        with _connect(port, user) as connection:
            sql = "SELECT min(tenant), max(tenant) FROM requests"
            return {tuple(_drain(connection, sql)[1]) for _ in range(25)}

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, ["ada", "bob", "ada", "bob"]))
    assert found == [{("a", "a")}, {("b", "b")}, {("a", "a")}, {("b", "b")}]


def test_a_user_without_a_role_reads_nothing(port: int) -> None:
    with _connect(port, "eve") as connection:
        assert _drain(connection, "SELECT count(*) FROM requests")[0] == "42P01"
        assert _drain(connection, "SELECT count(*) FROM fleet.receipts")[0] != ""
        assert _drain(connection, "SELECT 1") == ("", ["1"])


def test_what_users_did_is_on_record(place: Place, port: int) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"host=127.0.0.1 port={port} dbname=fleet user=ada password='not the password'")
    with _connect(port, "ada") as connection:
        _drain(connection, "SELECT count(*) FROM requests")
    told = list(events(place.settings.lake))
    assert {"login", "login.failed"} <= {event["operation"] for event in told}
    assert verify(place.settings.lake).holds
