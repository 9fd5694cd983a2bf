"""Random fleets: by one seed a lake of three facts in a random life, and random cubes over it, for random queries.

Rows have nulls, constant and empty columns, times on the bounds of buckets; they come in several batches, and each cube
is built after some of them, so that some know less than others; in some lives rows have expired since. `whole` is the
same lake without that loss: what raw rows say there is what cubes must still say.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from sqllake import MAKERS, add_rows

from cubes.build import build
from cubes.compact import compact_cube
from cubes.load import load_cubes
from cubes.model import Cube
from cubes.session import Answer, Session
from fleetcube.retire import retire
from lake.duck import Duck, connect
from lake.lookup_store import publish_lookup
from lake.lookups import load_lookups
from lake.retention_rules import RetentionRules
from lake.settings import Settings

GRAINS: Final = ("1m", "5m", "15m", "30m", "1h", "1d", "1w", "1mo")
# A leap day, the turn of a year, both changes of clocks.
_ANCHORS: Final = tuple(
    datetime(*day, tzinfo=UTC) for day in ((2024, 2, 27), (2025, 12, 29), (2026, 3, 27), (2026, 10, 22))
)
_SPANS_H: Final = (30, 52, 90, 130, 300)


@dataclass(frozen=True)
class Shape:
    """What a fact's cubes and queries are made of: dimensions (those that every cuboid keeps first), numbers, texts."""

    kept: tuple[str, ...]
    dimensions: tuple[str, ...]
    numbers: tuple[str, ...]
    counted: tuple[str, ...]


SHAPES: Final[Mapping[str, Shape]] = {
    "requests": Shape(
        (),
        ("site", "cluster", "service", "model", "model_version", "hardware", "tenant", "status", "client_type"),
        ("prompt_tokens", "output_tokens", "e2e_ms", "queue_ms", "ttft_ms", "gpu_ms"),
        ("user_hash", "endpoint"),
    ),
    "samples": Shape(
        ("metric",),
        ("metric", "site", "cluster", "host", "device", "hardware"),
        ("value", "interval_s"),
        ("host", "device"),
    ),
    "evaluations": Shape(
        ("metric",),
        ("metric", "model", "model_version", "task", "run", "model_size", "hardware"),
        ("value", "n"),
        ("run", "round"),
    ),
}
WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "site": ("eu", "us", "nowhere"),
    "cluster": ("eu-0", "us-1", "c0"),
    "service": ("chat", "image"),
    "model": ("llama-3", "qwen_2", "it's"),
    "model_version": ("1", "2"),
    "hardware": ("h100", "l40s"),
    "tenant": ("a", "b", "nobody"),
    "status": ("ok", "error", "timeout"),
    "client_type": ("sdk",),
    "metric": ("gpu.power", "gpu.utilization", "accuracy"),
    "host": ("host-0", "host-3"),
    "device": ("gpu0", "gpu1"),
    "task": ("math", "code"),
    "run": ("run-0", "run-2"),
    "model_size": ("7b", "70b"),
}
_PREDICATES: Final = {
    "requests": ("status <> 'ok'", "site = 'eu'", "e2e_ms > 100", "model IS NOT NULL"),
    "samples": ("value > 0", "site = 'eu'", "hardware <> 'h100'"),
    "evaluations": ("task = 'math'", "model_version = '1'"),
}


@dataclass
class Fleet:
    """A lake, its twin that nothing has expired from, its cubes, and a session over each."""

    seed: int
    settings: Settings
    whole: Settings
    cubes: tuple[Cube, ...]
    start: datetime
    end: datetime
    expired: bool
    session: Session
    truth: Session

    def routed(self, sql: str, *, fresh: bool = False) -> Answer:
        """The router's answer."""
        return self.session.query(sql, fresh=fresh)

    def exact(self, sql: str, *, fresh: bool = False) -> Answer:
        """What the rows say, all of them, at the versions of the router's answer."""
        return self.truth.query(sql, raw=True, fresh=fresh)

    def cubes_of(self, fact: str) -> list[Cube]:
        return [cube for cube in self.cubes if cube.fact == fact]

    def again(self, **changed: Any) -> Session:
        """Another session over the same lake, with other settings."""
        return Session(replace(self.settings, **changed), cubes=self.cubes, clock=lambda: self.end)


@dataclass(frozen=True)
class Life:
    """What a seed decides: definitions, batches of rows by fact, the last batch of each cube, and days kept."""

    cubes: tuple[Cube, ...]
    batches: tuple[Mapping[str, Sequence[dict[str, Any]]], ...]
    upto: Mapping[str, int]
    start: datetime
    end: datetime
    keep_days: int
    compact: bool


def life_of(seed: int, folder: Path) -> Life:
    """The life of a seed; the definitions are written into the folder."""
    rng = random.Random(seed)
    start, span_h = rng.choice(_ANCHORS), rng.choice(_SPANS_H)
    end = start + timedelta(hours=span_h)
    texts = [(fact, place) for fact in SHAPES for place in range(rng.choice((1, 1, 2)))]
    definitions = folder / "definitions"
    definitions.mkdir(parents=True)
    for fact, place in texts:
        name = f"{fact}{place}"
        (definitions / f"{name}.yaml").write_text(yaml.safe_dump(_definition(rng, name, fact), sort_keys=False))
    known = load_cubes(definitions)
    cubes = tuple(known[f"{fact}{place}"] for fact, place in texts)
    settled = {fact: _settled(rng, fact) for fact in SHAPES}
    sizes = [rng.choice((40, 150, 300)) for _ in range(3)]
    batches = tuple(
        {fact: [_row(rng, fact, start, span_h, settled[fact]) for _ in range(size)] for fact in SHAPES}
        for size in sizes
    )
    keep_days = max(1, span_h // 48) if rng.random() < 0.3 else 0
    # Rows expire only when every cube holds them.
    upto = {cube.name: 3 if keep_days else rng.choice((2, 3, 3)) for cube in cubes}
    return Life(cubes, batches, upto, start, end, keep_days, rng.random() < 0.3)


@contextmanager
def fleet(seed: int, folder: Path, *, shuffled: bool = False, engine: str = "duckdb") -> Iterator[Fleet]:
    """The fleet of a seed, made in a folder; `shuffled` cuts the same rows into other files in another order."""
    life = life_of(seed, folder)
    settings = Settings(lake=folder / "lake", memory_mib=512, threads=1, engine=engine, spark_master="local[2]")
    settings.lake.mkdir()
    live(settings, life, random.Random(seed) if shuffled else None)
    whole, gone = settings, False
    if life.keep_days:
        whole = replace(settings, lake=folder / "whole")
        shutil.copytree(settings.lake, whole.lake)
        gone = expire(settings, life)
    made = [Session(one, cubes=life.cubes, clock=lambda: life.end) for one in (settings, whole)]
    try:
        yield Fleet(seed, settings, whole, life.cubes, life.start, life.end, gone, *made)
    finally:
        for session in made:
            session.close()


def live(settings: Settings, life: Life, shuffle: random.Random | None) -> None:
    """Publish the batches, building each cube after those that it knows. Rows may come in another order of files."""
    duck = connect(settings)
    for name in ("hardware", "models"):
        publish_lookup(settings.lake, duck, name, _lookup(name, life.start))
    for number, batch in enumerate(life.batches, 1):
        for fact, made in batch.items():
            _publish(duck, settings, fact, made, number, shuffle)
        for cube in life.cubes:
            if life.upto[cube.name] >= number and (number > 1 or shuffle is None):
                build(settings, duck, cube)
    if life.compact and shuffle is None:
        for cube in life.cubes:
            compact_cube(settings, duck, cube, whole=True)
    duck.connection.close()


def _publish(
    duck: Duck,
    settings: Settings,
    fact: str,
    made: Sequence[dict[str, Any]],
    number: int,
    shuffle: random.Random | None,
) -> None:
    """A batch in one commit, or the same rows shuffled and in two."""
    rows = list(made)
    if shuffle is None:
        return add_rows(duck, settings, fact, rows, 2 * number)
    shuffle.shuffle(rows)
    cut = shuffle.randrange(1, len(rows))
    add_rows(duck, settings, fact, rows[:cut], 2 * number - 1)
    return add_rows(duck, settings, fact, rows[cut:], 2 * number)


def expire(settings: Settings, life: Life) -> bool:
    """Let retention delete the rows that every cube holds; whether there are any."""
    duck = connect(settings)
    facts = {fact: {"keep": f"{life.keep_days}d"} for fact in SHAPES}
    rules = RetentionRules.model_validate({"landing": "7d", "quarantine": "90d", "facts": facts})
    done = retire(settings, duck, rules, life.cubes, life.end)
    duck.connection.close()
    return any(not one.kept for one in done)


def _settled(rng: random.Random, fact: str) -> dict[str, Any]:
    """Columns that are the same in all rows: a constant, or null."""
    free = [name for name in SHAPES[fact].dimensions if name != "metric"]
    found = {name: rng.choice((None, WORDS[name][0])) for name in rng.sample(free, rng.choice((0, 1, 1, 2)))}
    if rng.random() < 0.2:
        found[rng.choice([name for name in SHAPES[fact].numbers if name != "value"])] = None
    return found


def _row(rng: random.Random, fact: str, start: datetime, span_h: int, settled: Mapping[str, Any]) -> dict[str, Any]:
    ts = start + timedelta(microseconds=rng.randrange(span_h * 3600 * 10**6))
    if rng.random() < 0.15:
        ts = ts.replace(minute=rng.choice((0, 5, 30)), second=0, microsecond=0)
    if rng.random() < 0.05:
        ts = max(
            start, ts.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(microseconds=rng.randrange(2))
        )
    return {**MAKERS[fact](rng), **settled, "ts": ts}


def _lookup(name: str, start: datetime) -> list[tuple[str | None, ...]]:
    """Rows of a lookup; one kind changes its row at a midnight within the fleet's time."""
    turn = (start + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
    if name == "hardware":
        made = [{"hardware": "h100", "vendor": "A", "memory_gib": "80", "valid_to": turn},
                {"hardware": "h100", "vendor": "B", "memory_gib": "96", "valid_from": turn},
                {"hardware": "mi300", "vendor": "C"}]  # fmt: skip
    else:
        made = [{"model": model, "model_version": "1", "family": family, "layers": layers}
                for model, family, layers in (("llama-3", "f", "80"), ("qwen_2", "g", None))]  # fmt: skip
    return [tuple(row.get(column.name) for column in load_lookups()[name].columns) for row in made]


def _definition(rng: random.Random, name: str, fact: str) -> dict[str, Any]:
    """A valid definition, as the document that its YAML holds."""
    shape = SHAPES[fact]
    grains = {rng.choice(GRAINS[:4]), "1h", "1d"} - {rng.choice(("", "1h", "1d"))}
    grains |= {"1d", rng.choice(("1w", "1mo"))} if rng.random() < 0.3 else set()
    kept = [grain for grain in GRAINS if grain in grains]
    free = [one for one in shape.dimensions if one not in shape.kept]
    dims = [*shape.kept, *rng.sample(free, min(len(free), rng.choice((3, 4, 5))))]
    made: dict[str, Any] = {"cube": name, "fact": fact, "grains": kept, "dimensions": dims}
    named = list(dims)
    if "hardware" in dims and rng.random() < 0.6:
        made["joins"] = {"hardware": {"maker": "vendor"}}
        named.append("maker")
    if rng.random() < 0.4:
        made["bands"] = {f"level_{name}": {"column": rng.choice(shape.numbers), "edges": [0, 10, 1000]}}
        named.append(f"level_{name}")
    others = [one for one in named if one not in shape.kept]
    made["cuboids"] = [
        [*shape.kept, *rng.sample(others, min(len(others), size))] for size in {0, rng.choice((1, 2)), 3}
    ]
    made["cuboids"] = [names for names in made["cuboids"] if names] or [others[:1]]
    if rng.random() < 0.15:
        made["where"] = rng.choice(_PREDICATES[fact])
    made["measures"] = _measures(rng, fact, kept)
    return made


def _measures(rng: random.Random, fact: str, grains: Sequence[str]) -> dict[str, Any]:
    shape = SHAPES[fact]
    found: dict[str, Any] = {"all_rows": {"count": "*"}, "marked": {"count": {"where": rng.choice(_PREDICATES[fact])}}}
    words = ["sum", "avg", "min", "max", "count", "stddev", "var_pop", "last", "rate"]
    for number in shape.numbers:
        for word in rng.sample(words, 4):
            found[f"{number}_{word}"] = {word: number}
        found[f"{number}_total"] = {"sum": number}
    if fact == "samples":
        found |= {f"value_{word}": {word: "value"} for word in ("time_avg", "integral", "coverage")}
    # Slots of weeks and months are made of those of days.
    last = grains.index("1d") if set(grains) & {"1w", "1mo"} else len(grains) - 1
    coarse = list(grains[rng.randrange(last + 1) :])
    found["spread"] = {"quantiles": {"requests": "e2e_ms", "samples": "value"}.get(fact, "n"), "grains": coarse}
    found["people"] = {"distinct": rng.choice(shape.counted), "exact_to": 32, "grains": coarse}
    found["share"] = {"ratio": {"of": "marked", "over": "all_rows"}}
    return found
