"""Relations between routed answers that need no oracle: parts of a question that add up to the whole.

Answers are combined in plain Python. Each check is made by a seed and gives "" or what is wrong.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from randomcheck import rows
from randomfleet import SHAPES, Fleet
from randomparts import At, Pen, moment, place, predicate, qualified

from cubes.session import Answer

_Groups = dict[tuple[Any, ...], tuple[Any, ...]]


class Asked:
    """The pieces of one check: a place, its keys, its aggregates, a range of time, and the paths of what it asked."""

    def __init__(self, fleet: Fleet, seed: int, extra: int = 0) -> None:
        self.fleet, self.pen = fleet, Pen(random.Random(seed), fleet)
        self.at: At = place(self.pen)
        summed = {one.column for one in self.at.cube.measures if one.function == "sum"}
        name = self.pen.rng.choice(sorted(summed))
        states = {"rows", *(one.name for one in self.at.cube.states)}
        kept = [one for one in _AGGREGATES if one[1].format(name) in states]
        self.aggregates = [one[0].format(self.at.column(name)) for one in kept]
        self.merges = [one[2] for one in kept]
        free = [one for one in self.at.dims if one not in SHAPES[self.at.fact].kept]
        chosen = self.pen.rng.sample(free, min(len(free), extra + self.pen.rng.randrange(3)))
        self.keys = [self.at.column(one) for one in (*SHAPES[self.at.fact].kept, *chosen)]
        low, high = sorted((moment(self.pen), moment(self.pen)))
        if high - low < timedelta(hours=6):
            low, high = fleet.start, fleet.end
        self.range = f"{self.at.ts} >= '{low:%Y-%m-%d %H:%M:%S.%f}' AND {self.at.ts} < '{high:%Y-%m-%d %H:%M:%S.%f}'"
        if self.at.cube.where:
            self.range += f" AND ({qualified(self.at, self.at.cube.where)})"
        self.paths: list[str] = []

    def ask(self, keys: Sequence[str], aggregates: Sequence[str], condition: str = "") -> Answer:
        """The router's answer to the aggregates by the keys, in the range and under the condition."""
        where = f"{self.range} AND {condition}" if condition else self.range
        group = f" GROUP BY {', '.join(keys)}" if keys else ""
        source = f"{self.at.fact} {self.at.alias}"
        answer = self.fleet.routed(f"SELECT {', '.join([*keys, *aggregates])} FROM {source} WHERE {where}{group}")
        self.paths.append(answer.path)
        return answer


def partitioned(fleet: Fleet, seed: int) -> tuple[str, list[str]]:
    """A question is its parts where a condition is true, false and null; the paths of what was asked beside."""
    asked = Asked(fleet, seed)
    p = predicate(asked.pen, asked.at, 2)
    whole = _groups(rows(asked.ask(asked.keys, asked.aggregates)), len(asked.keys))
    parts = []
    for condition in (f"({p})", f"NOT ({p})", f"({p}) IS NULL"):
        parts += rows(asked.ask(asked.keys, asked.aggregates, condition))
    found = _merged(parts, asked, len(asked.keys))
    if not asked.keys:
        # A question without keys has a row even of nothing.
        found = found or whole
    wrong = _differs(whole, found, f"fleet {fleet.seed}, seed {seed}: {asked.at.fact} WHERE {asked.range} by {p}")
    counts = [f"count(*) FILTER (WHERE {one})" for one in (f"({p})", f"NOT ({p})", f"({p}) IS NULL")]
    for row in rows(asked.ask(asked.keys, ["count(*)", *counts])):
        total, *three = row[len(asked.keys) :]
        if total != sum(three):
            wrong = wrong or f"fleet {fleet.seed}, seed {seed}: {total} rows, but {three} by FILTER with {p}"
    return wrong, asked.paths


def children(fleet: Fleet, seed: int) -> tuple[str, list[str]]:
    """What groups of more keys, or of days within all time, add up to is their parent; and the paths."""
    asked = Asked(fleet, seed, extra=1)
    parents = [key for key in asked.keys if key == asked.at.column("metric") or asked.pen.maybe(0.5)]
    unit = asked.pen.one("hour", "day", "month")
    cut = [f"date_trunc('{unit}', {asked.at.ts})"] if asked.pen.maybe(0.6) else []
    lesser = [key for key in asked.keys if key not in parents]
    below = rows(asked.ask([*parents, *lesser, *cut], asked.aggregates))
    many = len(parents) + len(lesser) + len(cut)
    found = _merged([(*row[: len(parents)], *row[many:]) for row in below], asked, len(parents))
    above = _groups(rows(asked.ask(parents, asked.aggregates)), len(parents))
    if not parents and not below:
        found = above
    place_ = f"fleet {fleet.seed}, seed {seed}: {asked.at.fact} WHERE {asked.range}: {[*lesser, *cut]} within {parents}"
    return _differs(above, found, place_), asked.paths


def _groups(found: Iterable[tuple[Any, ...]], keys: int) -> _Groups:
    return {row[:keys]: row[keys:] for row in found}


def _merged(found: Iterable[tuple[Any, ...]], asked: Asked, keys: int) -> _Groups:
    """Rows of partial aggregates put together by their first so many columns."""
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for row in found:
        groups.setdefault(row[:keys], []).append(row[keys:])
    return {
        key: tuple(
            merge([value for value in column if value is not None])
            for merge, column in zip(asked.merges, zip(*held, strict=True), strict=True)
        )
        for key, held in groups.items()
    }


def _sum(values: list[Any]) -> Any:
    return sum(values) if values else None


def _least(values: list[Any]) -> Any:
    return min(values, default=None)


def _greatest(values: list[Any]) -> Any:
    return max(values, default=None)


def _differs(whole: _Groups, found: _Groups, place_: str) -> str:
    if whole == found:
        return ""
    key = next(key for key in (*whole, *found) if whole.get(key) != found.get(key))
    return f"{place_}\n{key}: {whole.get(key)} as a whole, {found.get(key)} of parts"


# An aggregate of a column, the state that a cube answers it from, and how partial ones are put together.
_AGGREGATES = (
    ("count(*)", "rows", _sum),
    ("count({})", "count_{}", _sum),
    ("sum({})", "sum_{}", _sum),
    ("min({})", "min_{}", _least),
    ("max({})", "max_{}", _greatest),
    ("integral({})", "weighted_{}", _sum),
)
