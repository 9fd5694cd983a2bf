"""Random queries in the grammar that the router takes, from one seed each."""

from __future__ import annotations

import random
import re
from datetime import timedelta

from sqllake import HOURS, START

_DIMENSIONS = {
    "requests": ("site", "cluster", "service", "model", "model_version", "hardware", "tenant", "status", "client_type"),
    "samples": ("site", "cluster", "host", "device", "hardware", "metric"),
    "evaluations": ("model", "model_version", "task", "run", "metric"),
}
_VALUES = {
    "requests": ("prompt_tokens", "output_tokens", "e2e_ms", "e2e_ms", "e2e_ms", "queue_ms", "ttft_ms", "gpu_ms"),
    "samples": ("value",),
    "evaluations": ("value", "value", "n"),
}
_WORDS = {
    "site": ("eu", "us"),
    "model": ("llama-3", "qwen_2", "it's"),
    "hardware": ("h100", "l40s"),
    "tenant": ("a", "b", "nobody"),
    "status": ("ok", "error"),
    "host": ("host-0", "host-3"),
    "metric": ("gpu.power", "accuracy"),
}
_BUCKETS = (
    "date_trunc('hour', ts)",
    "date_trunc('day', ts)",
    "date_trunc('month', ts)",
    "time_bucket('5 minutes', ts)",
    "time_bucket('2 hours', ts)",
    "date_bin('30 minutes', ts, TIMESTAMP '2020-02-02 00:15:00')",
    "extract(hour FROM ts)",
    "ts::date",
    "date_trunc('minute', ts)",
)


def random_query(seed: int) -> str:
    """One query whose rows do not depend on the order of equal keys."""
    rng = random.Random(seed)
    block = _block(rng)
    shape = rng.random()
    if shape < 0.08:
        # Values of several metrics are not to be mixed.
        key = re.search(r"\bmetric AS (g\d+)", block)
        by = (f"x.{key[1]}, ", f" GROUP BY x.{key[1]}") if key else ("", "")
        return f"SELECT {by[0]}count(*) AS n, max(x.v0) AS m FROM ({block}) AS x{by[1]}"
    if shape < 0.14:
        return f"WITH a AS ({block}) SELECT * FROM a WHERE v0 IS NOT NULL"
    return block


def _block(rng: random.Random) -> str:
    fact = rng.choice(("requests", "requests", "samples", "evaluations"))
    keys = _keys(rng, fact)
    if fact == "samples" and "metric" not in keys:
        keys.append("metric")
    values = [_aggregate(rng, fact) for _ in range(rng.randrange(1, 5))]
    items = [f"{key} AS g{place}" for place, key in enumerate(keys)]
    items += [f"{value} AS v{place}" for place, value in enumerate(values)]
    text = f"SELECT {', '.join(items)} FROM {fact}"
    conditions = _range(rng) + [_predicate(rng, fact, 2) for _ in range(rng.randrange(3))]
    rng.shuffle(conditions)
    if conditions:
        text += f" WHERE {' AND '.join(conditions)}"
    if keys:
        text += f" GROUP BY {', '.join(rng.choice((str(place), f'g{place - 1}')) for place in range(1, len(keys) + 1))}"
    if rng.random() < 0.2:
        text += rng.choice((" HAVING count(*) > 3", " HAVING min(ts) IS NOT NULL", f" HAVING {_plain(rng, fact)} > 10"))
    if keys and rng.random() < 0.4:
        order = [f"g{place}" + rng.choice(("", " DESC")) for place in range(len(keys))]
        text += f" ORDER BY {', '.join(order)}"
        text += f" LIMIT {rng.randrange(12)}" + rng.choice(("", " OFFSET 1"))
    return text


def _keys(rng: random.Random, fact: str) -> list[str]:
    keys = rng.sample(_DIMENSIONS[fact], rng.choice((0, 1, 1, 2, 3)))
    keys = [rng.choice((key, key, key, f"upper({key})", f"coalesce({key}, 'none')")) for key in keys]
    return keys + ([rng.choice(_BUCKETS)] if rng.random() < 0.4 else [])


def _plain(rng: random.Random, fact: str) -> str:
    column = rng.choice(_VALUES[fact])
    return rng.choice((f"sum({column})", f"avg({column})", f"max({column})", f"count({column})", "count(*)"))


def _aggregate(rng: random.Random, fact: str) -> str:
    column = rng.choice(_VALUES[fact])
    condition = _predicate(rng, fact, 1)
    choices = [
        "count(*)",
        f"count({column})",
        f"sum({column})",
        f"avg({column})",
        f"min({column})",
        f"max({column})",
        f"{_plain(rng, fact)} FILTER (WHERE {condition})",
        f"sum(CASE WHEN {condition} THEN {column} END)",
        f"sum(CASE WHEN {condition} THEN 1 ELSE 0 END)",
        f"count(CASE WHEN {condition} THEN 1 END)",
        f"count(DISTINCT {rng.choice(_DIMENSIONS[fact])})",
        f"max({rng.choice(_DIMENSIONS[fact])})",
        f"sum({column}) / NULLIF(count({column}), 0)",
        f"100.0 * count(*) FILTER (WHERE {condition}) / NULLIF(count(*), 0)",
    ]
    if fact == "samples":
        choices += ["time_avg(value)", "integral(value)", "sum(interval_s)"]
    shown = {"requests": "e2e_ms", "samples": "value"}.get(fact, "n")
    choices.append(f"percentile_disc({rng.choice(('0.5', '0.9', '0.99'))}) WITHIN GROUP (ORDER BY {shown})")
    return rng.choice(choices)


def _predicate(rng: random.Random, fact: str, depth: int) -> str:
    if depth and rng.random() < 0.3:
        a, b = _predicate(rng, fact, depth - 1), _predicate(rng, fact, depth - 1)
        return rng.choice((f"({a} OR {b})", f"NOT ({a} AND {b})", f"CASE WHEN {a} THEN {b} ELSE {a} END"))
    column = rng.choice(_DIMENSIONS[fact])
    words = [word.replace("'", "''") for word in _WORDS.get(column, ("1", "c0"))]
    word = rng.choice(words)
    listed = ", ".join(f"'{one}'" for one in words)
    forms = ("{c} = '{w}'", "{c} <> '{w}'", "{c} IN ({l})", "NOT {c} IN ({l})", "{c} IS NULL", "NOT {c} IS NULL")
    more = (
        "{c} LIKE '%{w}%'",
        "{c} ILIKE 'L%'",
        "{c} BETWEEN 'a' AND 'm'",
        "{c} IS DISTINCT FROM '{w}'",
        "{c} > '{w}'",
    )
    return rng.choice((*forms, *more)).format(c=column, w=word, l=listed)


def _range(rng: random.Random) -> list[str]:
    """No, one or two ends, on bucket bounds or off them, in several forms; now and then an empty range."""
    found = []
    for sign in (">", "<"):
        if rng.random() < 0.6:
            minutes = rng.choice((1, 5, 60, 1440)) * rng.randrange(60)
            at = (START + timedelta(minutes=min(minutes, HOURS * 60))).replace(second=rng.choice((0, 0, 17)))
            if rng.random() < 0.5:
                at = at.replace(minute=0, second=0)
            text = at.strftime("%Y-%m-%d %H:%M:%S")
            value = rng.choice((f"'{text}'", f"TIMESTAMPTZ '{text}+00'", f"TIMESTAMP '{text}' + INTERVAL '1 hour'"))
            found.append(f"ts {sign}{rng.choice(('=', ''))} {value}")
    return found
