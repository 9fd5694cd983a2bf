"""Whether the router's answer is what the rows say, for one query over one fleet."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from randomfleet import Fleet
from randomqueries import Query

from cubes.session import Answer
from lake.errors import QueryError

# A percentile between two values of different signs lies near 0, where no share of it bounds the error.
_NO_BOUND = Decimal("1e-9")


@dataclass(frozen=True)
class Outcome:
    """Of one query: the path of its answer, "" where both doors refuse it; what differs, "" where nothing does."""

    path: str
    difference: str = ""
    refused: str = ""


def compare(fleet: Fleet, query: Query) -> Outcome:
    """Ask both doors and compare."""
    routed, exact = (_answer(fleet, query, raw=raw) for raw in (False, True))
    if isinstance(routed, QueryError):
        if isinstance(exact, QueryError) and routed.code == exact.code:
            return Outcome("", refused=str(routed))
        if fleet.expired and "have expired" in str(routed):
            return Outcome("", refused=str(routed))
        return Outcome("", f"{query.told(fleet)}\nthe router refuses: {routed}\nrows say: {exact}")
    if isinstance(exact, QueryError):
        return Outcome("", f"{query.told(fleet)}\nthe router answers by {routed.path}; rows refuse: {exact}")
    found = difference(routed, exact, ordered=query.ordered)
    return Outcome(routed.path, f"{query.told(fleet)}\npath {routed.path}: {found}" if found else "")


def _answer(fleet: Fleet, query: Query, *, raw: bool) -> Answer | QueryError:
    try:
        return (fleet.exact if raw else fleet.routed)(query.sql, fresh=query.fresh)
    except QueryError as error:
        return error


def difference(routed: Answer, exact: Answer, *, ordered: bool = False, approximate: bool = True) -> str:
    """Where two answers differ: in columns, types, the number or the order of rows, or a value; "" where nowhere.

    A column that says it is approximate may lie as far off as it says, where `approximate` allows it.
    """
    shapes = [[(column.name, column.type) for column in answer.columns] for answer in (routed, exact)]
    if shapes[0] != shapes[1]:
        return f"columns {shapes[0]}, not {shapes[1]}"
    errors = [column.relative_error if approximate else 0.0 for column in routed.columns]
    left, right = rows(routed), rows(exact)
    if not ordered:
        left, right = (sorted(one, key=lambda row: _place(row, errors)) for one in (left, right))
    if len(left) != len(right):
        return f"{len(left)} rows, not {len(right)}: {left[:5]} for {right[:5]}"
    for a, b in zip(left, right, strict=True):
        for value, wanted, error in zip(a, b, errors, strict=True):
            if not _equal(value, wanted, error):
                return f"{value!r}, not {wanted!r}, in {a} for {b}"
    return ""


def rows(answer: Answer) -> list[tuple[Any, ...]]:
    """The rows of an answer as Python values."""
    return list(zip(*(column.to_pylist() for column in answer.table.columns), strict=True))


def _place(row: tuple[Any, ...], errors: list[float]) -> tuple[str, list[tuple[bool, float]]]:
    """Sorts rows by their exact columns; of rows that agree there the approximate ones are paired by size."""
    told = repr([value for value, error in zip(row, errors, strict=True) if not error])
    near = [value for value, error in zip(row, errors, strict=True) if error]
    return told, [(value is not None, float(value or 0)) for value in near]


def _equal(value: Any, wanted: Any, error: float) -> bool:
    if not error or value is None or wanted is None:
        return bool(value == wanted) and type(value) is type(wanted)
    a, b = Decimal(value), Decimal(wanted)
    return abs(a - b) <= Decimal(str(error)) * abs(b) + _NO_BOUND
