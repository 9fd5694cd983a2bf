"""Questions to a cube by SQL, against plain Python over the rows with their new names: what aliases must not change.

A derived dimension is that of the name that a row came with; all else sees the new one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from pastoracle import Past
from randomlake import Lake
from valueoracle import Form, agrees, cells, values

from cubes.session import Session
from lake.errors import QueryError

_STARTS = {"1d": "date_trunc('day', ts)", "1w": "date_trunc('week', ts)", "1mo": "date_trunc('month', ts)"}
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ask_all(
    lake: Lake, form: Form, rows: list[dict[str, Any]], past: Past, aliases: Mapping[str, Mapping[str, str]], seed: int
) -> list[str]:
    """Ask some cuboids at some grains for every measure; the path of each answer, 'refused' where it has expired."""
    rng = random.Random(seed)
    rows = [_renamed(row, aliases) for row in rows]
    paths = []
    with Session(lake.settings, cubes=[lake.cube]) as session:
        for _ in range(3):
            grain = rng.choice([one for one in form.grains if one != "1w" or form.week_starts == "monday"] or ["1d"])
            paths.append(_ask(session, replace(form, grains=(grain,)), rows, past, rng.choice(sorted(form.kept()))))
    return paths


def _renamed(row: dict[str, Any], aliases: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return row | {name: _last(names, row[name]) for name, names in aliases.items()}


def _last(names: Mapping[str, str], value: Any) -> Any:
    """The name that is new to no other one."""
    while value in names:
        value = names[value]
    return value


def _ask(session: Session, form: Form, rows: list[dict[str, Any]], past: Past, names: tuple[str, ...]) -> str:
    [grain] = form.grains
    told = [name for name, measure in form.measures.items() if "quantiles" not in measure]
    start = _STARTS.get(grain) or f"time_bucket(INTERVAL '{grain[:-1]} {_UNITS[grain[-1]]}', ts)"
    listed = ", ".join([f"{start} AS bucket_start", *names, *(f"MEASURE({name}) AS {name}" for name in told)])
    sql = f"SELECT {listed} FROM made GROUP BY {', '.join(map(str, range(1, len(names) + 2)))}"
    try:
        answer = session.query(sql)
    except QueryError as error:
        if past and ("expired" in str(error) or "aged out" in str(error)):
            return "refused"
        raise
    wanted = {key: held for key, held in cells(form, rows).items() if key[1] == names}
    found = {}
    for row in answer.table.to_pylist():
        at = (row["bucket_start"].astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)
        found[(grain, names, at, tuple(_plain(row[name]) for name in names))] = row
    assert found.keys() == {(*key[:3], tuple(map(_plain, key[3]))) for key in wanted}, sql
    for key, held in wanted.items():
        row = found[(*key[:3], tuple(map(_plain, key[3])))]
        for name, value in _values(form, key, held).items():
            assert agrees(row[name], value), (sql, key, name, row[name], value, answer.path)
    return answer.path


def _plain(value: Any) -> Any:
    """A dimension's value as a text, since columns of lookups may come as numbers."""
    return None if value is None else str(Fraction(value)) if not isinstance(value, str) else value


def _values(form: Form, key: Any, held: list[dict[str, Any]]) -> dict[str, Any]:
    found = values(form, key, held)
    for name, measure in form.measures.items():
        if "distinct" in measure:
            found[name] = Fraction(len({row[measure["distinct"]] for row in held} - {None}))
    return found
