"""The wire shape: texts of numbers and times, and what is no record."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.sample import Record, decode_record, encode_record, number_text, time_text
from lake.errors import TransportError

GOOD = {"agent": "a", "boot": "b", "seq": 1, "fact": "samples", "sent_at": "t", "source": "agent", "rows": [{"v": "1"}]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-7, "-7"),
        (2**64, "18446744073709551616"),
        (True, "1"),
        (57 / 100, "0.57"),
        (1.0, "1.0"),
        (1e-07, "0.0000001"),
        (1e22, "10000000000000000000000"),
        (-0.0, "-0.0"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
    ],
)
def test_a_number_as_text(value: float, text: str) -> None:
    assert number_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_number_reads_back(value: float) -> None:
    text = number_text(value)
    assert float(text) == value
    assert "e" not in text
    assert Decimal(text) == Decimal(repr(value))


def test_times_are_utc_in_microseconds() -> None:
    moment = datetime(2026, 1, 2, 5, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    assert time_text(moment) == "2026-01-02T03:04:05.000006Z"
    assert time_text(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000000Z"


@settings(max_examples=30)
@given(st.lists(st.dictionaries(st.text(min_size=1), st.text(), min_size=1, max_size=3), min_size=1, max_size=3))
def test_a_record_comes_back_as_it_went(rows: list[dict[str, str]]) -> None:
    record = Record("agent", "boot", 2**63 - 1, "samples", "now", tuple(rows), source="other")
    line = encode_record(record)
    assert b"\n" not in line
    assert decode_record(line) == record


def test_a_gap_comes_back_as_it_went() -> None:
    gap = Record("agent", "boot", 5, "samples", "now", lost=3, reason="dropped")
    assert decode_record(encode_record(gap)) == gap


def test_a_name_that_is_no_unicode_is_sent_with_marks() -> None:
    row = {"device": "disk\udcff"}  # what Python makes of a name that is not UTF-8
    assert decode_record(encode_record(Record("a", "b", 1, "samples", "t", (row,)))).rows[0] == {"device": "disk?"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"agent": ""}, "Field 'agent' can't be ''."),
        ({"agent": None}, "Field 'agent' is missing."),
        ({"boot": "x" * 201}, "Give a text of 1 to 200 characters."),
        ({"seq": 0}, "Field 'seq' can't be '0'."),
        ({"seq": True}, "Field 'seq' can't be 'True'."),
        ({"seq": 2**63}, "Field 'seq'"),
        ({"seq": "1"}, "Field 'seq' can't be '1'."),
        ({"fact": "No Fact"}, "lower-case name such as 'samples'"),
        ({"rows": []}, "at least one row"),
        ({"rows": [{}]}, "Field 'rows[0]' is no row."),
        ({"rows": [{"v": 1}]}, "Field 'rows[0].v' is int, not a text. Put every value in quotes."),
        ({"lost": 2}, "can't stand beside 'lost'"),
        ({"lost": 2**63 - 1, "seq": 2, "rows": None}, "beyond the last sequence number"),
        ({"lost": 2, "rows": None}, "Field 'reason' is missing."),
        ({"sequence": 1}, "Field 'sequence' is unknown."),
    ],
)
def test_what_is_wrong_with_a_record_is_said(change: dict[str, object], words: str) -> None:
    with pytest.raises(TransportError) as caught:
        decode_record(json.dumps(GOOD | change).encode())
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "Not a JSON line"),
        (b"[]", "a JSON list"),
        (b"\xff", "Not a JSON line"),
        (b"[" * 100_000, "Not a JSON line"),
        (b'{"seq": NaN}', "NaN is no JSON number"),
        (b'{"a": 1, "a": 2}', "a key occurs twice"),
        (b'{"seq": ' + b"9" * 5000 + b"}", "Not a JSON line"),
        (json.dumps(GOOD | {"agent": "\ud800"}).encode(), "half of a surrogate pair"),
    ],
)
def test_a_line_that_is_no_record(line: bytes, words: str) -> None:
    with pytest.raises(TransportError) as caught:
        decode_record(line)
    assert words in str(caught.value)


@given(st.binary(max_size=200) | st.builds(lambda at: json.dumps(GOOD).encode()[:at], st.integers(0, 120)))
def test_any_bytes_are_a_record_or_refused_with_a_reason(line: bytes) -> None:
    todo = "none"
    try:
        decode_record(line)
    except TransportError as error:
        todo = error.todo
    assert todo
