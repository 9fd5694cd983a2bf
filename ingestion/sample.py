"""The wire shape: a reading of one metric, and the record in which rows travel.

A *record* is one sequence number of one fact: the unit that is numbered, spooled, sent, acknowledged and accounted for.
On the wire it is one line of JSON. Its rows hold texts only: a number is read once, at the gate, from the text that the
sender wrote. A record without rows declares a *gap*: `lost` sequence numbers from `seq` on, given out and gone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from lake.errors import TransportError, did_you_mean

_FIELDS = ("agent", "boot", "seq", "fact", "sent_at", "source", "rows", "lost", "reason")
_NAME_LENGTH_MAX = 200
_SEQ_MAX = 2**63 - 1
_FACT = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Reading:
    """One value of one series, as a collector saw it: a gauge's level, a state, or a counter's increment."""

    metric: str
    value: float
    unit: str
    device: str = ""
    hardware: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One sequence number: its rows, or (with `lost` above 0) the word that `seq` to `seq + lost - 1` are gone."""

    agent: str
    boot: str
    seq: int
    fact: str
    sent_at: str
    rows: tuple[Mapping[str, str], ...] = ()
    source: str = "agent"
    lost: int = 0
    reason: str = ""


def number_text(value: float) -> str:
    """The shortest text that reads back as `value`, never in exponent form: 57 / 100 is '0.57', 1e-07 '0.0000001'.

    NaN and the infinities keep their names, so that the gate can judge them.
    """
    if isinstance(value, int):
        return str(int(value))
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    text = repr(float(value))
    if "e" not in text:
        return text
    from decimal import Decimal  # here, because it is rarely needed and an agent should start fast

    return format(Decimal(text), "f")


def time_text(moment: datetime) -> str:
    """`moment` in UTC to the microsecond: '2026-01-02T03:04:05.000006Z'."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def encode_record(record: Record) -> bytes:
    """One line of JSON in UTF-8, without the line end."""
    document: dict[str, Any] = {name: getattr(record, name) for name in _FIELDS[:6]}
    if record.lost:
        document |= {"lost": record.lost, "reason": record.reason}
    else:
        document["rows"] = record.rows
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def decode_record(line: bytes) -> Record:
    """The record on one line; TransportError says which field is wrong and what it should be."""
    document = _parse(line)
    for name in document:
        if name not in _FIELDS:
            raise _wrong(name, "is unknown.", did_you_mean(name, _FIELDS) or "Leave it out.")
    texts = {name: _text(document, name) for name in ("agent", "boot", "fact", "sent_at")}
    if not _FACT.fullmatch(texts["fact"]):
        raise _wrong("fact", f"can't be {texts['fact']!r}.", "Use a lower-case name such as 'samples'.")
    source = _text(document, "source") if "source" in document else "agent"
    seq, lost = _count(document, "seq", least=1), _count(document, "lost", least=0)
    record = Record(texts["agent"], texts["boot"], seq, texts["fact"], texts["sent_at"], source=source)
    if not lost:
        return replace(record, rows=_rows(document.get("rows")))
    if document.get("rows"):
        raise _wrong("rows", "can't stand beside 'lost'.", "Send rows, or declare a gap.")
    if seq + lost - 1 > _SEQ_MAX:
        raise _wrong("lost", "reaches beyond the last sequence number.", "Correct it.")
    return replace(record, lost=lost, reason=_text(document, "reason"))


def _parse(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise TransportError(f"Not a JSON line: {error}.", todo="Send one JSON object a line, in UTF-8.") from error
    if not isinstance(document, dict):
        raise TransportError(f"Not a record: a JSON {type(document).__name__}.", todo="Send one JSON object a line.")
    # A lone surrogate is legal in JSON and in a Python text, but no UTF-8 and no Parquet file can hold it.
    if b"\\u" in line and _SURROGATE.search(json.dumps(document, ensure_ascii=False)):
        raise TransportError("A text holds half of a surrogate pair.", todo="Send whole characters.")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number (a row's values are texts)")


def _wrong(name: str, what: str, todo: str) -> TransportError:
    return TransportError(f"Field '{name}' {what}", todo=todo)


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value or len(value) > _NAME_LENGTH_MAX:
        found = "is missing." if value is None else f"can't be {str(value)[:80]!r}."
        raise _wrong(name, found, f"Give a text of 1 to {_NAME_LENGTH_MAX} characters.")
    return value


def _count(document: Mapping[str, Any], name: str, *, least: int) -> int:
    value = document.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _SEQ_MAX:
        raise _wrong(name, f"can't be {str(value)[:80]!r}.", f"Give a whole number of at least {least}.")
    return value


def _rows(rows: Any) -> tuple[Mapping[str, str], ...]:
    if not isinstance(rows, list) or not rows:
        raise _wrong("rows", "must be a list with at least one row.", "Send rows, or declare a gap with 'lost'.")
    for index, row in enumerate(rows):
        if not isinstance(row, dict) or not row:
            raise _wrong(f"rows[{index}]", "is no row.", "Send an object of column names and texts.")
        for column, value in row.items():
            if not isinstance(value, str):
                where = f"rows[{index}].{column[:80]}"
                raise _wrong(where, f"is {type(value).__name__}, not a text.", "Put every value in quotes.")
    return tuple(rows)
