"""Random cubes for hypothesis: definitions of every kind of measure, grain and dimension, and rows to fill them.

Rows come from a seeded generator, so that an example is a short text: a definition, and what is done in which order.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import yaml
from hypothesis import strategies as st
from valueoracle import Form

GRAINS = ("5s", "15s", "30s", "1m", "5m", "15m", "30m", "1h", "1d", "1w", "1mo")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# The turn of a year, a leap day, a change of clocks, and the first month that is taken.
_ANCHORS = [datetime(*day, tzinfo=UTC) for day in ((2025, 12, 31), (2024, 2, 29), (2026, 3, 29), (2000, 1, 1))]
_SPANS_S = (3, 90, 4000, 86_400, 5 * 86_400, 40 * 86_400)
_HARDWARE, _MODELS = ("h100", "mi300", "l4", "no-such"), ("qwen", "llama", "it's")
_SITES, _PEOPLE = ("eu", "us"), tuple(f"u-{number}é" for number in range(40))


@dataclass(frozen=True)
class Source:
    """What a cube over a fact may be made of: texts to group by, numbers to measure (name -> decimals), texts to count;
    values that a predicate may compare with; the names of dimensions that may be changed.
    """

    dimensions: tuple[str, ...]
    numbers: Mapping[str, int]
    counted: tuple[str, ...]
    compared: Mapping[str, tuple[Any, ...]]
    renamed: Mapping[str, tuple[str, ...]]


SOURCES = {
    "samples": Source(
        ("metric", "site", "host", "hardware"),
        {"value": 9, "interval_s": 3},
        ("pod", "host", "device"),
        {"site": _SITES, "host": ("a", "b", "no"), "value": (-4, 0, 2, Decimal("0.5")), "interval_s": (15, 60)},
        {"host": ("a", "b", "c"), "site": _SITES, "hardware": _HARDWARE},
    ),
    "requests": Source(
        ("status", "site", "hardware", "model", "model_version", "tenant"),
        {"prompt_tokens": 0, "output_tokens": 0, "queue_ms": 6, "e2e_ms": 6},
        ("user_hash", "tenant", "prompt_tokens"),
        {"site": _SITES, "status": ("ok", "error", "no"), "e2e_ms": (0, 100, Decimal("0.5")), "prompt_tokens": (0, 7)},
        {"model": _MODELS, "tenant": ("a", "b", "c"), "site": _SITES},
    ),
}
_PLAIN = ("sum", "min", "max", "avg", "rate", "last", "variance", "var_pop", "var_samp", "stddev", "stddev_pop",
          "stddev_samp")  # fmt: skip
_WEIGHED = ("time_avg", "integral", "coverage")
_JOINS = {"hardware": ("vendor", "memory_gib"), "models": ("family", "layers")}
_KEYS = {"hardware": ("hardware",), "models": ("model", "model_version"), "bounds": ("bounds_id",)}
# Sets of bounds of histograms; a set may be unknown for a while, or said otherwise. Base-2 sets need no lookup.
_BOUNDS = {"coarse": ("0.1", "1", "10"), "signed": ("-8", "-0.5", "0", "3"), "from zero": ("0", "5", "7.5")}
_OTHERWISE = {"coarse": ("0.25", "1", "10")}
_BASE2 = ("base2:0:-3", "base2:3:-10", "base2:9:-700", "base2:5:-4:-6:3", "base2:-2:0")
_AGES = (10, 45, 100, 400, 4000)


def _predicates(source: Source) -> st.SearchStrategy[Any]:
    def leaf(column: str) -> st.SearchStrategy[Any]:
        known = source.compared[column]
        signs = ("=", "<>") if isinstance(known[0], str) else ("=", "<>", "<", "<=", ">", ">=")
        return st.one_of(
            st.tuples(st.sampled_from(signs), st.just(column), st.sampled_from(known)),
            st.tuples(st.just("in"), st.just(column), st.just(known[:2])),
            st.tuples(st.just("null"), st.just(column)),
        )

    return st.recursive(
        st.sampled_from(sorted(source.compared)).flatmap(leaf),
        lambda inner: st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(("and", "or")), inner, inner),
        max_leaves=3,
    )


def predicate_text(predicate: Any) -> str:
    """The predicate as SQL."""

    def constant(value: Any) -> str:
        return f"'{value}'" if isinstance(value, str) else str(value)

    match predicate:
        case ("and" | "or" as word, one, two):
            return f"({predicate_text(one)}) {word.upper()} ({predicate_text(two)})"
        case ("not", one):
            return f"NOT ({predicate_text(one)})"
        case ("null", column):
            return f"{column} IS NULL"
        case ("in", column, constants):
            return f"{column} IN ({', '.join(map(constant, constants))})"
    return f"{predicate[1]} {predicate[0]} {constant(predicate[2])}"


@st.composite
def definitions(draw: st.DrawFn) -> Form:
    """A valid definition."""
    fact = draw(st.sampled_from(sorted(SOURCES)))
    source = SOURCES[fact]
    first = source.dimensions[:1]
    others = draw(st.lists(st.sampled_from(source.dimensions[1:]), unique=True, max_size=3))
    dimensions = (*first, *others)
    joins = _joins(draw, dimensions)
    banded = [*source.numbers, "labels.size", *(["hardware.memory_gib"] if "hardware" in dimensions else [])]
    edges = st.lists(st.sampled_from((-1, 0, 1, Decimal("2.5"), 15, 80, 1000)), unique=True, min_size=1, max_size=3)
    bands = tuple(
        (f"band{place}", column, tuple(str(edge) for edge in sorted(draw(edges))))
        for place, column in enumerate(draw(st.lists(st.sampled_from(banded), unique=True, max_size=1)))
    )
    names = (*dimensions, *(one for _, one, _ in joins), *(one for one, _, _ in bands))
    subsets = st.lists(st.sampled_from(names[1:]), unique=True, max_size=2) if names[1:] else st.just([])
    grains = _grains(draw)
    measures, predicates = _measures(draw, source, grains, list(names))
    looked_up = {name: _KEYS[lookup] for lookup, name, _ in joins}
    looked_up |= {name: _KEYS["hardware"] for name, column, _ in bands if column.startswith("hardware.")}
    return _accepted(
        Form(
            fact=fact,
            grains=grains,
            week_starts=draw(st.sampled_from(_DAYS)) if "1w" in grains else "monday",
            dimensions=dimensions,
            joins=joins,
            bands=bands,
            # Values of different metrics are never added up: the first dimension stays.
            cuboids=tuple((*first, *chosen) for chosen in draw(st.lists(subsets, max_size=2))),
            groups=_groups(draw, names),
            measures=measures,
            # A cube that holds but some rows keeps those of all others from ever being deleted.
            where=draw(st.none() | st.none() | _predicates(source)),
            predicates=predicates,
            keep=_keep(draw, grains),
            age_out=_age_out(draw, names, looked_up),
        )
    )


def _joins(draw: st.DrawFn, dimensions: Sequence[str]) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (lookup, f"{column}_of", column)
        for lookup, columns in _JOINS.items()
        if set(_KEYS[lookup]) <= set(dimensions)
        for column in draw(st.lists(st.sampled_from(columns), unique=True, max_size=2))
    )


def _keep(draw: st.DrawFn, grains: Sequence[str]) -> dict[str, int]:
    """Ages of some grains, a coarser one's no less than a finer one's."""
    kept = [grain for grain in grains if draw(st.booleans())]
    ages = sorted(draw(st.lists(st.sampled_from(_AGES), min_size=len(kept), max_size=len(kept))))
    return dict(zip(kept, ages, strict=True))


def _age_out(draw: st.DrawFn, names: Sequence[str], looked_up: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Ages of some dimensions: not of the first, and what is looked up goes with what it is looked up by."""
    aged = draw(st.lists(st.sampled_from(names[1:]), unique=True, max_size=2)) if names[1:] else []
    found = {name: draw(st.sampled_from(_AGES)) for name in aged}
    for name, keys in looked_up.items():
        if ages := [found[key] for key in keys if key in found]:
            found[name] = min(ages)
    return found


def _accepted(form: Form) -> Form:
    """The form without a `without` that would leave no cuboid, which is refused."""
    kept = form.kept()
    for measure in form.measures.values():
        if all(set(measure.get("without", [])) & set(cuboid) for cuboid in kept):
            measure.pop("without", None)
    return form


def _grains(draw: st.DrawFn) -> tuple[str, ...]:
    chosen = set(draw(st.lists(st.sampled_from(GRAINS), unique=True, min_size=1, max_size=3)))
    if chosen & {"1w", "1mo"}:
        chosen.add("1d")
    return tuple(grain for grain in GRAINS if grain in chosen)


def _groups(draw: st.DrawFn, names: Sequence[str]) -> tuple[Mapping[str, Any], ...]:
    """At most one group, of at most four dimensions: a hierarchy, a joint, or all of them free."""
    free = draw(st.lists(st.sampled_from(names[1:]), unique=True, max_size=3)) if names[1:] else []
    if not free or draw(st.booleans()):
        return ()
    group: dict[str, Any] = {"include": [names[0], *free], "mandatory": [names[0]]}
    kind = draw(st.sampled_from(("free", "hierarchies", "joints")))
    if kind != "free" and len(free) > 1:
        group[kind] = [free[:2]]
    if draw(st.booleans()):
        group["max_dimensions"] = draw(st.integers(1, 3))
    return (group,)


def _measures(
    draw: st.DrawFn, source: Source, grains: tuple[str, ...], names: list[str]
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    weighed = _WEIGHED if "interval_s" in source.numbers else ()
    plain = st.tuples(st.sampled_from((*_PLAIN, *weighed, "count")), st.sampled_from(sorted(source.numbers)))
    measures: dict[str, dict[str, Any]] = {"rows": {"count": "*"}}
    for place, (function, column) in enumerate(draw(st.lists(plain, max_size=5, unique=True))):
        measures[f"m{place}"] = {function: column}
    predicates: dict[str, Any] = {}
    if draw(st.booleans()):
        predicates["some"] = draw(_predicates(source))
        measures["some"] = {"count": {"where": predicate_text(predicates["some"])}}
    added = [name for name, one in measures.items() if set(one) & {"count", "sum", "integral"}]
    if draw(st.booleans()):
        measures["share"] = {"ratio": {part: draw(st.sampled_from(added)) for part in ("of", "over")}}
    at = [grain for grain in grains if grain not in ("1w", "1mo")]
    measured = [*sorted(source.numbers), *(["counts"] if weighed else [])]
    for kind, columns in (("quantiles", measured), ("distinct", source.counted)):
        for place, column in enumerate(draw(st.lists(st.sampled_from(columns), unique=True, max_size=1))):
            first = grains.index(draw(st.sampled_from(at)))
            left_out = draw(st.lists(st.sampled_from(names[1:]), max_size=1)) if names[1:] and len(names) > 2 else []
            measures[f"{kind}{place}"] = {kind: column, "grains": list(grains[first:]), "without": left_out}
            if kind == "distinct":
                measures[f"{kind}{place}"]["exact_to"] = draw(st.sampled_from((16, 17, 1024)))
    return measures, predicates


def definition_text(form: Form) -> str:
    """The definition as YAML."""
    content: dict[str, Any] = {"cube": "made", "fact": form.fact, "grains": list(form.grains)}
    if form.week_starts != "monday":
        content["week_starts"] = form.week_starts
    content["dimensions"] = list(form.dimensions)
    for lookup, name, column in form.joins:
        content.setdefault("joins", {}).setdefault(lookup, {})[name] = column
    for name, column, edges in form.bands:
        numbers = [float(edge) if "." in edge else int(edge) for edge in edges]
        content.setdefault("bands", {})[name] = {"column": column, "edges": numbers}
    content["cuboids"] = [list(names) for names in form.cuboids]
    content["groups"] = [dict(group) for group in form.groups]
    if form.where is not None:
        content["where"] = predicate_text(form.where)
    content["measures"] = {name: dict(measure) for name, measure in form.measures.items()}
    for field in ("keep", "age_out"):
        content |= {field: {name: f"{days}d" for name, days in ages.items()}} if (ages := getattr(form, field)) else {}
    return yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False, allow_unicode=True)


def _decimal(rng: random.Random, places: int, *, negative: bool) -> Decimal:
    least = Decimal(1).scaleb(-places)
    kinds = (Decimal(0), least, Decimal(2), Decimal(15), Decimal(10) ** rng.choice((3, 7)))
    value = rng.choice((*kinds, *[Decimal(rng.randrange(10 ** (places + 4))).scaleb(-places)] * 6))
    return -value if negative and rng.random() < 0.3 else value


def rows(seed: int, count: int, fact: str) -> list[dict[str, Any]]:
    """Typed rows of the fact, without their identity: out of order, with nulls and with times on bounds of buckets."""
    rng = random.Random(seed)
    anchor, span = random.Random(seed // 16).choice(_ANCHORS), rng.choice(_SPANS_S)
    made = []
    for _ in range(count):
        ts = anchor + timedelta(microseconds=rng.randrange(span * 10**6))
        if rng.random() < 0.2:
            ts = ts.replace(microsecond=0, second=rng.choice((0, 5, 15, 30)), minute=rng.choice((0, 5, 30)))
        if rng.random() < 0.1:
            ts = ts.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(microseconds=rng.randrange(2))
        ts = max(ts, _ANCHORS[-1])
        labels = rng.choice((None, {}, {"size": rng.choice(("-1", "0.999999999", "80", "big", "2.5"))}))
        made.append({"ts": ts, "labels": labels, **(_sample if fact == "samples" else _request)(rng)})
    return made


def _sample(rng: random.Random) -> dict[str, Any]:
    histogram = rng.random() < 0.2  # the one kind of sample that may have no value
    value = None if histogram and rng.random() < 0.7 else _decimal(rng, 9, negative=True)
    bounds_id = rng.choice((*_BOUNDS, *_BASE2, "made")) if histogram else None
    length = len(_BOUNDS[bounds_id]) + 1 if bounds_id in _BOUNDS else rng.randrange(5, 9)
    return {
        "metric": "llm.request.duration" if histogram else rng.choice(("made.one", "made.two")),
        "value": value if value is None or rng.random() > 0.02 else Decimal("700000000000000.5"),
        "counts": [rng.choice((0, 0, 1, 2, 7)) for _ in range(length)] if histogram else None,
        "bounds_id": bounds_id,
        "interval_s": rng.choice((None, Decimal("0.001"), Decimal("0.5"), Decimal(15), Decimal(60), Decimal("59.999"))),
        "site": rng.choice((*_SITES, None)),
        "host": rng.choice(("a", "b", "c", None)),
        "device": rng.choice((None, "gpu0", "")),
        "hardware": rng.choice((*_HARDWARE, None)),
        "pod": rng.choice((None, *_PEOPLE)),
    }


def _request(rng: random.Random) -> dict[str, Any]:
    return {
        "status": rng.choice(("ok", "ok", "error", "timeout")),
        "site": rng.choice((*_SITES, None)),
        "hardware": rng.choice((*_HARDWARE, None)),
        "model": rng.choice((*_MODELS, None)),
        "model_version": rng.choice(("1", "2", None)),
        "tenant": rng.choice(("a", "b", "c", None)),
        "user_hash": rng.choice((None, *_PEOPLE)),
        "prompt_tokens": rng.choice((None, 0, 1, rng.randrange(10_000), 10**8)),
        "output_tokens": rng.choice((None, rng.randrange(1000))),
        "queue_ms": rng.choice((None, *[_decimal(rng, 6, negative=False)] * 3)),
        "e2e_ms": rng.choice((None, *[_decimal(rng, 6, negative=False)] * 3)),
    }


def lookup_rows(name: str, version: int) -> list[dict[str, Any]]:
    """A version of a lookup, typed, with its key: rows that follow each other within the anchors' days and before."""
    rng = random.Random(version)
    if name == "bounds":
        said = {one: _OTHERWISE.get(one, _BOUNDS[one]) if rng.random() < 0.2 else _BOUNDS[one] for one in _BOUNDS}
        known = [one for one in said if rng.random() < 0.7]
        return [{"bounds_id": one, "bounds": list(said[one]), "key": _KEYS[name]} for one in known]
    found = []
    keys = [(one,) for one in _HARDWARE[:3]]
    if name == "models":
        keys = [(model, number) for model in _MODELS for number in ("1", "2")]
    for key in keys:
        if rng.random() < 0.2:
            continue
        turns = sorted(rng.sample([at + timedelta(hours=12, seconds=rng.randrange(99)) for at in _ANCHORS], 2))
        for start, end in rng.choice(([(None, None)], [(None, turns[0])], [(None, turns[0]), (turns[0], turns[1])],
                                      [(turns[0], None), (turns[1], None)])):  # fmt: skip
            row = dict(zip(_KEYS[name], key, strict=True)) | {"valid_from": start, "valid_to": end}
            if name == "hardware":
                row |= {
                    "vendor": rng.choice(("A", "B")),
                    "memory_gib": rng.choice((None, Decimal(15), Decimal("80.5"))),
                }
            else:
                row |= {"family": rng.choice(("f", "g", None)), "layers": rng.choice((None, 12, 80))}
            found.append({**row, "key": _KEYS[name]})
    return found
