"""Random queries on sub-queries, as charts on virtual datasets are: columns by many roads, filtered outside."""

from __future__ import annotations

import random
from datetime import timedelta

from sqllake import HOURS, START

_TIMES = (
    *(f"date_trunc('{unit}', ts)" for unit in ("minute", "hour", "hour", "hour", "day", "week", "month", "quarter")),
    "DATE_TRUNC('HOUR', ts) + INTERVAL '5 MINUTES' * FLOOR(EXTRACT(MINUTE FROM ts) / 5)",
    "DATE_TRUNC('MINUTE', ts) + INTERVAL '30 SECONDS' * FLOOR(EXTRACT(SECOND FROM ts) / 30)",
    "date_trunc('day', ts, 'Europe/Berlin')",
    "time_bucket('2 hours', ts)",
    "date_bin('30 minutes', ts, TIMESTAMP '2020-02-02 00:15:00')",
    "ts",
)
_WORDS = {"site": ("eu", "us", "none"), "model": ("llama-3", "qwen_2", "it''s"), "status": ("ok", "error")}


def random_derived(seed: int) -> str:
    """A query over a sub-query of requests with columns t, a, b (keys, mostly) and n; rows don't depend on an order."""
    rng = random.Random(seed)
    dims = rng.sample(sorted(_WORDS), 2)
    inner = _inner(rng, dims)
    if rng.random() < 0.2:
        inner = f"{inner} UNION ALL {_inner(rng, dims)}"
    if rng.random() < 0.3:
        where = f" WHERE {_condition(rng, dims)}" if rng.random() < 0.5 else ""
        again = rng.choice(("t", "date_trunc('day', t)"))
        group = rng.random() < 0.5
        value = "sum(n)" if group else "n"
        by = " GROUP BY 1, 2, 3" if group else ""
        inner = f"SELECT {again} AS t, a, b, {value} AS n FROM ({inner}) AS u{where}{by}"
    conditions = [_condition(rng, dims) for _ in range(rng.randrange(1, 4))]
    beside = ""
    if rng.random() < 0.2:
        side = rng.choice(("JOIN", "LEFT JOIN", "RIGHT JOIN"))
        beside = f" {side} (SELECT site AS s, count(*) AS m FROM requests GROUP BY 1) AS v ON v.s = w.a"
    head = rng.choice(("count(*) AS c, sum(n) AS s, min(t) AS f, max(t) AS l", "a, count(*) AS c, sum(n) AS s"))
    tail = " GROUP BY 1" if head.startswith("a") else ""
    return f"SELECT {head} FROM ({inner}) AS w{beside} WHERE {' AND '.join(conditions)}{tail}"


def _inner(rng: random.Random, dims: list[str]) -> str:
    time = rng.choice(_TIMES)
    a, b = (rng.choice((name, name, name, f"upper({name})", f"coalesce({name}, 'none')")) for name in dims)
    where = f" WHERE status <> '{rng.choice(('ok', 'error'))}'" if rng.random() < 0.3 else ""
    shape = rng.randrange(12)
    if shape == 0:
        return f"SELECT {time} AS t, {a} AS a, {b} AS b, output_tokens AS n FROM requests{where}"
    if shape == 1:
        return f"SELECT DISTINCT {time} AS t, {a} AS a, {b} AS b, 1 AS n FROM requests{where}"
    if shape == 2:
        return f"SELECT max(ts) AS t, {a} AS a, {b} AS b, count(*) AS n FROM requests{where} GROUP BY 2, 3"
    if shape == 3:
        return f"SELECT {time} AS t, {a} AS a, max({b}) AS b, count(*) AS n FROM requests{where} GROUP BY 1, 2"
    if shape == 4:
        return f"SELECT {time} AS t, {a} AS a, {b} AS b, count(*) AS n FROM requests{where} GROUP BY ROLLUP (1, 2, 3)"
    text = f"SELECT {time} AS t, {a} AS a, {b} AS b, count(*) AS n FROM requests{where} GROUP BY 1, 2, 3"
    if shape == 5:
        return f"{text} HAVING count(*) > 1"
    if shape == 6:
        return f"(SELECT * FROM ({text}) AS o ORDER BY 1, 2, 3, 4 LIMIT {rng.randrange(20)})"
    if shape == 7:
        number = "row_number() OVER (ORDER BY t, a, b)"
        return f"SELECT t, a, b, {number} AS n FROM ({text}) AS o"
    return text


def _condition(rng: random.Random, dims: list[str]) -> str:
    kind = rng.randrange(8)
    if kind < 5:
        minutes = rng.choice((1, 7, 60, 1440)) * rng.randrange(60)
        at = START + timedelta(minutes=min(minutes, HOURS * 60), seconds=rng.choice((0, 0, 30)))
        if rng.random() < 0.5:
            at = at.replace(minute=0, second=0)
        text = at.strftime("%Y-%m-%d %H:%M:%S")
        stamp = f"TO_TIMESTAMP('{text}.000000', 'YYYY-MM-DD HH24:MI:SS.US')"
        value = rng.choice((f"'{text}'", f"TIMESTAMPTZ '{text}+02'", stamp))
        compared = f"t {rng.choice(('>=', '>=', '<', '<', '>', '<=', '=', '<>'))} {value}"
        odd = (f"({compared} OR t IS NULL)", f"NOT ({compared})", f"t BETWEEN {value} AND '2026-10-07 03:00:00'")
        return rng.choice((compared, compared, compared, *odd))
    name, dim = rng.choice((("a", dims[0]), ("b", dims[1])))
    word = rng.choice(_WORDS[dim])
    plain = (f"{name} = '{word}'", f"{name} <> '{word}'", f"{name} IN ('{word}', 'x')", f"NOT {name} IN ('{word}')")
    return rng.choice(
        (*plain, f"{name} IS NULL", f"{name} LIKE '{word[0]}%'", f"({name} = '{word}' OR n > 1)", "n > 1")
    )
