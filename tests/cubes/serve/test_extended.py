"""The extended protocol, by raw messages and by psycopg 3, which uses it for every query."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pytest


@pytest.fixture
def client(endpoint: Any) -> Iterator[psycopg.Connection[Any]]:
    place = f"host=127.0.0.1 port={endpoint.port} user=me dbname=fleet"
    with psycopg.connect(place, autocommit=True) as connection:
        yield connection


def parse(wire: Any, sql: str, name: str = "") -> None:
    wire.send("P", f"{name}\0{sql}\0".encode() + b"\0\0")


def bind(wire: Any, *values: str | None, results: tuple[int, ...] = ()) -> None:
    body = b"\0\0\0\0" + struct.pack("!h", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value.encode())) + value.encode()
    wire.send("B", body + struct.pack(f"!h{len(results)}h", len(results), *results))


def execute(wire: Any, max_rows: int = 0) -> None:
    wire.send("E", b"\0" + struct.pack("!i", max_rows))


def synced(wire: Any) -> Any:
    wire.send("S")
    return wire.result()


def test_parse_bind_describe_execute(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        parse(wire, "SELECT count(*) AS n FROM requests WHERE model = $1")
        wire.send("D", b"S\0")
        bind(wire, "m1")
        wire.send("D", b"P\0")
        execute(wire)
        result = synced(wire)
        assert result.kinds == "1tT2TDCZ"
        assert (result.columns, result.rows, result.tags) == (["n"], [("285",)], ["SELECT 1"])


def test_pages_of_a_portal(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        parse(wire, "SELECT output_tokens FROM requests ORDER BY 1 LIMIT 5")
        bind(wire)
        for _ in range(3):
            execute(wire, 2)
        result = synced(wire)
        assert result.kinds == "12DDsDDsDCZ"
        assert [row[0] for row in result.rows] == ["0", "1", "2", "3", "4"]


def test_an_error_skips_to_sync(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        parse(wire, "SELECT * FROM nope")
        bind(wire)
        execute(wire)
        bind(wire)
        execute(wire)
        result = synced(wire)
        assert result.kinds == "12EZ"
        assert wire.query("SELECT 1").rows == [("1",)]


@pytest.mark.parametrize(
    "steps, code",
    [
        (lambda wire: bind(wire), "26000"),
        (lambda wire: execute(wire), "34000"),
        (lambda wire: parse(wire, "SELECT 1; SELECT 2"), "42601"),
        (lambda wire: (parse(wire, "SELECT 1", "a"), parse(wire, "SELECT 1", "a")), "42P05"),
        (lambda wire: (parse(wire, "SELECT $1::int"), bind(wire)), "08P01"),
        (lambda wire: (parse(wire, "SELECT $0"), bind(wire)), "42P02"),
        (lambda wire: (parse(wire, "SELECT 1"), bind(wire, results=(2,))), "08P01"),
        (lambda wire: (parse(wire, "SELECT 1"), bind(wire, results=(1, 0)), execute(wire)), "08P01"),
    ],
)
def test_misuse_has_its_code(endpoint: Any, steps: Any, code: str) -> None:
    with endpoint.connect() as wire:
        steps(wire)
        assert [error["C"] for error in synced(wire).errors] == [code]


def test_describing_a_command_does_not_run_it(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        parse(wire, "BEGIN")
        bind(wire)
        wire.send("D", b"P\0")
        result = synced(wire)
        assert (result.kinds, result.status) == ("12nZ", "I")
        parse(wire, "")
        bind(wire)
        execute(wire)
        assert synced(wire).kinds == "12IZ"


VALUES = [
    7,
    -7,
    2**40,
    True,
    1.5,
    Decimal("-0.000000001"),
    Decimal("12345678901234567890.123456789"),
    'it\'s \\ "quoted"; -- $1 é',
    date(2026, 2, 28),
    datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5),
]


@pytest.mark.parametrize("value", VALUES, ids=str)
@pytest.mark.parametrize("form", ["%s", "%t", "%b"])
def test_parameters_come_back_equal(client: psycopg.Connection[Any], value: Any, form: str) -> None:
    if form == "%b" and isinstance(value, str):
        form = "%t"
    row = client.execute(f"SELECT {form} AS back", [value]).fetchone()
    assert row is not None
    back = float(row[0]) if isinstance(value, float) else row[0]
    assert back == value


def test_psycopg_reads_facts(client: psycopg.Connection[Any]) -> None:
    sql = "SELECT model, count(*), max(e2e_ms) FROM requests WHERE ts >= %s AND model = ANY(%s) GROUP BY 1 ORDER BY 1"
    rows = client.execute(sql, [datetime(2026, 1, 1, tzinfo=UTC), ["m0", "m2"]]).fetchall()
    assert rows == [("m0", 286, Decimal("124.875")), ("m2", 286, Decimal("124.75"))]
    empty = client.execute("SELECT count(*) FROM requests WHERE model = ANY(%s)", [list[str]()]).fetchone()
    assert empty == (0,)
    for number in range(8):  # from the sixth on psycopg uses a prepared statement by name
        row = client.execute("SELECT count(*) FROM requests WHERE output_tokens < %s", [number]).fetchone()
        assert row == (number,)


def test_psycopg_sees_errors_and_transactions(client: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable) as caught:
        client.execute("SELECT * FROM nope")
    assert caught.value.diag.message_hint == "Known: requests."
    with client.transaction(), client.transaction():
        assert client.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        client.execute("DROP TABLE requests")


def test_a_parameter_is_never_sql(client: psycopg.Connection[Any]) -> None:
    hostile = "m0' OR true; DROP TABLE requests; --"
    assert client.execute("SELECT count(*) FROM requests WHERE model = %s", [hostile]).fetchone() == (0,)
