"""Clean: landed texts become typed, exact candidate rows; what can't be read is told, never dropped.

The result is SQL over the landing rows, one SELECT for each distinct `reading` (how the texts of a source are to be
read); nothing runs over all rows until the gate writes its candidate. The layers of a SELECT: texts (`_t_`), numbers
moved to the column's unit (`_p_`), what Python read (`_a_`), typed values, and what is wrong with them.

Nothing is made up: a gauge that came without `interval_s` keeps none, whatever period the catalogue gives, and then
has no weight, so a time-weighted mean leaves the row out of both its sums.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from ingestion.aside import set_aside
from ingestion.columns import null_piece, read_column, read_time
from ingestion.numbers import FORMS, parse_number, plain_sql
from ingestion.pieces import Context, Fault, Piece, aside, literal, shown
from ingestion.scaling import scaled_sql, shift
from lake import units

if TYPE_CHECKING:
    from lake.catalogue import Catalogue, Metric
    from lake.duck import Duck
    from lake.facts import Column, Fact

# Numbers that stand in the unit of the row's metric rather than in one of their own.
_IN_METRIC_UNIT: Final = frozenset({"value", "stderr"})
_LAKE_COLUMNS: Final = "agent, boot, seq, idx, row_key, received_at, source"
_UNIT_COLUMNS: Final = {
    "metric": "VARCHAR",
    "unit": "VARCHAR",
    "canonical": "VARCHAR",
    "factor": "VARCHAR",
    "multiplier": "BIGINT",
    "places": "INTEGER",
    "words": "VARCHAR[]",
    "numbers": "VARCHAR[]",
}
_SAME: Final = "1/1"


@dataclass(frozen=True)
class _Batch:
    """What a batch is read with."""

    duck: Duck
    fact: Fact
    landing: str
    catalogue: Catalogue

    @property
    def by_metric(self) -> frozenset[str]:
        """Columns whose unit is that of the row's metric."""
        names = {column.name for column in self.fact.columns}
        return frozenset(_IN_METRIC_UNIT & names) if "metric" in names else frozenset()


@dataclass(frozen=True)
class _Part:
    """The rows of one reading: what it says, the columns that hold any text, those that Python must help with."""

    number: int
    text: str | None
    says: Mapping[str, Any]
    held: frozenset[str]
    converts: bool = False  # whether some metric of the part comes in another unit
    words: tuple[str, ...] = ()  # every sentinel of the part's metrics as text,
    numbers: tuple[str, ...] = ()  # and those that are numbers
    hard: frozenset[str] = frozenset()

    def of(self, column: str) -> Mapping[str, Any]:
        """What the reading says about a column."""
        told = self.says.get(column)
        return told if isinstance(told, dict) else {}


def clean(duck: Duck, fact: Fact, landing: str, *, catalogue: Catalogue) -> str:
    """SQL that yields the typed rows of the relation `landing`, gap rows left out.

    Columns: identity, row_key, received_at, source; the fact's columns, typed; `_problem` and `_reason` (NULL where
    every text could be read; else the first fault: malformed, unknown_column, bad_time, missing_required,
    unit_mismatch, sentinel, non_finite, bad_number, bad_value, bad_labels); `_texts` (a struct of the texts as they
    came); and the notices `_rounded` (numbers that lost digits), `_truncated_ts`, `_converted_unit`. No fact's column
    starts with `_`.
    The SQL reads temporary tables, so it holds until the next call on the same connection.
    """
    batch = _Batch(duck, fact, landing, catalogue)
    return "\nUNION ALL\n".join(_select(batch, part) for part in _parts(batch))


def _parts(batch: _Batch) -> list[_Part]:
    """The batch's readings; columns without any text are known from here on, and cost nothing more."""
    names = [column.name for column in batch.fact.columns]
    counts = ", ".join(f'count("{name}")' for name in names)
    rows = batch.duck.sql(
        f"SELECT reading, {counts} FROM {batch.landing} "
        "WHERE problem IS DISTINCT FROM 'gap' GROUP BY reading ORDER BY reading"
    )
    if not rows:
        return [_Part(0, None, {}, frozenset())]
    return [_part(batch, number, row[0], dict(zip(names, row[1:], strict=True))) for number, row in enumerate(rows)]


def _part(batch: _Batch, number: int, text: str | None, counts: Mapping[str, int]) -> _Part:
    held = frozenset(name for name, count in counts.items() if count)
    part = _Part(number, text, _says(text), held)
    if batch.by_metric:
        part = _make_units(batch, part)
    hard = frozenset(column.name for column in batch.fact.columns if _help(batch, part, column))
    return replace(part, hard=hard)


def _says(text: str | None) -> Mapping[str, Any]:
    """The reading as a value; a broken one says so under `_broken`, which makes its rows malformed."""
    if not text:
        return {}
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return {"_broken": True}
    return told if isinstance(told, dict) else {"_broken": True}


def _select(batch: _Batch, part: _Part) -> str:
    """The SELECT of one reading."""
    pieces = {column.name: _piece(batch, part, column) for column in batch.fact.columns}
    values = ", ".join(f'({piece.value}) AS "{name}"' for name, piece in pieces.items())
    typed = f"SELECT *, {values}, {_notices(batch, part, pieces)} FROM ({_aside_layer(batch, part)})"
    faults = _faults(batch, part, pieces)
    problem = " ".join(f"WHEN {fault.bad} THEN {number}" for number, fault in enumerate(faults))
    judged = f"SELECT *, CASE {problem} END AS _fault FROM ({typed})"
    checks = " ".join(f"WHEN {number} THEN {fault.check}" for number, fault in enumerate(faults))
    reasons = " ".join(f"WHEN {number} THEN {fault.reason}" for number, fault in enumerate(faults))
    columns = ", ".join(f'"{name}"' for name in pieces)
    texts = ", ".join(f'"{name}" := "_t_{name}"' for name in ("problem", "raw", *pieces))
    return (
        f"SELECT {_LAKE_COLUMNS}, {columns}, "
        f"CASE _fault {checks} END AS _problem, CASE _fault {reasons} END AS _reason, "
        f"struct_pack(row_key := row_key, reading := reading, {texts}) AS _texts, "
        "_rounded, _truncated_ts, _converted_unit "
        f"FROM ({judged})"
    )


def _rows(batch: _Batch, part: _Part) -> str:
    """The landing rows of the part."""
    is_part = "reading IS NULL" if part.text is None else f"reading = {literal(part.text)}"
    return f"(SELECT * FROM {batch.landing} WHERE {is_part} AND problem IS DISTINCT FROM 'gap')"


def _text_layer(batch: _Batch, part: _Part) -> str:
    """Texts under their `_t_` names, each row with its metric's unit, and numbers moved to their column's unit."""
    texts = ", ".join(f'"{column.name}" AS "_t_{column.name}"' for column in batch.fact.columns)
    select = f"SELECT {_LAKE_COLUMNS}, reading, problem AS _t_problem, raw AS _t_raw, {texts} FROM {_rows(batch, part)}"
    if batch.by_metric:
        select = (
            f"SELECT t.*, u.* FROM ({select}) AS t LEFT JOIN {_table('unit', part)} AS u "
            f"ON t._t_metric = u._u_metric AND {_given_unit(batch, part)} = u._u_unit"
        )
    moved = [
        f'({sql}) AS "_p_{column.name}"' for column in batch.fact.columns if (sql := _moved(batch, part, column)) != ""
    ]
    return f"SELECT *, {', '.join(moved)} FROM ({select})" if moved else select


def _aside_layer(batch: _Batch, part: _Part) -> str:
    """The text layer with what Python read of its unusual texts."""
    select = _text_layer(batch, part)
    for column in batch.fact.columns:
        if column.name not in part.hard:
            continue
        told = ", ".join(
            f"a.{what} AS {aside(column, what)}" for what in ("value", "unscaled", "problem", "reason", "rounded")
        )
        select = (
            f"SELECT l.*, {told} FROM ({select}) AS l LEFT JOIN {_table('aside_' + column.name, part)} AS a "
            f'ON l."_t_{column.name}" = a.text AND {_factor(batch, part, column)} = a.factor'
        )
    return select


def _moved(batch: _Batch, part: _Part, column: Column) -> str:
    """SQL of a number's plain text in its column's unit; empty where that is the text itself."""
    text = f'"_t_{column.name}"'
    if column.name not in part.held or column.type not in FORMS:
        return ""
    if column.name in batch.by_metric:
        if not part.converts:
            return ""
        scaled = scaled_sql(text, "_u_multiplier", "_u_places")
        return f"CASE WHEN _u_factor = '{_SAME}' THEN {text} WHEN _u_multiplier IS NOT NULL THEN {scaled} END"
    factor = _column_factor(part, column)
    if factor == 1:
        return ""
    digits = shift(factor) if factor is not None else None
    return scaled_sql(text, str(digits[0]), str(digits[1])) if digits else "CAST(NULL AS VARCHAR)"


def _factor(batch: _Batch, part: _Part, column: Column) -> str:
    """SQL of the factor `n/d` from the unit as sent to the column's; NULL where they don't convert."""
    if column.name in batch.by_metric:
        return f"CASE WHEN _u_metric IS NULL THEN '{_SAME}' ELSE _u_factor END"
    if column.type not in FORMS:
        return f"'{_SAME}'"
    factor = _column_factor(part, column)
    return "CAST(NULL AS VARCHAR)" if factor is None else f"'{factor.numerator}/{factor.denominator}'"


def _column_factor(part: _Part, column: Column) -> Fraction | None:
    unit = part.of(column.name).get("unit")
    return Fraction(1) if unit is None else units.scale(str(unit), column.unit)


def _given_unit(batch: _Batch, part: _Part) -> str:
    """SQL of the unit that the sender states for the metric's number: the reading's, else the row's own, else ''."""
    told = part.of("value").get("unit")
    if told is not None:
        return literal(str(told))
    return "coalesce(_t_unit, '')" if any(column.name == "unit" for column in batch.fact.columns) else "''"


def _make_units(batch: _Batch, part: _Part) -> _Part:
    """Make the small table of this part's metrics and units; the part, knowing now what it needs of them."""
    given = _given_unit(batch, part).replace("_t_unit", '"unit"')
    pairs = batch.duck.sql(f"SELECT DISTINCT metric, {given} FROM {_rows(batch, part)} WHERE metric IS NOT NULL")
    rows = [_unit_row(batch.catalogue.metrics.get(metric), metric, unit) for metric, unit in sorted(pairs)]
    cells = [[row[place] for row in rows] for place in range(len(_UNIT_COLUMNS))]
    lists = ", ".join(f"unnest(CAST(? AS {kind}[])) AS _u_{name}" for name, kind in _UNIT_COLUMNS.items())
    batch.duck.execute(f"CREATE OR REPLACE TEMP TABLE {_table('unit', part)} AS SELECT {lists}", cells)
    words = sorted({word for row in rows for word in row[6] or ()})
    numbers = sorted({number for row in rows for number in row[7] or ()})
    return replace(part, converts=any(row[3] != _SAME for row in rows), words=tuple(words), numbers=tuple(numbers))


def _unit_row(metric: Metric | None, name: str, unit: str) -> tuple[Any, ...]:
    """One row of the unit table; an undeclared metric keeps its numbers as they are (a row check judges it)."""
    if metric is None:
        return (name, unit, None, _SAME, None, None, None, None)
    factor = units.scale(unit, metric.unit) if unit else Fraction(1)
    told = None if factor is None else f"{factor.numerator}/{factor.denominator}"
    digits = None if factor is None else shift(factor)
    numbers = [parse_number(text, FORMS["decimal"]).value for text in metric.sentinels]
    known = [format(number, "f") for number in numbers if number is not None]
    sentinels = (list(metric.sentinels), known) if metric.sentinels else (None, None)
    return (name, unit, metric.unit, told, *(digits or (None, None)), *sentinels)


def _help(batch: _Batch, part: _Part, column: Column) -> bool:
    """Let Python read the texts of a column that SQL leaves; whether there are any."""
    if column.name not in part.held or (column.type not in FORMS and column.type != "labels"):
        return False
    piece = read_column(column, _context(batch, part, column))
    factor = _factor(batch, part, column)
    texts = batch.duck.sql(
        f'SELECT DISTINCT "_t_{column.name}", {factor} FROM ({_text_layer(batch, part)}) '
        f"WHERE _t_problem IS NULL AND {factor} IS NOT NULL AND {piece.hard}"
    )
    if texts:
        wanted = column.name == "value" and bool(part.words)  # sentinels are compared before any conversion
        set_aside(batch.duck, _table("aside_" + column.name, part), column, texts, unscaled=wanted)
    return bool(texts)


def _piece(batch: _Batch, part: _Part, column: Column) -> Piece:
    if column.name not in part.held:
        return null_piece(column)
    context = _context(batch, part, column)
    return read_time(column, context) if column.type == "timestamp" else read_column(column, context)


def _context(batch: _Batch, part: _Part, column: Column) -> Context:
    text = f'"_t_{column.name}"'
    plain = f'"_p_{column.name}"' if _moved(batch, part, column) else text
    return Context(text, plain, column.name in part.hard, part.of(column.name))


def _notices(batch: _Batch, part: _Part, pieces: Mapping[str, Piece]) -> str:
    """Columns with what is counted but wrong with nothing."""
    rounded = " + ".join(f"CAST({piece.rounded} AS TINYINT)" for piece in pieces.values() if piece.rounded != "false")
    truncated = " OR ".join(piece.truncated for piece in pieces.values() if piece.truncated != "false")
    converted = f"coalesce(_u_factor <> '{_SAME}', false)" if batch.by_metric and part.converts else "false"
    of_columns = [
        f'"_t_{column.name}" IS NOT NULL'
        for column in batch.fact.columns
        if column.type in FORMS and column.name not in batch.by_metric and _moved(batch, part, column)
    ]
    return (
        f"CAST({rounded or '0'} AS TINYINT) AS _rounded, coalesce({truncated or 'false'}, false) AS _truncated_ts, "
        f"({' OR '.join([converted, *of_columns])}) AS _converted_unit"
    )


def _faults(batch: _Batch, part: _Part, pieces: Mapping[str, Piece]) -> list[Fault]:
    """Every way for a row of the part to be wrong, the most basic first; the first that applies is the row's."""
    faults = [Fault("_t_problem", "_t_problem IS NOT NULL", "'the line is ' || replace(_t_problem, '_', ' ')")]
    if part.says.get("_broken"):
        faults.append(Fault("'malformed'", "true", "'the reading is not a JSON object'"))
    told = [Fault(literal(fault.check), fault.bad, fault.reason) for piece in pieces.values() for fault in piece.faults]
    faults += [fault for fault in told if fault.check == "'bad_time'"]
    extra = part.says.get("_required", ())
    for column in batch.fact.columns:
        if column.required or column.name in extra:
            reason = literal(f"column {column.name}: is missing")
            faults.append(Fault("'missing_required'", f'"_t_{column.name}" IS NULL', reason))
    faults += [fault for column in batch.fact.columns for fault in _unit_faults(batch, part, column)]
    if "value" in batch.by_metric and "value" in part.held and part.words:
        faults.append(_sentinel(part))
    return faults + [fault for fault in told if fault.check != "'bad_time'"]


def _unit_faults(batch: _Batch, part: _Part, column: Column) -> list[Fault]:
    """A number whose unit does not convert to the one that its column or metric has."""
    text = f'"_t_{column.name}"'
    if column.type not in FORMS or column.name not in part.held:
        return []
    if column.name in batch.by_metric:
        given = _given_unit(batch, part)
        told = f"{shown(given)} || ' of metric ' || _t_metric || ' does not convert to ' || _u_canonical"
        reason = f"'column {column.name}: unit ' || {told}"
        bad = f"{text} IS NOT NULL AND _u_metric IS NOT NULL AND _u_factor IS NULL"
        return [Fault("'unit_mismatch'", bad, reason)]
    if _column_factor(part, column) is not None:
        return []
    unit = part.of(column.name).get("unit")
    reason = literal(f"column {column.name}: unit '{unit}' does not convert to {column.unit}")
    return [Fault("'unit_mismatch'", f"{text} IS NOT NULL", reason)]


def _sentinel(part: _Part) -> Fault:
    """A text, or a number equal to one, by which a source says that it has no value; compared before any conversion."""
    own = plain_sql('"_t_value"', FORMS["decimal"])
    if "value" in part.hard:
        own = f'coalesce({own}, CAST("_a_value_unscaled" AS DECIMAL(38,9)))'
    own = f'CASE WHEN _u_factor = \'{_SAME}\' AND "value" IS NOT NULL THEN "value" ELSE {own} END'
    listed = f"list_contains(CAST(_u_numbers AS DECIMAL(38,9)[]), {own})"
    # The two short lists of the whole part come first: nearly no row goes on to its metric's own.
    words = ", ".join(literal(word) for word in part.words)
    maybe = f"_t_value IN ({words})"
    if part.numbers:
        maybe += f" OR {own} IN ({', '.join(f'CAST({number} AS DECIMAL(38,9))' for number in part.numbers)})"
    told = f"list_contains(_u_words, _t_value) OR coalesce({listed}, false)"
    bad = f"CASE WHEN _u_words IS NOT NULL AND ({maybe}) THEN {told} ELSE false END"
    return Fault("'sentinel'", bad, "'column value: ' || " + shown("_t_value") + " || ' stands for no value'")


def _table(what: str, part: _Part) -> str:
    """Name of a temporary table of the part."""
    return f'"fc_clean_{part.number}_{what}"'
