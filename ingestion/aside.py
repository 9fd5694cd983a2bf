"""Texts that SQL leaves aside: the few distinct ones that Python reads, joined back into the batch by text and unit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from ingestion.numbers import FORMS, Form, parse_number

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.facts import Column


@dataclass(frozen=True)
class _Read:
    """A text as read: canonical value as text, the text's own number before any unit, or what is wrong with it."""

    value: str | None
    unscaled: str | None = None
    problem: str = ""
    reason: str = ""
    rounded: bool = False


def set_aside(duck: Duck, name: str, column: Column, texts: Iterable[tuple[str, str]], *, unscaled: bool) -> None:
    """Make the temporary table `name` (text, factor, value, unscaled, problem, reason, rounded) of distinct texts.

    `texts` are (text, factor) with the factor as `n/d`; both together are the key. `unscaled`, the text's own number
    before any unit, is read only if asked for.
    """
    form = FORMS.get(column.type)
    reader: Callable[[str, str], _Read] = _labels
    if form is not None:
        reader = partial(_number, form=form, unscaled=unscaled)
    columns: tuple[list[Any], ...] = ([], [], [], [], [], [], [])
    for text, factor in texts:
        read = reader(text, factor)
        row = (text, factor, read.value, read.unscaled, read.problem, read.reason, read.rounded)
        for cells, cell in zip(columns, row, strict=True):
            cells.append(cell)
    names = ("text", "factor", "value", "unscaled", "problem", "reason")
    lists = ", ".join(f"unnest(CAST(? AS VARCHAR[])) AS {name}" for name in names)
    duck.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {lists}, unnest(CAST(? AS BOOLEAN[])) AS rounded", list(columns)
    )


def _number(text: str, factor: str, *, form: Form, unscaled: bool) -> _Read:
    """Exact text of a number in the column's unit, with just the places that the column keeps."""
    read = parse_number(text, form, _fraction(factor))
    own = parse_number(text, FORMS["decimal"]).value if unscaled else None
    plain = None if own is None else format(own, "f")
    if read.value is None:
        return _Read(None, plain, read.problem, read.reason)
    return _Read(format(read.value, "f"), plain, rounded=read.rounded)


_fraction = cache(Fraction)  # a batch has few units and many texts


def _labels(text: str, _: str) -> _Read:
    """Canonical JSON of an object of texts: sorted keys, no spaces; an empty object says nothing and becomes NULL."""
    try:
        pairs = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return _Read(None, problem="bad_labels", reason="is not JSON")
    if not isinstance(pairs, list) or not text.lstrip().startswith("{"):
        return _Read(None, problem="bad_labels", reason="is not a JSON object")
    found = dict(pairs)
    if len(found) != len(pairs):
        return _Read(None, problem="bad_labels", reason="names a label twice")
    if not all(isinstance(value, str) for value in found.values()):
        return _Read(None, problem="bad_labels", reason="holds a value that is not a text")
    if not found:
        return _Read(None)
    canonical = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if any("\ud800" <= letter <= "\udfff" for letter in canonical):
        return _Read(None, problem="bad_labels", reason="holds half a surrogate pair")
    return _Read(canonical)
