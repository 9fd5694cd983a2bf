"""How the text of one column is read: SQL for its typed value, and for each way in which a text can be wrong.

Everything here is a pure function from a declared column and a `reading` (units, time format, words) to SQL text.
"""

from __future__ import annotations

import re
from typing import Final

from ingestion.numbers import FORMS, plain_rounded_sql, plain_sql
from ingestion.pieces import Context, Fault, Piece, aside, literal, shown
from lake.facts import Column, duck_type

# The parts of a strptime pattern that the engine knows; an unknown one would be an error for the whole batch.
_PATTERN: Final = re.compile(r"(?:[^%]|%-?[aAbBdfHIjmMnpSuUVwWyYzZ%])*")
_ISO: Final = "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?"
_ZONE: Final = "(Z| UTC|[+-][0-9]{2}(:?[0-9]{2})?)"
_TEXT: Final = r'"[^"\\\x00-\x1f]*"'
_LABELS: Final = rf"\{{{_TEXT}:{_TEXT}(,{_TEXT}:{_TEXT})*\}}"
_COUNTS: Final = r"\[ *(-?[0-9]{1,18}( *, *-?[0-9]{1,18})*)? *\]"


def read_column(column: Column, at: Context) -> Piece:
    """The piece for a column of any type but time (see `read_time`)."""
    if column.type in FORMS:
        return _number(column, at)
    if column.type == "labels":
        return _labels(column, at)
    if column.type == "boolean":
        return _boolean(column, at)
    if column.type == "counts":
        return _counts(column, at)
    return _string(column, at)


def read_time(column: Column, at: Context) -> Piece:
    """The piece for a timestamp: microseconds, finer digits floored and counted as `truncated`."""
    style = str(at.reading.get("format", "iso"))
    zone = str(at.reading.get("zone", "UTC"))
    if style in {"epoch_s", "epoch_ms"}:
        value, truncated = _epoch(at.text, 6 if style == "epoch_s" else 3)
    elif style == "iso":
        value, truncated = _iso(at.text, zone)
    elif _PATTERN.fullmatch(style):
        value, truncated = _pattern(at.text, style, zone)
    else:
        value, truncated = "CAST(NULL AS TIMESTAMPTZ)", "false"
    wanted = {"iso": "an ISO 8601 time", "epoch_s": "seconds since 1970", "epoch_ms": "milliseconds since 1970"}
    told = wanted.get(style, f"a time of the form {style}")
    fault = Fault("bad_time", _unread(column, at), _reason(column, at.text, f"is not {told}"))
    return Piece(value, (fault,), truncated=truncated)


def _epoch(text: str, places: int) -> tuple[str, str]:
    """Microseconds from a count of seconds (places 6) or milliseconds (3) with any fraction, digit by digit."""
    whole = 12 if places == 6 else 15
    fraction = f"split_part({text}, '.', 2)"
    rest = f"CAST(rpad(left({fraction}, {places}), {places}, '0') AS BIGINT)"
    micros = f"CAST(split_part({text}, '.', 1) AS BIGINT) * {10**places} + {rest}"
    value = f"CASE WHEN regexp_full_match({text}, '[0-9]{{1,{whole}}}(\\.[0-9]*)?') THEN make_timestamptz({micros}) END"
    return value, f"coalesce(rtrim(substr({fraction}, {places + 1}), '0') <> '', false)"


def _iso(text: str, zone: str) -> tuple[str, str]:
    point = f"replace({text}, ',', '.')"
    value = (
        f"CASE WHEN regexp_full_match({text}, '{_ISO}{_ZONE}') THEN TRY_CAST({point} AS TIMESTAMPTZ) "
        f"WHEN regexp_full_match({text}, '{_ISO}') THEN {_in_zone(f'TRY_CAST({point} AS TIMESTAMP)', zone)} END"
    )
    # The engine's cast drops digits after the sixth, which is the floor since a fraction only ever adds.
    return value, _finer(text)


def _pattern(text: str, pattern: str, zone: str) -> tuple[str, str]:
    """A strptime pattern; %f takes six digits, so longer fractions are cut (floored) first."""
    cut = text
    if "%f" in pattern:
        cut = f"regexp_replace({text}, '([.,][0-9]{{6}})[0-9]+', '\\1')"
    parsed = f"try_strptime({cut}, {literal(pattern)})"
    has_zone = re.search(r"%-?[zZ]", pattern.replace("%%", "")) is not None
    return (parsed if has_zone else _in_zone(parsed, zone)), _finer(text)


def _in_zone(timestamp: str, zone: str) -> str:
    return f"CAST({timestamp} AS TIMESTAMPTZ)" if zone == "UTC" else f"timezone({literal(zone)}, {timestamp})"


def _finer(text: str) -> str:
    return f"coalesce(regexp_matches({text}, '[.,][0-9]{{6}}[0-9]*[1-9]'), false)"


def _number(column: Column, at: Context) -> Piece:
    form = FORMS[column.type]
    plain = plain_sql(at.plain, form)
    hard = f"{at.text} IS NOT NULL AND ({plain}) IS NULL"
    rounded = f"coalesce({plain_rounded_sql(at.plain, form)}, false)"
    if not at.aside:
        return Piece(plain, rounded=rounded, hard=hard)
    value = f"coalesce({plain}, CAST({aside(column, 'value')} AS {form.sql}))"
    faults = _told_aside(column, at, "non_finite", "bad_number")
    return Piece(value, faults, rounded=f"coalesce({aside(column, 'rounded')}, {rounded})", hard=hard)


def _string(column: Column, at: Context) -> Piece:
    words = at.reading.get("values") or {}
    value = at.text
    if words:
        pairs = " ".join(f"WHEN {literal(str(given))} THEN {literal(str(meant))}" for given, meant in words.items())
        value = f"CASE {at.text} {pairs} ELSE {at.text} END"
    if not column.allowed:
        return Piece(value)
    listed = ", ".join(literal(choice) for choice in column.allowed)
    reason = _reason(column, at.text, f"is none of {', '.join(column.allowed)}")
    return Piece(value, (Fault("bad_value", f'"{column.name}" NOT IN ({listed})', reason),))


def _boolean(column: Column, at: Context) -> Piece:
    value = (
        f"CASE lower({at.text}) WHEN 'true' THEN true WHEN 't' THEN true WHEN 'yes' THEN true WHEN '1' THEN true "
        "WHEN 'false' THEN false WHEN 'f' THEN false WHEN 'no' THEN false WHEN '0' THEN false END"
    )
    reason = _reason(column, at.text, "is neither true nor false")
    return Piece(value, (Fault("bad_value", _unread(column, at), reason),))


def _counts(column: Column, at: Context) -> Piece:
    value = f"CASE WHEN regexp_full_match({at.text}, '{_COUNTS}') THEN CAST({at.text} AS BIGINT[]) END"
    reason = _reason(column, at.text, "is not a list of whole numbers")
    return Piece(value, (Fault("bad_number", _unread(column, at), reason),))


def _labels(column: Column, at: Context) -> Piece:
    """Canonical JSON; texts that are canonical already (sorted, no escapes) stay, the rest is read by Python."""
    keys = f"json_keys({at.text})"
    plain = (
        f"CASE WHEN regexp_full_match({at.text}, '{_LABELS}') "
        f"THEN CASE WHEN list_sort(list_distinct({keys})) = {keys} THEN {at.text} END END"
    )
    hard = f"{at.text} IS NOT NULL AND ({plain}) IS NULL"
    if not at.aside:
        return Piece(plain, hard=hard)
    faults = _told_aside(column, at, "bad_labels")
    return Piece(f"coalesce({plain}, {aside(column, 'value')})", faults, hard=hard)


def null_piece(column: Column) -> Piece:
    """The piece of a column that no row of the batch holds."""
    return Piece(f"CAST(NULL AS {duck_type(column.type)})")


def _unread(column: Column, at: Context) -> str:
    return f'{at.text} IS NOT NULL AND "{column.name}" IS NULL'


def _told_aside(column: Column, at: Context, *checks: str) -> tuple[Fault, ...]:
    """The faults that Python found, in its own words."""
    worded = f"{literal(f'column {column.name}: ')} || {shown(at.text)} || ' ' || {aside(column, 'reason')}"
    return tuple(Fault(check, f"{aside(column, 'problem')} = '{check}'", worded) for check in checks)


def _reason(column: Column, text: str, what: str) -> str:
    return f"{literal(f'column {column.name}: ')} || {shown(text)} || {literal(f' {what}')}"
