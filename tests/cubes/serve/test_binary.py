"""Values in binary, compared with their text by a reader of its own, and COPY, which psycopg and csv read back."""

from __future__ import annotations

import csv
import io
import struct
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cubes.serve import parameters
from cubes.serve.copy_out import CopyOptions, read_copy
from cubes.serve.pg_types import conform, fields_of, settle
from cubes.serve.rows import copy_head, copy_rows, data_rows
from cubes.serve.statements import split
from lake.errors import QueryError

EPOCH = datetime(2000, 1, 1)


def read_numeric(data: bytes) -> Decimal:
    """As PostgreSQL documents it: groups of four digits, the first one times 10000 to the weight."""
    count, weight, sign, scale = struct.unpack_from("!hhHh", data)
    groups = struct.unpack_from(f"!{count}h", data, 8)
    assert len(data) == 8 + 2 * count
    assert all(0 <= group < 10_000 for group in groups)
    assert not groups or (groups[0] and groups[-1])
    digits = "".join(f"{group:04d}" for group in groups)
    value = int(digits or "0")
    exponent = 4 * (weight - count + 1)
    text = f"{value * 10**exponent}" if exponent >= 0 else f"{value:0{-exponent + 1}d}"
    if exponent < 0:
        text = f"{text[:exponent]}.{text[exponent:]}"
    found = Decimal(text)
    assert max(0, -found.as_tuple().exponent if found else 0) >= 0  # type: ignore[operator]
    shown = f"{found:.{scale}f}"
    assert Decimal(shown) == found
    return -found if sign == 0x4000 else found


READERS: dict[int, Any] = {
    16: lambda data: {b"\0": False, b"\1": True}[data],
    17: bytes,
    20: lambda data: struct.unpack("!q", data)[0],
    21: lambda data: struct.unpack("!h", data)[0],
    23: lambda data: struct.unpack("!i", data)[0],
    25: bytes.decode,
    700: lambda data: struct.unpack("!f", data)[0],
    701: lambda data: struct.unpack("!d", data)[0],
    1082: lambda data: date(2000, 1, 1) + timedelta(days=struct.unpack("!i", data)[0]),
    1083: lambda data: (EPOCH + timedelta(microseconds=struct.unpack("!q", data)[0])).time(),
    1114: lambda data: EPOCH + timedelta(microseconds=struct.unpack("!q", data)[0]),
    1184: lambda data: (EPOCH + timedelta(microseconds=struct.unpack("!q", data)[0])).replace(tzinfo=UTC),
    1700: read_numeric,
}


def cells(message: bytes) -> list[bytes | None]:
    """The single cell of each row."""
    found: list[bytes | None] = []
    at = 0
    while at < len(message):
        size, columns, length = struct.unpack_from("!ihi", message, at + 1)
        assert (message[at : at + 1], columns, size) == (b"D", 1, 10 + max(length, 0))
        found.append(None if length < 0 else message[at + 11 : at + 11 + length])
        at += size + 1
    return found


MOMENTS = st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1))
KINDS: dict[str, tuple[pa.DataType, Any]] = {
    "bool": (pa.bool_(), st.booleans()),
    "int16": (pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "int32": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "uint64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "double": (pa.float64(), st.floats(allow_nan=False)),
    "float": (pa.float32(), st.floats(allow_nan=False, width=32)),
    "text": (pa.string(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
    "bytes": (pa.binary(), st.binary()),
    "date": (pa.date32(), st.dates(date(1, 1, 1), date(9999, 12, 31))),
    "time": (pa.time64("us"), st.times()),
    "timestamp": (pa.timestamp("us"), MOMENTS),
    "timestamptz": (pa.timestamp("us", "UTC"), MOMENTS.map(lambda one: one.replace(tzinfo=UTC))),
    "whole": (pa.decimal128(38, 0), st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal)),
    "wide": (pa.decimal128(38, 9), st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(f"{n}e-9"))),
    **{
        f"places{scale}": (
            pa.decimal128(18, scale),
            st.integers(-(10**18) + 1, 10**18 - 1).map(lambda n, s=scale: Decimal(n).scaleb(-s)),
        )
        for scale in (0, 1, 2, 3, 4, 5, 6, 9, 12, 18)
    },
}


@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_binary_says_what_was_meant(name: str, data: st.DataObject) -> None:
    kind, values = KINDS[name]
    wanted = data.draw(st.lists(st.none() | values, max_size=12))
    import decimal

    with decimal.localcontext() as context:
        context.prec = 60
        column = pa.array(wanted, kind)
        start = data.draw(st.integers(0, len(wanted)))
        table = settle(pa.table({"x": column}).slice(start))
        (field,) = fields_of(table.schema)
        read = READERS[field.oid]
        found = [None if cell is None else read(cell) for cell in cells(data_rows(table, (1,)))]
        assert found == wanted[start:]


@given(st.integers(-(10**17), 10**17), st.integers(0, 9))
def test_parameters_and_results_have_one_form(number: int, scale: int) -> None:
    value = Decimal(number).scaleb(-scale)
    (cell,) = cells(data_rows(pa.table({"x": pa.array([value], pa.decimal128(38, 9))}), (1,)))
    assert cell is not None
    assert Decimal(parameters._numeric(cell)) == value


@given(st.lists(st.none() | st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=4), max_size=5))
def test_arrays(wanted: list[list[int | None] | None]) -> None:
    found = []
    for cell in cells(data_rows(pa.table({"x": pa.array(wanted, pa.list_(pa.int64()))}), (1,))):
        if cell is None:
            found.append(None)
            continue
        dimensions, _, oid = struct.unpack_from("!iii", cell)
        assert oid == 20
        items = parameters._binary_items(cell) if dimensions else []
        found.append([None if item is None else struct.unpack("!q", item)[0] for item in items])
    assert found == wanted


def test_a_described_type_is_kept_or_refused() -> None:
    told = fields_of(pa.schema([("n", pa.int64())]))
    small = pa.table({"n": pa.array([Decimal(7), None], pa.decimal128(38, 0))})
    assert conform(small, told).column("n").to_pylist() == [7, None]
    large = pa.table({"n": pa.array([Decimal(2**70)], pa.decimal128(38, 0))})
    with pytest.raises(QueryError) as caught:
        conform(large, told)
    assert caught.value.code == "22003"
    with pytest.raises(QueryError, match="columns of the prepared statement"):
        conform(small, [*told, *told])


def test_every_type_over_the_wire(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """psycopg reads the same values from both forms."""
    columns = {
        "i": pa.array([1, None, -3], pa.int32()),
        "n": pa.array([Decimal("1.5"), None, Decimal("-0.000000001")], pa.decimal128(38, 9)),
        "span": pa.array([timedelta(days=-1, seconds=5), None, timedelta(microseconds=1)]),
        "list": pa.array([["a", None], [], None], pa.list_(pa.string())),
        "json": pa.array([{"a": 1}, None, {"a": 2}]),
        "t": pa.array([time(1, 2, 3), None, time(0, 0)]),
        "all": pa.nulls(3),
    }
    place = f"host=127.0.0.1 port={endpoint.port} user=me dbname=fleet"
    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute("SELECT count(*) FROM requests")
        for session in endpoint.sessions:
            monkeypatch.setattr(session.duck, "table", lambda sql: pa.table(columns))
        forms = []
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                forms.append(cursor.execute("SELECT x FROM requests").fetchall())
    assert forms[0] == forms[1]
    assert forms[0][0][2] == timedelta(days=-1, seconds=5)


TEXTS = st.text(st.sampled_from("ab\\\t\n\r\b\f\v,\"'.;|é N"), max_size=6)


@given(st.lists(st.tuples(st.none() | TEXTS, st.none() | TEXTS), min_size=1, max_size=8))
def test_copy_reads_back(rows: list[tuple[str | None, str | None]]) -> None:
    table = pa.table(
        {"a": pa.array([r[0] for r in rows], pa.string()), "b": pa.array([r[1] for r in rows], pa.string())}
    )
    plain = lines(copy_rows(table, CopyOptions()))
    assert [tuple(map(untext, line.removesuffix("\n").split("\t"))) for line in plain] == rows
    options = CopyOptions("csv", ",", "\\N", True)
    head, *listed = csv.reader(
        io.StringIO("".join(lines(copy_head(["a", "b"], options) + copy_rows(table, options))), newline="")
    )
    assert head == ["a", "b"]
    # csv can't tell a quoted text from a bare one, so NULL and its quoted twin read alike.
    assert [tuple(cell for cell in row) for row in listed] == [
        tuple("\\N" if c is None else c for c in r) for r in rows
    ]


def untext(cell: str) -> str | None:
    """A cell of COPY's text form, by its rules."""
    if cell == "\\N":
        return None
    escapes = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "v": "\v", "\\": "\\"}
    found, at = "", 0
    while at < len(cell):
        if cell[at] == "\\":
            found, at = found + escapes[cell[at + 1]], at + 2
        else:
            found, at = found + cell[at], at + 1
    return found


def lines(data: bytes) -> list[str]:
    """The bodies of CopyData messages."""
    found, at = [], 0
    while at < len(data):
        size = struct.unpack_from("!i", data, at + 1)[0]
        assert data[at : at + 1] == b"d"
        found.append(data[at + 5 : at + 1 + size].decode())
        at += size + 1
    return found


@pytest.mark.parametrize(
    "sql, query, options",
    [
        ("COPY requests TO STDOUT", 'SELECT * FROM "requests"', CopyOptions()),
        ("copy public.requests (ts, Model) to stdout", 'SELECT "ts", "model" FROM "public"."requests"', CopyOptions()),
        (
            "COPY (SELECT ')' AS x FROM t) TO STDOUT WITH CSV HEADER",
            "SELECT ')' AS x FROM t",
            CopyOptions("csv", ",", "", True),
        ),
        (
            "COPY (SELECT 1) TO STDOUT (FORMAT csv, HEADER false, DELIMITER ';', NULL 'nil')",
            "SELECT 1",
            CopyOptions("csv", ";", "nil", False),
        ),
        ("COPY (SELECT 1) TO STDOUT WITH (FORMAT binary)", "SELECT 1", CopyOptions("binary")),
        ("COPY (SELECT 1) TO STDOUT DELIMITER AS '|' NULL AS ''", "SELECT 1", CopyOptions("text", "|", "", False)),
    ],
)
def test_copy_is_understood(sql: str, query: str, options: CopyOptions) -> None:
    copy = read_copy(split(sql)[0])
    assert (copy.query.text, copy.options) == (query, options)


@pytest.mark.parametrize(
    "sql, code",
    [
        ("COPY requests FROM STDIN", "25006"),
        ("COPY requests (ts) FROM '/etc/passwd'", "25006"),
        ("COPY requests TO '/tmp/x'", "0A000"),
        ("COPY requests TO PROGRAM 'sh'", "0A000"),
        ("COPY (SELECT 1) TO STDOUT (FORMAT parquet)", "22023"),
        ("COPY (SELECT 1) TO STDOUT (FORCE_QUOTE *)", "0A000"),
        ("COPY (SELECT 1) TO STDOUT (DELIMITER 'ab')", "22023"),
        ("COPY (SELECT 1) TO STDOUT (FORMAT binary, HEADER)", "42601"),
        ("COPY (SELECT 1", "42601"),
        ("COPY (DROP TABLE requests) TO STDOUT", "42601"),
        ("COPY (SELECT 1; SELECT 2) TO STDOUT", "42601"),
        ("COPY TO STDOUT", "42601"),
        ("COPY read_csv('/etc/passwd', auto_detect = true) TO STDOUT", "42601"),
    ],
)
def test_copy_is_refused(endpoint: Any, sql: str, code: str) -> None:
    with endpoint.connect() as wire:
        assert [error["C"] for error in wire.query(sql).errors][:1] == [code]
        assert wire.query("SELECT 1").rows == [("1",)]
