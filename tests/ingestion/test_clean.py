"""Clean: texts to typed rows, each wrong text told by name; the expectations are written out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from landed import landing_table

from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.duck import Duck
from lake.facts import load_facts

TS = "2026-11-10T11:00:00Z"


def cleaned(duck: Duck, rows: Sequence[Mapping[str, Any]], fact: str = "samples") -> list[dict[str, Any]]:
    """The cleaned rows by column, in order of seq."""
    duck.register("landed", landing_table(fact, rows))
    sql = clean(duck, load_facts()[fact], "landed", catalogue=load_catalogue())
    return duck.table(f"SELECT * FROM ({sql}) ORDER BY seq, idx").to_pylist()


def sample(**texts: Any) -> dict[str, Any]:
    return {"ts": TS, "metric": "gpu.temperature", "value": "1", **texts}


def reading(**told: Any) -> str:
    return json.dumps(told)


TIMES = [
    ("2026-11-10T11:00:00Z", {}, "2026-11-10T11:00:00", False),
    ("2026-11-10 11:00:00.5+02:00", {}, "2026-11-10T09:00:00.5", False),
    ("2026-11-10 11:00:00,25-0530", {}, "2026-11-10T16:30:00.25", False),
    ("2026-11-10 11:00:00 UTC", {}, "2026-11-10T11:00:00", False),
    ("2026-11-10T11:00:00.1234567Z", {}, "2026-11-10T11:00:00.123456", True),
    ("2026-11-10T11:00:00.1234560Z", {}, "2026-11-10T11:00:00.123456", False),
    ("2026-11-10T11:00:00", {"zone": "Asia/Shanghai"}, "2026-11-10T03:00:00", False),
    ("1762772400", {"format": "epoch_s"}, "2025-11-10T11:00:00", False),
    ("1762772400.9999999", {"format": "epoch_s"}, "2025-11-10T11:00:00.999999", True),
    ("1762772400123.4567", {"format": "epoch_ms"}, "2025-11-10T11:00:00.123456", True),
    ("10/11/2026 11:00:00", {"format": "%d/%m/%Y %H:%M:%S", "zone": "Europe/Oslo"}, "2026-11-10T10:00:00", False),
    ("10/11/2026 11:00:00.1234569 +0100", {"format": "%d/%m/%Y %H:%M:%S.%f %z"}, "2026-11-10T10:00:00.123456", True),
    ("2026-02-30T00:00:00Z", {}, None, False),
    ("2026-11-10", {}, None, False),
    ("1762772400", {}, None, False),
    ("-5", {"format": "epoch_s"}, None, False),
    ("1e9", {"format": "epoch_s"}, None, False),
    ("11:00", {"format": "%Q"}, None, False),
]


def test_times_are_read_by_their_reading_and_finer_digits_are_floored(duck: Duck) -> None:
    rows = cleaned(duck, [sample(ts=text, reading=reading(ts=told)) for text, told, _, _ in TIMES])
    for row, (text, _, want, truncated) in zip(rows, TIMES, strict=True):
        moment = None if want is None else datetime.fromisoformat(want).replace(tzinfo=UTC)
        assert (row["ts"], row["_problem"]) == (moment, None if want else "bad_time"), text
        assert row["_truncated_ts"] == truncated, text


UNITS = [
    ("gpu.utilization", "%", "55.5", "0.555000000", None),
    ("gpu.utilization", "percent", "5e1", "0.500000000", None),
    ("gpu.utilization", None, "0.5", "0.500000000", None),
    ("gpu.utilization", "By", "0.5", None, "unit_mismatch"),
    ("service.inference.duration", "ms", "12.3456789012", "0.012345679", None),
    ("service.inference.duration", "min", "2", "120.000000000", None),
    ("gpu.memory.usage", "GiB", "80", "85899345920.000000000", None),
    ("no.such.metric", "ms", "7", "7.000000000", None),
]


def test_numbers_come_in_the_metrics_unit(duck: Duck) -> None:
    rows = cleaned(duck, [sample(metric=metric, unit=unit, value=text) for metric, unit, text, _, _ in UNITS])
    for row, (metric, unit, _, value, problem) in zip(rows, UNITS, strict=True):
        assert (row["value"] if value is None else str(row["value"]), row["_problem"]) == (value, problem), metric
        assert row["unit"] == unit
    assert [row["_converted_unit"] for row in rows] == [True, True, False, False, True, True, True, False]
    assert [row["_rounded"] for row in rows] == [0, 0, 0, 0, 1, 0, 0, 0]


def test_a_reading_may_give_the_unit_for_every_row(duck: Duck) -> None:
    told = reading(value={"unit": "%"})
    rows = cleaned(duck, [sample(metric="gpu.utilization", value="25", reading=told), sample(value="25")])
    assert [row["value"] for row in rows] == [Decimal("0.25"), Decimal(25)]
    told = reading(e2e_ms={"unit": "s"}, ttft_ms={"unit": "furlong"}, status={"values": {"SUCCEED": "ok"}})
    common = {"ts": TS, "reading": told, "status": "SUCCEED"}
    rows = cleaned(duck, [{**common, "e2e_ms": "1.25"}, {**common, "ttft_ms": "1"}], "requests")
    assert (rows[0]["e2e_ms"], rows[0]["status"], rows[0]["_problem"]) == (Decimal(1250), "ok", None)
    assert rows[1]["_problem"] == "unit_mismatch"
    assert "furlong" in rows[1]["_reason"]


PROBLEMS = [
    ({"value": "nan"}, "non_finite", "column value: 'nan' is not a finite number"),
    ({"value": "12,5"}, "bad_number", "column value: '12,5' is not a number"),
    ({"value": "1e40"}, "bad_number", "column value: '1e40' does not fit DECIMAL(38,9)"),
    ({"interval_s": "x"}, "bad_number", "column interval_s: 'x' is not a number"),
    ({"value": "9223372036854775794"}, "sentinel", "column value: '9223372036854775794' stands for no value"),
    ({"value": "9.223372036854775794E18"}, "sentinel", "column value: '9.223372036854775794E18' stands for no value"),
    ({"metric": None}, "missing_required", "column metric: is missing"),
    ({"ts": None}, "missing_required", "column ts: is missing"),
    ({"host": None, "reading": '{"_required":["host"]}'}, "missing_required", "column host: is missing"),
    ({"environment": "prd"}, "bad_value", "column environment: 'prd' is none of dev, test, prod"),
    ({"labels": '{"a":1}'}, "bad_labels", """column labels: '{"a":1}' holds a value that is not a text"""),
    ({"labels": '{"a":"1","a":"2"}'}, "bad_labels", """column labels: '{"a":"1","a":"2"}' names a label twice"""),
    ({"labels": "x" * 99}, "bad_labels", f"column labels: '{'x' * 77}...' is not JSON"),
    ({"counts": "[1,]"}, "bad_number", "column counts: '[1,]' is not a list of whole numbers"),
    ({"reading": "{"}, "malformed", "the reading is not a JSON object"),
    ({"problem": "malformed", "raw": "%%"}, "malformed", "the line is malformed"),
    ({"problem": "unknown_column", "raw": "{}"}, "unknown_column", "the line is unknown column"),
    ({"ts": "x", "value": "y"}, "bad_time", "column ts: 'x' is not an ISO 8601 time"),
]


def test_what_is_wrong_is_told_with_column_and_text(duck: Duck) -> None:
    rows = cleaned(duck, [sample(**texts) for texts, _, _ in PROBLEMS])
    assert [(row["_problem"], row["_reason"]) for row in rows] == [(problem, why) for _, problem, why in PROBLEMS]
    assert {key: text for key, text in rows[0]["_texts"].items() if text is not None} == {
        "ts": TS, "metric": "gpu.temperature", "value": "nan", "reading": "{}"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ('{"b":"1","a":"2"}', '{"a":"2","b":"1"}'),
        ('{"a":"2","b":"1"}', '{"a":"2","b":"1"}'),
        ('{ "a" : "\\u00e9" }', '{"a":"é"}'),
        ('{"a":"say \\"hi\\""}', '{"a":"say \\"hi\\""}'),
        ("{}", None),
        (None, None),
    ],
)
def test_labels_have_one_form(duck: Duck, text: str | None, canonical: str | None) -> None:
    [row] = cleaned(duck, [sample(labels=text)])
    assert (row["labels"], row["_problem"]) == (canonical, None)


def test_other_types_and_an_empty_batch(duck: Duck) -> None:
    rows = cleaned(duck, [sample(counts="[1, 2,0]"), {"problem": "gap", "lost": 5}])
    assert [row["counts"] for row in rows] == [[1, 2, 0]]
    flags = {"flag_pii": "True", "flag_toxic": "0", "prompt_tokens": "26.0", "output_tokens": "26.5"}
    [row] = cleaned(duck, [{"ts": TS, "status": "ok", **flags}], "requests")
    assert (row["flag_pii"], row["flag_toxic"], row["prompt_tokens"]) == (True, False, 26)
    assert (row["_problem"], row["_reason"]) == ("bad_number", "column output_tokens: '26.5' is not a whole number")
    assert cleaned(duck, []) == []
