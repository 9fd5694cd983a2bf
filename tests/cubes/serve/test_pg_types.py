from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from cubes.serve.pg_types import fields_of, settle
from cubes.serve.rows import data_rows

# Arrow column, the type that a client is told, the text of each value on the wire, and what psycopg makes of it.
MATRIX: list[tuple[pa.Array, int, list[str | None], list[Any] | None]] = [
    (pa.array([True, False, None]), 16, ["t", "f", None], [True, False, None]),
    (pa.array([-(2**63), 2**63 - 1]), 20, ["-9223372036854775808", "9223372036854775807"], [-(2**63), 2**63 - 1]),
    (pa.array([1, None], pa.int16()), 21, ["1", None], [1, None]),
    (pa.array([4000000000], pa.uint32()), 20, ["4000000000"], [4000000000]),
    (pa.array([2**64 - 1], pa.uint64()), 1700, ["18446744073709551615"], [Decimal(2**64 - 1)]),
    (pa.array([Decimal(7), None], pa.decimal128(38, 0)), 20, ["7", None], [7, None]),
    (pa.array([Decimal(2**70)], pa.decimal128(38, 0)), 1700, [str(2**70)], [Decimal(2**70)]),
    (
        pa.array(
            [Decimal("0.000000001"), Decimal("-1.5"), Decimal(100), Decimal("9" * 29 + ".123456789")],
            pa.decimal128(38, 9),
        ),
        1700,
        ["0.000000001", "-1.5", "100", "9" * 29 + ".123456789"],
        None,
    ),
    (pa.array([0.1, 1e300, float("inf"), -float("inf")]), 701, ["0.1", "1e+300", "Infinity", "-Infinity"], None),
    (pa.array(["", "é\n'\"\\", "NULL", None]), 25, ["", "é\n'\"\\", "NULL", None], ["", "é\n'\"\\", "NULL", None]),
    (pa.array(["a", "b"]).dictionary_encode(), 25, ["a", "b"], ["a", "b"]),
    (pa.array([None, None], pa.null()), 25, [None, None], [None, None]),
    (pa.array([date(2026, 2, 28)]), 1082, ["2026-02-28"], [date(2026, 2, 28)]),
    (pa.array([time(1, 2, 3, 500000)]), 1083, ["01:02:03.5"], [time(1, 2, 3, 500000)]),
    (
        pa.array([datetime(2026, 1, 2, 3, 4, 5, 120000), None], pa.timestamp("us", "Europe/Paris")),
        1184,
        ["2026-01-02 03:04:05.12+00", None],
        [datetime(2026, 1, 2, 3, 4, 5, 120000, tzinfo=UTC), None],
    ),
    (pa.array([datetime(2026, 1, 2)], pa.timestamp("us")), 1114, ["2026-01-02 00:00:00"], [datetime(2026, 1, 2)]),
    (pa.array([timedelta(days=-1, seconds=1)]), 1186, ["-1 days 00:00:01"], [timedelta(days=-1, seconds=1)]),
    (pa.array([[1, None, 3], [], None]), 1016, ["{1,NULL,3}", "{}", None], [[1, None, 3], [], None]),
    (
        pa.array([["a b", "", "null", None, 'q"\\', "é,{}"]]),
        1009,
        ['{"a b","","null",NULL,"q\\"\\\\","é,{}"}'],
        [["a b", "", "null", None, 'q"\\', "é,{}"]],
    ),
    (pa.array([b"\x00\xff"]), 17, ["\\x00ff"], [b"\x00\xff"]),
    (pa.array([{"a": 1, "b": None}]), 114, ['{"a":1,"b":null}'], [{"a": 1, "b": None}]),
]


@pytest.fixture
def client(serving: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[psycopg.Connection[Any], list[pa.Table]]]:
    """A psycopg client of an endpoint whose every answer is the table that the test put into the list."""
    with serving() as endpoint:
        tables: list[pa.Table] = []
        place = f"host=127.0.0.1 port={endpoint.port} user=me dbname=fleet"
        with psycopg.connect(place, autocommit=True) as connection:
            connection.execute("SELECT count(*) FROM requests")
            session = endpoint.sessions[0]
            monkeypatch.setattr(session.duck, "table", lambda sql: tables[-1], raising=True)
            yield connection, tables


def cells(message: bytes, rows: int) -> list[str | None]:
    """The single cell of each DataRow."""
    found: list[str | None] = []
    at = 0
    for _ in range(rows):
        size = int.from_bytes(message[at + 7 : at + 11], "big", signed=True)
        found.append(None if size < 0 else message[at + 11 : at + 11 + size].decode())
        at += 11 + max(size, 0)
    assert at == len(message)
    return found


@pytest.mark.parametrize(
    "column, oid, texts, back", MATRIX, ids=lambda value: str(value.type) if isinstance(value, pa.Array) else ""
)
def test_types_on_the_wire(column: pa.Array, oid: int, texts: list[str | None], back: list[Any] | None) -> None:
    table = settle(pa.table({"x": column}))
    assert [field.oid for field in fields_of(table.schema)] == [oid]
    assert cells(data_rows(table), len(texts)) == texts
    # A slice, and a column of several chunks, must say the same.
    assert cells(data_rows(table.slice(1)), len(texts) - 1) == texts[1:]
    twice = pa.table({"x": pa.chunked_array([table["x"].combine_chunks(), table["x"].combine_chunks()])})
    assert cells(data_rows(twice), 2 * len(texts)) == texts * 2


def test_psycopg_reads_every_type(client: tuple[psycopg.Connection[Any], list[pa.Table]]) -> None:
    connection, tables = client
    for column, _, texts, back in MATRIX:
        tables.append(pa.table({"x": column}))
        got = [row[0] for row in connection.execute("SELECT x FROM requests").fetchall()]
        wanted = (
            back
            if back is not None
            else [type(value)(text) for value, text in zip(column.to_pylist(), texts, strict=True)]
        )
        assert got == wanted, column.type


def test_many_columns_and_rows_stay_in_step() -> None:
    table = pa.table({f"c{n}": [None if (n + r) % 3 == 0 else f"{'x' * n}{r}" for r in range(50)] for n in range(20)})
    message = data_rows(table)
    at = 0
    for row in table.to_pylist():
        size = int.from_bytes(message[at + 1 : at + 5], "big")
        body = message[at + 7 : at + 1 + size]
        wanted = b"".join(
            b"\xff\xff\xff\xff" if v is None else len(v).to_bytes(4, "big") + v.encode() for v in row.values()
        )
        assert (message[at : at + 1], body) == (b"D", wanted)
        at += size + 1
    assert at == len(message)
