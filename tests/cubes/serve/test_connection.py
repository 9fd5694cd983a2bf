from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

SLOW = "SELECT sum(a.output_tokens * b.output_tokens + c.output_tokens) FROM requests a, requests b, requests c"


def codes(result: Any) -> list[str]:
    return [error["C"] for error in result.errors]


def test_start_tells_settings_and_a_random_key(endpoint: Any) -> None:
    with endpoint.connect(database="anything", application_name="a test") as one, endpoint.connect() as two:
        assert one.told["server_encoding"] == "UTF8"
        assert one.told["application_name"] == "a test"
        assert one.told["TimeZone"] == "UTC"
        assert one.process != two.process
        assert one.key != two.key
        assert len(one.key) == 4


def test_newer_protocols_are_talked_down(endpoint: Any) -> None:
    with endpoint.bare() as wire:
        result = wire.start(version=196610, **{"_pq_.wishes": "1"})
        assert result.kinds.startswith("vR")
        assert result.status == "I"


@pytest.mark.parametrize("code", [80877103, 80877104])
def test_encryption_is_declined_politely(endpoint: Any, code: int) -> None:
    with endpoint.bare() as wire:
        wire.raw.sendall(struct.pack("!ii", 8, code))
        assert wire.raw.recv(1) == b"N"
        assert wire.start().status == "I"


def test_every_result_of_several_statements(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        result = wire.query("SELECT 1; ; SELECT ';' AS x; SELECT count(*) FROM requests -- done;")
        assert result.rows == [("1",), (";",), ("1000",)]
        assert result.tags == ["SELECT 1"] * 3


@pytest.mark.parametrize("text", ["", ";", " -- nothing\n"])
def test_empty_query(endpoint: Any, text: str) -> None:
    with endpoint.connect() as wire:
        assert wire.query(text).kinds == "IZ"


@pytest.mark.parametrize(
    "sql, code",
    [
        ("SELEC 1", "42601"),
        ("SELECT 1 +", "42601"),
        ("SELECT 'open", "42601"),
        ("SELECT * FROM nope", "42P01"),
        ("INSERT INTO requests VALUES (1)", "25006"),
        ("COPY requests TO '/tmp/x'", "0A000"),
        ("COPY requests FROM STDIN", "25006"),
        ("SELECT $1::int", "42P02"),
        ("SELECT 1 FROM pg_class, requests", "0A000"),
        ("SELECT * FROM pg_catalog.pg_nope", "42P01"),
        ("SELECT pg_no_such_function()", "42883"),
        ("SELECT * FROM read_csv('/etc/passwd')", "0A000"),
        ("SELECT count(*) FROM pg_class, read_text('/etc/passwd')", "0A000"),
        ("SHOW no_such_setting", "42704"),
        ("SAVEPOINT s", "25P01"),
        ("EXPLAIN (FORMAT JSON) SELECT 1 FROM requests", "0A000"),
        ("SELECT " + "(" * 5000 + "1" + ")" * 5000, None),
    ],
)
def test_errors_have_their_code_and_leave_the_connection_usable(endpoint: Any, sql: str, code: str | None) -> None:
    with endpoint.connect() as wire:
        if "read_csv" in sql:
            sql = sql.replace("FROM read_csv", "FROM pg_class, read_csv")
        result = wire.query(sql)
        assert len(result.errors) == 1
        assert code is None or codes(result) == [code]
        assert result.errors[0]["S"] == "ERROR"
        assert "Traceback" not in str(result.errors)
        assert wire.query("SELECT 2").rows == [("2",)]


def test_an_error_names_hint_detail_and_position(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        error = wire.query("SELECT 1; SELECT * FROM nope").errors[0]
        assert (error["M"], error["D"], error["H"]) == ("no table 'nope'", "FROM", "Known: requests.")
        assert wire.query("SELECT 1;\nSELECT 2 +").errors[0]["P"] == "20"


def test_an_unforeseen_error_keeps_its_secret(endpoint: Any, caplog: pytest.LogCaptureFixture) -> None:
    with endpoint.connect() as wire:
        error = wire.query("SELECT crash FROM requests").errors[0]
    assert error["C"] == "XX000"
    assert "secret" not in str(error)
    reference = error["M"].rpartition(" ")[2]
    assert reference in caplog.text
    assert "secret inner detail" in caplog.text


def test_transactions(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        assert wire.query("BEGIN").status == "T"
        assert wire.query("SET fleetcube.fresh = on").status == "T"
        assert wire.query("SELEC").status == "E"
        assert codes(wire.query("SELECT 1")) == ["25P02"]
        ended = wire.query("COMMIT")
        assert (ended.tags, ended.status) == (["ROLLBACK"], "I")
        assert wire.query("SHOW fleetcube.fresh").rows == [("off",)]
        assert wire.query("COMMIT").notices[0]["S"] == "WARNING"
        assert wire.query("BEGIN; SAVEPOINT a; SELECT 1; ROLLBACK TO a; RELEASE a; COMMIT").status == "I"


def test_settings(endpoint: Any) -> None:
    with endpoint.connect(TimeZone="Europe/Paris") as wire:
        assert wire.told["TimeZone"] == "UTC"
        assert wire.query("SET application_name TO 'x y'").kinds == "SCZ"
        assert wire.told["application_name"] == "x y"
        assert codes(wire.query("SET TIME ZONE 'Europe/Paris'")) == ["22023"]
        assert codes(wire.query("SET fleetcube.require = 'cubes'")) == ["22023"]
        assert codes(wire.query("SET server_version = '1'")) == ["55P02"]
        hint = wire.query("SET fleetcube.recepit = on").errors[0]["H"]
        assert hint == "Did you mean 'fleetcube.receipt'?"
        assert wire.query("SHOW TRANSACTION ISOLATION LEVEL").rows == [("repeatable read",)]
        assert wire.query("BEGIN; SET LOCAL fleetcube.fresh = on; SHOW fleetcube.fresh; COMMIT").rows == [("on",)]
        assert wire.query("SHOW fleetcube.fresh; RESET ALL; DISCARD ALL").rows == [("off",)]


def test_fresh_reaches_the_session(serving: Callable[..., Any]) -> None:
    with serving() as endpoint, endpoint.connect() as wire:
        wire.query("SELECT count(*) FROM requests; SET fleetcube.fresh = on; SELECT count(*) FROM requests")
        assert endpoint.sessions[0].fresh == [False, True]


def test_push_down_is_told_and_strict_mode_refuses_it(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        told = wire.query("SELECT max(e2e_ms) FROM requests")
        assert [notice["M"] for notice in told.notices] == ["answered from trusted rows: e2e_ms is no measure"]
        assert told.rows == [("124.875",)]
        wire.query("SET fleetcube.require = cube")
        assert codes(wire.query("SELECT max(e2e_ms) FROM requests")) == ["0A000"]
        assert wire.query("SELECT count(*) FROM requests").rows == [("1000",)]
        wire.query("SET fleetcube.require = exact")
        assert codes(wire.query("SELECT 1 AS percentile FROM requests")) == ["0A000"]


def test_receipt_as_a_notice_and_in_the_journal(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        assert wire.query("SELECT count(*) FROM requests").notices == []
        notices = wire.query("SET fleetcube.receipt = on; SELECT 5 FROM requests LIMIT 1").notices
        assert json.loads(notices[-1]["M"])["path"] == "cube"
        rows = wire.query("SELECT path, rows, receipt FROM fleet.receipts WHERE process = pg_backend_pid()").rows
        assert rows == [("cube", "1", '{"outline":"cube"}'), ("cube", "1", '{"path":"cube"}')]


def test_explain_goes_to_the_session(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        result = wire.query("EXPLAIN CUBE SELECT 1 FROM public.requests")
        assert result.tags == ["EXPLAIN"]
        assert result.rows[0][0] == "candidate"


def test_public_schema_is_understood(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        assert wire.query("SELECT count(public.requests.ts) FROM public.requests").rows == [("1000",)]


def cancel(endpoint: Any, process: int, key: bytes) -> None:
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=20) as raw:
        raw.sendall(struct.pack("!iii", 12 + len(key), 80877102, process) + key)
        assert raw.recv(1) == b""


def test_cancel_needs_the_key(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        wire.send("Q", SLOW.encode() + b"\0")
        time.sleep(0.2)
        begun = time.monotonic()
        cancel(endpoint, wire.process, bytes(4))
        cancel(endpoint, wire.process, b"")
        assert select.select([wire.raw], [], [], 0.3)[0] == [], "a wrong key ended the statement"
        cancel(endpoint, wire.process, wire.key)
        result = wire.result()
        assert codes(result) == ["57014"]
        assert "user request" in result.errors[0]["M"]
        assert time.monotonic() - begun < 5
        cancel(endpoint, wire.process, wire.key)
        assert wire.query("SELECT count(*) FROM requests").rows == [("1000",)]


def test_deadline_of_the_server_and_of_the_client(serving: Callable[..., Any]) -> None:
    with serving(statement_s=0.3) as endpoint, endpoint.connect() as wire:
        error = wire.query(SLOW).errors[0]
        assert (error["C"], error["M"]) == ("57014", "canceling statement due to statement timeout")
        begun = time.monotonic()
        assert codes(wire.query("SET statement_timeout = 50; " + SLOW)) == ["57014"]
        assert time.monotonic() - begun < 3


def test_a_client_that_leaves_ends_its_statement(serving: Callable[..., Any]) -> None:
    with serving() as endpoint:
        wire = endpoint.connect()
        wire.send("Q", SLOW.encode() + b"\0")
        time.sleep(0.2)
        wire.raw.close()
        ended = time.monotonic() + 10
        while endpoint.server.clients and time.monotonic() < ended:
            time.sleep(0.02)
        assert endpoint.server.clients == 0


def test_stop_ends_connections_with_a_reason(serving: Callable[..., Any]) -> None:
    with serving() as endpoint:
        idle = endpoint.connect()
    with idle:
        result = idle.result()
        assert codes(result) == ["57P01"]
        assert result.kinds == "E."


def test_eight_clients_at_once(endpoint: Any) -> None:
    answers: list[Any] = []

    def work(number: int) -> None:
        with endpoint.connect() as wire:
            for step in range(10):
                answers.append(wire.query(f"SELECT {number} AS n, {step} AS s, count(*) FROM requests").rows[0])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answers) == sorted((str(n), str(s), "1000") for n in range(8) for s in range(10))


def test_a_large_result_comes_whole(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        result = wire.query("SELECT a.output_tokens FROM requests a, requests b WHERE b.output_tokens < 30")
        assert len(result.rows) == 30_000
        assert sum(int(row[0] or 0) for row in result.rows) == 30 * 499_500
