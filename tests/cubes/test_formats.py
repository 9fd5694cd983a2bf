from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from cubes.formats import render
from lake.errors import QueryError

MOMENT = datetime(2026, 10, 5, 6, 15, 0, 250000, tzinfo=UTC)


def answer() -> pa.Table:
    return pa.table(
        {
            "model": ["a", "", "NULL", None],
            "mean": pa.array(
                [Decimal("0.000000001"), Decimal("-12.5"), None, Decimal("12345678.25")], pa.decimal128(38, 9)
            ),
            "n": [1, 20, 300, 4000],
            "ts": pa.array([MOMENT, MOMENT.replace(microsecond=0), None, MOMENT], pa.timestamp("us", "UTC")),
        }
    )


def test_table_aligns_numbers_and_keeps_null_apart() -> None:
    assert render(answer(), "table").decode() == (
        "model                 mean     n  ts\n"
        "------  ------------------  ----  -------------------------\n"
        "a              0.000000001     1  2026-10-05 06:15:00.25+00\n"
        '""           -12.5            20  2026-10-05 06:15:00+00\n'
        '"NULL"                NULL   300  NULL\n'
        "NULL    12345678.25         4000  2026-10-05 06:15:00.25+00\n"
        "(4 rows)\n"
    )


def test_table_shows_units_and_odd_texts() -> None:
    field = pa.field("e2e", pa.string(), metadata={"unit": "ms"})
    texts = pa.table([pa.array(["a\tb", " x", '"q"', "日本"])], schema=pa.schema([field]))
    assert render(texts, "table").decode().splitlines()[:1] == ["e2e [ms]"]
    assert render(texts, "table").decode().splitlines()[2:6] == ['"a\\tb"', '" x"', '"\\"q\\""', "日本"]
    assert render(texts.slice(0, 0), "table").decode() == "e2e [ms]\n--------\n(0 rows)\n"
    assert render(texts.slice(0, 1), "table").decode().endswith("(1 row)\n")


def test_json_is_exact() -> None:
    rows = json.loads(render(answer(), "json"), parse_float=Decimal)
    assert rows[0] == {"model": "a", "mean": Decimal("1E-9"), "n": 1, "ts": "2026-10-05T06:15:00.25Z"}
    assert rows[3] == {"model": None, "mean": Decimal("12345678.25"), "n": 4000, "ts": "2026-10-05T06:15:00.25Z"}
    assert render(answer().slice(0, 0), "json") == b"[]\n"


@pytest.mark.parametrize(
    "values, kind, written",
    [
        ([1, 2**53], pa.int64(), [1, 2**53]),
        ([1, 2**53 + 1], pa.int64(), ["1", "9007199254740993"]),
        ([Decimal("0.1")], pa.decimal128(38, 9), [0.1]),
        ([Decimal("12345678901.123456789")], pa.decimal128(38, 9), ["12345678901.123456789"]),
        ([0.1, float("nan")], pa.float64(), ["0.1", "NaN"]),
        ([float("-inf")], pa.float64(), ["-Infinity"]),
        ([True, None], pa.bool_(), [True, None]),
        ([[1, 2], None], pa.list_(pa.int64()), [[1, 2], None]),
        ([[("k", Decimal("1.5"))]], pa.map_(pa.string(), pa.decimal128(9, 2)), [{"k": 1.5}]),
    ],
)
def test_json_numbers_survive_a_reader_of_doubles_or_are_texts(
    values: list[object], kind: pa.DataType, written: list[object]
) -> None:
    rows = json.loads(render(pa.table({"x": pa.array(values, kind)}), "json"))
    assert [row["x"] for row in rows] == written


def test_json_keys_do_not_collide() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["sum", "sum", "sum_2"])
    assert json.loads(render(table, "json")) == [{"sum": 1, "sum_3": 2, "sum_2": 3}]


def test_csv_follows_rfc_4180() -> None:
    table = pa.table(
        {"a,b": ["x", 'say "hi"', "two\r\nlines", "", None], "n": [Decimal("1.50"), None, None, None, None]}
    )
    text = render(table, "csv").decode()
    assert text == '"a,b",n\r\nx,1.5\r\n"say ""hi""",\r\n"two\r\nlines",\r\n"",\r\n,\r\n'
    back = list(csv.reader(io.StringIO(text, newline="")))
    assert back[1:4] == [["x", "1.5"], ['say "hi"', ""], ["two\r\nlines", ""]]


def test_arrow_keeps_types_and_values() -> None:
    assert pa.ipc.open_stream(render(answer(), "arrow")).read_all().equals(answer())


def test_an_unknown_format_is_refused_with_the_nearest() -> None:
    with pytest.raises(QueryError) as caught:
        render(answer(), "jsn")
    assert "Did you mean 'json'?" in str(caught.value)
