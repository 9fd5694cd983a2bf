"""The slow truth about any cube in plain Python: every measure in every cell, by Fractions and dictionaries.

It shares no code with cubes/: a `Form` says what a cube is in words of its own, rows are dictionaries of typed values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import Any

Row = Mapping[str, Any]
# (grain, names of the kept dimensions, start in microseconds since 1970, their values)
Key = tuple[str, tuple[str, ...], int, tuple[Any, ...]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS = {"5s": 5, "15s": 15, "30s": 30, "1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "1d": 86400}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Form:
    """What a cube is. `joins` are (lookup, name, column), `bands` (name, column, edges as texts); a measure is its
    definition's mapping; `where` is a predicate of tuples, see `truth`.
    """

    fact: str
    grains: tuple[str, ...]
    week_starts: str
    dimensions: tuple[str, ...]
    joins: tuple[tuple[str, str, str], ...]
    bands: tuple[tuple[str, str, tuple[str, ...]], ...]
    cuboids: tuple[tuple[str, ...], ...]
    groups: tuple[Mapping[str, Any], ...]
    measures: Mapping[str, Mapping[str, Any]]
    where: Any = None
    predicates: Mapping[str, Any] = field(default_factory=dict)  # of measures that count where
    keep: Mapping[str, int] = field(default_factory=dict)  # days by grain
    age_out: Mapping[str, int] = field(default_factory=dict)  # days by dimension

    @property
    def every_dimension(self) -> tuple[str, ...]:
        """Those of the fact, then the derived ones as declared."""
        return (*self.dimensions, *(name for _, name, _ in self.joins), *(name for name, _, _ in self.bands))

    def kept(self) -> set[tuple[str, ...]]:
        """Every cuboid that the definition asks for, each as its dimensions in order: all subsets, tried one by one."""
        names = self.every_dimension
        asked = {frozenset(names), *map(frozenset, self.cuboids)}
        for size in range(1, len(names) + 1):
            for chosen in map(frozenset, combinations(names, size)):
                if any(_fits(chosen, group, names) for group in self.groups):
                    asked.add(chosen)
        return {tuple(name for name in names if name in chosen) for chosen in asked}


def _fits(chosen: frozenset[str], group: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    hierarchies, joints = group.get("hierarchies", []), group.get("joints", [])
    mandatory = set(group.get("mandatory", []))
    bound = {name for unit in (*hierarchies, *joints) for name in unit}
    return (
        chosen <= set(group.get("include", names)) | mandatory | bound
        and mandatory <= chosen
        and all(chosen & set(unit) == set(unit[: len(chosen & set(unit))]) for unit in hierarchies)
        and all(not chosen & set(unit) or set(unit) <= chosen for unit in joints)
        and len(chosen) <= group.get("max_dimensions", len(names))
    )


def truth(predicate: Any, row: Row) -> bool | None:
    """SQL's answer (None: unknown) to ("and"|"or", a, b), ("not", a), ("null", column), ("in", column, constants) or
    ("="|"<>"|"<"|"<="|">"|">="|, column, constant).
    """
    match predicate:
        case ("and", one, two):
            both = (truth(one, row), truth(two, row))
            return False if False in both else None if None in both else True
        case ("or", one, two):
            both = (truth(one, row), truth(two, row))
            return True if True in both else None if None in both else False
        case ("not", one):
            found = truth(one, row)
            return None if found is None else not found
        case ("null", column):
            return row[column] is None
        case ("in", column, constants):
            return None if row[column] is None else row[column] in constants
        case (sign, column, constant):
            if (value := row[column]) is None:
                return None
            signs = {"=": value == constant, "<>": value != constant, "<": value < constant, "<=": value <= constant,
                     ">": value > constant, ">=": value >= constant}  # fmt: skip
            return signs[sign]
    raise ValueError(predicate)


def bucket(grain: str, week_starts: str, ts: datetime) -> int:
    """Start of the bucket, in microseconds since 1970."""
    midnight = ts.replace(hour=0, minute=0, second=0, microsecond=0)
    if grain == "1mo":
        start = midnight.replace(day=1)
    elif grain == "1w":
        start = midnight - timedelta(days=(ts.weekday() - _WEEKDAYS.index(week_starts)) % 7)
    else:
        inside = (ts - midnight) // timedelta(seconds=_SECONDS[grain])
        start = midnight + inside * timedelta(seconds=_SECONDS[grain])
    return (start - _EPOCH) // timedelta(microseconds=1)


def _length_s(grain: str, start: int) -> int:
    if grain == "1mo":
        first = _EPOCH + timedelta(microseconds=start)
        return ((first + timedelta(days=32)).replace(day=1) - first) // timedelta(seconds=1)
    return 7 * 86400 if grain == "1w" else _SECONDS[grain]


def derived(form: Form, lookups: Mapping[str, Iterable[Row]], row: Row) -> dict[str, Any]:
    """The row with its derived dimensions, and the bounds of its counts under `edges`.

    `lookups` holds typed rows by name, with the lookup's key under `key`.
    """
    found = dict(row)
    for lookup, name, column in form.joins:
        found[name] = _as_of(lookups[lookup], row, column)
    for name, column, edges in form.bands:
        source, _, inner = column.partition(".")
        if source == "labels":
            value = _label(row["labels"], inner)
        else:
            value = _as_of(lookups[source], row, inner) if inner else row[column]
        found[name] = _band(value, edges)
    if "bounds" in lookups:
        sets = {one["bounds_id"]: one["bounds"] for one in lookups["bounds"]}
        found["edges"] = sets.get(row.get("bounds_id"))
    return found


def _as_of(rows: Iterable[Row], row: Row, column: str) -> Any:
    """What the row of the key says that holds at the time: from valid_from to before valid_to or the next one's."""
    rows = [one for one in rows if all(row[key] is not None and row[key] == one[key] for key in one["key"])]
    rows.sort(key=lambda one: one["valid_from"] or datetime.min.replace(tzinfo=UTC))
    for place, one in enumerate(rows):
        ends = [end for end in (one["valid_to"], rows[place + 1]["valid_from"] if rows[place + 1 :] else None) if end]
        if (one["valid_from"] is None or row["ts"] >= one["valid_from"]) and all(row["ts"] < end for end in ends):
            return one[column]
    return None


def _label(labels: Mapping[str, str] | None, name: str) -> Decimal | None:
    try:
        return None if labels is None or name not in labels else Decimal(labels[name])
    except ArithmeticError:
        return None


def _band(value: Any, edges: tuple[str, ...]) -> str | None:
    if value is None:
        return None
    below = [edge for edge in edges if Decimal(edge) <= value]
    above = [edge for edge in edges if Decimal(edge) > value]
    return f"{'[' if below else '('}{below[-1] if below else '-inf'},{above[0] if above else 'inf'})"


def cells(form: Form, rows: Iterable[dict[str, Any]]) -> dict[Key, list[dict[str, Any]]]:
    """The rows of every cell of every cuboid and grain, from rows with their derived dimensions."""
    found: dict[Key, list[dict[str, Any]]] = {}
    kept = form.kept()
    for row in rows:
        if form.where is not None and truth(form.where, row) is not True:
            continue
        for grain in form.grains:
            start = bucket(grain, form.week_starts, row["ts"])
            for names in kept:
                found.setdefault((grain, names, start, tuple(row[name] for name in names)), []).append(row)
    return found


def values(form: Form, key: Key, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Each measure's value in a cell, but for quantiles and distinct: a Fraction, None, or ("near", Fraction)."""
    found: dict[str, Any] = {}
    for name, measure in form.measures.items():
        [(function, column)] = [pair for pair in measure.items() if pair[0] not in ("grains", "without", "exact_to")]
        if function == "ratio":
            top, below = (found[column[part]] for part in ("of", "over"))
            found[name] = None if top is None or not below else _ninth(top / below)
        elif function == "count" and isinstance(column, dict):
            found[name] = Fraction(sum(truth(form.predicates[name], row) is True for row in rows))
        elif function == "count":
            found[name] = Fraction(len(rows) if column == "*" else len(_of(rows, column)))
        elif function not in ("quantiles", "distinct"):
            found[name] = _value(function, column, rows, _length_s(key[0], key[2]))
    return found


def _of(rows: list[dict[str, Any]], column: str) -> list[Any]:
    return [row[column] for row in rows if row[column] is not None]


def _ninth(value: Fraction) -> Fraction:
    """Rounded half to even at the ninth place."""
    return Fraction(round(value * 10**9), 10**9)


def _value(function: str, column: str, rows: list[dict[str, Any]], seconds: int) -> Any:
    known = [Fraction(value) for value in _of(rows, column)]
    match function:
        case "sum" | "rate" | "min" | "max" | "avg" if not known:
            return None
        case "sum":
            return sum(known)
        case "min" | "max":
            return {"min": min, "max": max}[function](known)
        case "avg":
            return _ninth(sum(known) / len(known))
        case "rate":
            return _ninth(sum(known) / seconds)
        case "last":
            told = [(row["ts"], Fraction(row[column])) for row in rows if row[column] is not None]
            return max(told)[1] if told else None
        case "time_avg" | "integral" | "coverage":
            return _weighed(function, column, rows, seconds)
    return _spread(function, known)


def _weighed(function: str, column: str, rows: list[dict[str, Any]], seconds: int) -> Fraction | None:
    pairs = [
        (Fraction(row[column]), Fraction(row["interval_s"]))
        for row in rows
        if row[column] is not None and row["interval_s"] is not None
    ]
    if not pairs:
        return None
    total, weight = sum((value * by for value, by in pairs), Fraction(0)), sum((by for _, by in pairs), Fraction(0))
    if function == "integral":
        return total
    if function == "coverage":
        return _ninth(weight / seconds)
    return _ninth(total / weight) if weight else None


def _spread(function: str, known: list[Fraction]) -> Any:
    """Variances and deviations are doubles: near the exact value."""
    divisor = len(known) - (0 if function.endswith("_pop") else 1)
    if divisor < 1:
        return None
    mean = sum(known) / len(known)
    variance = sum((value - mean) ** 2 for value in known) / divisor
    if function.startswith("var"):
        return ("near", variance)
    with localcontext(prec=80):
        return ("near", Fraction((Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt()))


def agrees(found: Any, wanted: Any) -> bool:
    """Whether an engine's value is the wanted one: to the last digit, or a double within 1e-15 of itself."""
    if wanted is None or found is None:
        return wanted is None and found is None
    if isinstance(wanted, tuple):
        return abs(Fraction(found) - wanted[1]) <= wanted[1] / 10**15
    return not isinstance(found, float) and Fraction(found) == wanted


@lru_cache(maxsize=100_000)
def slot(value: Decimal | int) -> int:
    """The slot by its definition, in whole numbers: the least i with |value|**64 <= 2**i; zero and signs apart."""
    if value == 0:
        return -1_000_000
    whole, unit = abs(int(Fraction(value) * 10**9)) ** 64, 10**576
    found = whole.bit_length() - unit.bit_length() - 2
    while whole << max(0, -found) > unit << max(0, found):
        found += 1
    return found if value > 0 else -2_000_000 - found


@lru_cache(maxsize=10_000)
def hashed(value: str | int) -> int:
    """The 63 bits by which a value is counted."""
    return sum(byte << 8 * place for place, byte in enumerate(hashlib.md5(str(value).encode()).digest()[:8])) // 2


def tally(numbers: Iterable[int]) -> dict[int, int]:
    """How often each occurs."""
    found: dict[int, int] = {}
    for number in numbers:
        found[number] = found.get(number, 0) + 1
    return found


def distinct(rows: list[dict[str, Any]], column: str, exact_to: int) -> tuple[dict[int, int], int]:
    """The hashes that a cell keeps with their rows, and the number of values that it tells."""
    counts = tally(map(hashed, _of(rows, column)))
    smallest = {one: counts[one] for one in sorted(counts)[: exact_to + 1]}
    if len(counts) <= exact_to:
        return smallest, len(set(_of(rows, column)))
    return smallest, 2**63 * exact_to // (max(smallest) + 1)


def percentiles(rows: list[dict[str, Any]], column: str, shares: Iterable[str]) -> Iterator[tuple[Any, Any]]:
    """For each share the exact percentile_disc and percentile_cont; the latter None where its ranks differ in sign."""
    known = sorted(Fraction(value) for value in _of(rows, column))
    for share in map(Fraction, shares):
        if not known:
            yield None, None
            continue
        rank = share * (len(known) - 1)
        low, high = known[int(rank)], known[-int(-rank // 1)]
        cont = None if low * high < 0 else low + (high - low) * (rank - int(rank))
        yield known[max(0, -int(-share * len(known) // 1) - 1)], cont
