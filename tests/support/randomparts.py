"""Parts of random queries over a random fleet: keys, aggregates, predicates and time ranges of one fact.

Most are chosen so that some cube of the fleet can answer them; a few are not, since a query of others' need not be.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from randomfleet import SHAPES, WORDS, Fleet

from cubes.model import Cube, Measure

# Every production of the grammar that queries are made of.
_NAMES = """
    AND/OR trees|AT TIME ZONE|BETWEEN|CASE as condition|CASE or FILTER|CASE over aggregates|COUNT(DISTINCT)
    COUNT(DISTINCT) by hashes|CUBE|DISTINCT|DISTINCT ON|DISTINCT without aggregates|EXCEPT|EXISTS|FETCH FIRST
    FROM a cube|GROUP BY expression|GROUPING SETS|HAVING|IN|IN (SELECT)|INNER JOIN|INTERSECT|IS DISTINCT FROM
    IS NULL|IS TRUE|JOIN|LEFT JOIN|LIKE|LIMIT|MEASURE|OFFSET|ORDER BY|ORDER BY aggregate|ROLLUP|UNION|UNION ALL
    WINDOW clause|WITH|approx_percentile|block|cast to date|comparison|conditional count|coverage()|date_bin
    date_trunc|extract|filter of a cube|function in a condition|grouping sets|integral()|last()|lookup joined|now()
    percentile_cont WITHIN GROUP|percentile_disc WITHIN GROUP|query inside a block|rate()|ratio|regular expression
    scalar sub-query|set operation|stddev and variance|sub-query in FROM|sub-query in HAVING|time BETWEEN
    time as TIMESTAMP|time as text|time by date_trunc|time by expression|time by intervals|time range|time_avg()
    time_bucket|to_char|to_timestamp|top series joined|two blocks joined|window over aggregates"""
PRODUCTIONS = frozenset(_NAMES.strip().replace("\n    ", "|").split("|"))
ZONES = ("Europe/Berlin", "Asia/Kolkata", "America/New_York", "UTC")


@dataclass
class Pen:
    """Writes one query: its chance, its fleet, and the productions of the grammar that it has used."""

    rng: random.Random
    fleet: Fleet
    did: set[str] = field(default_factory=set)

    def maybe(self, share: float) -> bool:
        return self.rng.random() < share

    def one(self, *forms: str) -> str:
        return self.rng.choice(forms)

    def tell(self, production: str, text: str) -> str:
        """The text, noting which production of the grammar it is."""
        assert production in PRODUCTIONS, production
        self.did.add(production)
        return text


@dataclass(frozen=True)
class At:
    """Where a query reads: a fact under an alias ("" for none), near a cube, with the dimensions that it may name."""

    fact: str
    alias: str
    cube: Cube
    dims: tuple[str, ...]

    def column(self, name: str) -> str:
        return f"{self.alias}.{name}" if self.alias else name

    @property
    def ts(self) -> str:
        return self.column("ts")


@dataclass(frozen=True)
class Value:
    """An expression with the kind of its value: text, time, exact, double or other."""

    sql: str
    kind: str


def place(pen: Pen, *, alias: bool = False) -> At:
    """A fact, a cube over it and one of its cuboids; most queries stay within the cuboid's dimensions."""
    fact = pen.rng.choice(list(SHAPES))
    cube = pen.rng.choice(pen.fleet.cubes_of(fact))
    held = cube.kept(pen.rng.choice(cube.cuboids)) if pen.maybe(0.95) else SHAPES[fact].dimensions
    return At(fact, fact[0] if alias or pen.maybe(0.2) else "", cube, held)


def key(pen: Pen, at: At) -> Value:
    """A grouping expression of dimensions."""
    name = pen.rng.choice(at.dims)
    c, d, w = at.column(name), at.column(pen.rng.choice(at.dims)), word(pen, name)
    if pen.maybe(0.6):
        return Value(c, "text")
    texts = (f"upper({c})", f"coalesce({c}, 'none')", f"{c} || '-' || {d}", f"left({c}, 2)", f"nullif({c}, {w})",
             f"split_part({c}, '-', 1)", f"concat({c}, '/', {d})", f"substring({c} FROM 1 FOR 3)",
             f"CASE WHEN {predicate(pen, at, 1)} THEN 'yes' ELSE 'no' END", f"greatest({c}, 'h')",
             f"CASE {c} WHEN {w} THEN 'it' WHEN 'x' THEN 'x' END", f"trim({c})")  # fmt: skip
    others = (f"{c} = {w}", f"length({c})", f"{c} IS NULL", f"{c} IN ({w}, 'x')")
    if pen.maybe(0.8):
        return Value(pen.tell("GROUP BY expression", pen.one(*texts)), "text")
    return Value(pen.tell("GROUP BY expression", pen.one(*others)), "other")


def bucket(pen: Pen, at: At) -> Value:
    """A grouping expression of time, mostly one that the cube's finest buckets fit."""
    ts, zone = at.ts, pen.rng.choice(ZONES)
    fine = at.cube.grains[0] if pen.maybe(0.9) else "1m"
    if pen.maybe(0.2):
        forms = (f"date_trunc('day', {ts} AT TIME ZONE '{zone}')", f"extract(dow FROM {ts} AT TIME ZONE '{zone}')",
                 f"date_trunc('day', {ts}, '{zone}')", f"({ts} AT TIME ZONE '{zone}')::date",
                 f"extract(hour FROM {ts} AT TIME ZONE '{zone}')", f"date_trunc('hour', {ts} AT TIME ZONE '{zone}')",
                 f"date_trunc('hour', {ts}, '{zone}')")  # fmt: skip
        return Value(pen.tell("AT TIME ZONE", pen.one(*forms)), "time")
    if pen.maybe(0.2):
        parts = ["day", "month", "year", "dow", "isodow", "doy", "week", "quarter"] + ["hour"] * 3 * (fine != "1d")
        part = pen.rng.choice(parts)
        return Value(pen.tell("extract", pen.one(f"extract({part} FROM {ts})", f"date_part('{part}', {ts})")), "other")
    units = ["day", "week", "month", "quarter", "year"] + ["hour"] * 5 * (fine != "1d")
    units += ["minute"] * 2 * (fine == "1m")
    if pen.maybe(0.45):
        cut = f"date_trunc('{pen.rng.choice(units)}', {ts})"
        cut = pen.one(cut, cut, cut, f"{cut} + INTERVAL '1 hour'", f"CAST({cut} AS date)")
        return Value(pen.tell("date_trunc", cut), "time")
    if pen.maybe(0.15):
        return Value(pen.tell("cast to date", pen.one(f"{ts}::date", f"CAST({ts} AS date)")), "time")
    if pen.maybe(0.1):
        day = f"to_char(date_trunc('day', {ts}), 'YYYY-MM-DD')"
        return Value(pen.tell("to_char", day), "text")
    step = int(fine[:-1]) if fine.endswith("m") else 60
    widths = (
        ["1 day", "7 days", "2 days"] if fine == "1d" else [f"{step * pen.rng.choice((1, 2, 4))} minutes", "2 hours"]
    )
    width = pen.rng.choice([*widths, "1 day", "30 minutes"])
    if pen.maybe(0.5):
        origin = pen.one("TIMESTAMP '2020-01-01'", "TIMESTAMPTZ '2021-02-03 00:30:00+00'", "'2020-02-02 12:00'")
        return Value(pen.tell("date_bin", f"date_bin('{width}', {ts}, {origin})"), "time")
    return Value(
        pen.tell("time_bucket", pen.one(f"time_bucket('{width}', {ts})", f"time_bucket(INTERVAL '{width}', {ts})")),
        "time",
    )


def aggregate(pen: Pen, at: At, *, timed: bool) -> Value:
    """An aggregate, mostly of what the cube measures; `timed` says that the length of every group is known."""
    if pen.maybe(0.12):
        name = pen.rng.choice(at.dims)
        c = at.column(name)
        forms = (f"min({c})", f"max({c})", f"count({c})", f"count(DISTINCT {c})", f"count(DISTINCT {c})")
        found = pen.one(*forms)
        kind = "text" if found.startswith("m") else "exact"
        return Value(pen.tell("COUNT(DISTINCT)", found) if "DISTINCT" in found else found, kind)
    if pen.maybe(0.15):
        return arithmetic(pen, at)
    if pen.maybe(0.02):
        number = at.column(pen.rng.choice(SHAPES[at.fact].numbers))
        return Value(pen.one(f"sum({number} * 2)", f"max({number} + 1)", f"avg(abs({number}))"), "exact")
    return measured(pen, at, pen.rng.choice(at.cube.measures), timed=timed)


def measured(pen: Pen, at: At, measure: Measure, *, timed: bool) -> Value:
    """A measure of the cube as SQL that it can answer."""
    c, p = at.column(measure.column), predicate(pen, at, 1)
    match measure.function:
        case "count" if measure.where:
            marked = qualified(at, measure.where)
            forms = (f"count(*) FILTER (WHERE {marked})", f"count(CASE WHEN {marked} THEN 1 END)")
            return Value(pen.tell("conditional count", pen.one(*forms)), "exact")
        case "count" if not measure.column:
            forms = (f"count(*) FILTER (WHERE {p})", f"sum(CASE WHEN {p} THEN 1 ELSE 0 END)")
            return Value(pen.one("count(*)", "count(1)", pen.tell("CASE or FILTER", pen.one(*forms))), "exact")
        case "rate" | "coverage" if timed:
            return Value(pen.tell(f"{measure.function}()", f"{measure.function}({c})"), "exact")
        case "time_avg" | "integral":
            return _filtered(pen, pen.tell(f"{measure.function}()", f"{measure.function}({c})"), p, "exact")
        case "last":
            return _filtered(pen, pen.tell("last()", f"last({c})"), p, "exact")
        case "quantiles":
            return percentile(pen, c, p)
        case "distinct":
            words = (f"count(DISTINCT {c})", f"approx_count_distinct({c})")
            return Value(pen.tell("COUNT(DISTINCT) by hashes", pen.one(*words)), "exact")
        case "ratio":
            ratio = f"100.0 * count(*) FILTER (WHERE {p}) / NULLIF(count(*), 0)"
            return Value(pen.tell("ratio", ratio), "exact")
        case "stddev" | "var_pop":
            word = pen.one("stddev", "stddev_pop", "stddev_samp", "variance", "var_pop", "var_samp")
            return _filtered(pen, pen.tell("stddev and variance", f"{word}({c})"), p, "double")
        case "sum" | "avg" | "min" | "max" | "count":
            word = measure.function
            if pen.maybe(0.2):
                same = [at.column(one.column) for one in at.cube.measures if one.function == word and one.column]
                other = pen.one("", "", " ELSE 0", f" ELSE {pen.rng.choice(same)}")
                return Value(pen.tell("CASE or FILTER", f"{word}(CASE WHEN {p} THEN {c}{other} END)"), "exact")
            return _filtered(pen, f"{word}({c})", p, "exact")
    return Value("count(*)", "exact")


def percentile(pen: Pen, c: str, p: str) -> Value:
    """One in any of the forms that there are."""
    share = pen.one("0.5", "0.9", "0.95", "0.99", "0.25")
    if pen.maybe(0.3):
        return _filtered(pen, pen.tell("approx_percentile", f"approx_percentile({c}, {share})"), p, "double")
    word = pen.one("percentile_cont", "percentile_disc")
    return _filtered(pen, pen.tell(f"{word} WITHIN GROUP", f"{word}({share}) WITHIN GROUP (ORDER BY {c})"), p, "double")


def arithmetic(pen: Pen, at: At) -> Value:
    """An expression of several aggregates."""
    names = [at.column(one.column) for one in at.cube.measures if one.function in ("sum", "avg") and one.column]
    a, b = pen.rng.choice(names), pen.rng.choice(names)
    forms = (f"sum({a}) / NULLIF(count(*), 0)", f"sum({a}) / NULLIF(sum({b}), 0)", f"round(avg({a}), 2)",
             f"coalesce(sum({a}), 0)", f"sum({a}) - sum({b})", f"greatest(sum({a}), sum({b}))",
             f"abs(coalesce(avg({a}), -1))", f"sum({a}) * 1.5 + count({b})", f"floor(sum({a}) / 10)",
             f"1.0 * count({a}) / NULLIF(count(*), 0)", f"100 * count({a}) / NULLIF(count(*), 0)",
             f"CAST(sum({a}) AS numeric) / NULLIF(count({b}), 0)")  # fmt: skip
    if pen.maybe(0.15):
        return Value(pen.tell("CASE over aggregates", "CASE WHEN count(*) > 5 THEN 'many' ELSE 'few' END"), "text")
    return Value(pen.tell("ratio", pen.one(*forms)), "exact")


def _filtered(pen: Pen, aggregate: str, condition: str, kind: str) -> Value:
    if pen.maybe(0.15):
        return Value(pen.tell("CASE or FILTER", f"{aggregate} FILTER (WHERE {condition})"), kind)
    return Value(aggregate, kind)


def qualified(at: At, text: str) -> str:
    """A definition's predicate with its columns under the alias."""
    shape = SHAPES[at.fact]
    names = "|".join((*shape.dimensions, *shape.numbers))
    return re.sub(rf"\b({names})\b(?!')", lambda found: at.column(found[1]), text)


def word(pen: Pen, name: str) -> str:
    """A value of a dimension as a literal; now and then one that no row has."""
    found = pen.rng.choice((*WORDS.get(name, ("1", "A", "low")), "no one"))
    return "'" + found.replace("'", "''") + "'"


def predicate(pen: Pen, at: At, depth: int) -> str:
    """A condition over dimensions, or a tree of them."""
    if depth and pen.maybe(0.3):
        a, b = predicate(pen, at, depth - 1), predicate(pen, at, depth - 1)
        forms = (f"({a} OR {b})", f"({a} AND {b})", f"NOT ({a} AND {b})", f"({a} OR NOT {b})")
        case = f"CASE WHEN {a} THEN {b} ELSE {a} END"
        return pen.tell("AND/OR trees", pen.one(*forms)) if pen.maybe(0.85) else pen.tell("CASE as condition", case)
    name = pen.rng.choice(at.dims)
    c, w, v, d = at.column(name), word(pen, name), word(pen, name), at.column(pen.rng.choice(at.dims))
    forms = {
        "comparison": (f"{c} = {w}", f"{c} <> {w}", f"{c} != {w}", f"{c} >= {w}", f"{w} = {c}", f"{c} = {d}"),
        "IN": (f"{c} IN ({w}, {v})", f"{c} NOT IN ({w}, {v})", f"{c} IN ({w})", f"NOT {c} IN ({w}, {v}, NULL)"),
        "LIKE": (f"{c} LIKE '%{w[1:-1]}%'", f"{c} NOT LIKE '_s%'", f"{c} ILIKE 'L%'", f"{c} LIKE 'qwen\\_2'"),
        "BETWEEN": (f"{c} BETWEEN 'a' AND 'm'", f"{c} NOT BETWEEN 'e' AND {w}"),
        "IS NULL": (f"{c} IS NULL", f"{c} IS NOT NULL", f"NOT {c} IS NULL"),
        "IS DISTINCT FROM": (f"{c} IS DISTINCT FROM {w}", f"{c} IS NOT DISTINCT FROM {w}"),
        "function in a condition": (f"upper({c}) = upper({w})", f"coalesce({c}, '') <> ''", f"length({c}) > 3"),
        "IS TRUE": (f"({c} = {w}) IS TRUE", f"({c} = {w}) IS NOT TRUE", f"({c} = {w}) IS NULL"),
        "regular expression": (f"{c} ~ '^[a-l]'", f"{c} ~* 'S'"),
    }
    production = pen.rng.choice(list(forms))
    return pen.tell(production, pen.one(*forms[production]))


def moment(pen: Pen) -> datetime:
    """A time of the fleet's, or a little outside: on bounds of buckets or off them."""
    fleet = pen.fleet
    hours = int((fleet.end - fleet.start).total_seconds() // 3600)
    at = fleet.start + timedelta(hours=pen.rng.randrange(-2, hours + 3))
    steps = (
        timedelta(0),
        timedelta(0),
        timedelta(minutes=pen.rng.choice((5, 15, 30))),
        timedelta(minutes=17, seconds=3),
    )
    at += pen.rng.choice((*steps, timedelta(microseconds=1)))
    return at.replace(hour=0, minute=0, second=0, microsecond=0) if pen.maybe(0.3) else at


def instant(pen: Pen, at: datetime) -> str:
    """A time as tools write it."""
    text = at.strftime("%Y-%m-%d %H:%M:%S") + (f".{at.microsecond:06d}" if at.microsecond else "")
    east = (at + timedelta(hours=2)).strftime("%Y-%m-%d %H:%M:%S") + (
        f".{at.microsecond:06d}" if at.microsecond else ""
    )
    forms = {
        "time as text": (f"'{text}'", f"'{text}+00'", f"'{text.replace(' ', 'T')}Z'"),
        "time as TIMESTAMP": (f"TIMESTAMP '{text}'", f"TIMESTAMPTZ '{east}+02'", f"CAST('{text}' AS timestamp)"),
        "time by intervals": (f"TIMESTAMP '{text}' + INTERVAL '1 hour'", f"TIMESTAMPTZ '{text}Z' - INTERVAL '90 min'",
                              f"'{text}'::timestamptz - INTERVAL '1' DAY"),
        "time by date_trunc": (f"date_trunc('hour', TIMESTAMP '{text}')", f"DATE '{text[:10]}'"),
        "now()": ("now() - INTERVAL '1 day'", f"now() - INTERVAL '{pen.rng.randrange(60)} hours'"),
        "to_timestamp": (f"to_timestamp({int(at.timestamp())})",),
    }  # fmt: skip
    production = pen.rng.choice(("time as text", "time as TIMESTAMP", *forms))
    return pen.tell(production, pen.one(*forms[production]))


def time_range(pen: Pen, at: At) -> tuple[list[str], bool]:
    """Conditions on ts in any of the forms that tools write, and whether both ends are set as plain bounds."""
    low, high = sorted((moment(pen), moment(pen)))
    if high - low < timedelta(hours=5) and pen.maybe(0.7):
        low, high = pen.fleet.start, pen.fleet.end
    if pen.maybe(0.2):
        return [], False
    ts = at.ts
    if pen.maybe(0.1):
        texts = (instant(pen, low), instant(pen, high))
        return [pen.tell("time BETWEEN", f"{ts} BETWEEN {texts[0]} AND {texts[1]}")], True
    if pen.maybe(0.06):
        day = low.strftime("%Y-%m-%d")
        forms = (f"{ts}::date = DATE '{day}'", f"date_trunc('day', {ts}) = '{day}'", f"extract(hour FROM {ts}) < 12",
                 f"{ts}::date >= DATE '{day}'", f"({ts} < {instant(pen, low)} OR {ts} >= {instant(pen, high)})",
                 f"NOT {ts} < {instant(pen, low)}", f"extract(isodow FROM {ts} AT TIME ZONE 'Europe/Berlin') < 6",
                 f"date_trunc('month', {ts}) <= TIMESTAMP '{day}'")  # fmt: skip
        return [pen.tell("time by expression", pen.one(*forms))], False
    found = []
    ends = pen.rng.choice(("both", "both", "both", "low", "high"))
    clock = f"{ts} AT TIME ZONE 'UTC'" if pen.maybe(0.08) else ts
    if ends != "high":
        found.append(
            pen.one(
                f"{clock} >= {instant(pen, low)}", f"{clock} > {instant(pen, low)}", f"{instant(pen, low)} <= {clock}"
            )
        )
    if ends != "low":
        found.append(
            pen.one(
                f"{clock} < {instant(pen, high)}", f"{clock} <= {instant(pen, high)}", f"{instant(pen, high)} > {clock}"
            )
        )
    pen.tell("time range", "")
    return found, ends == "both"
