"""A lake whose cube ages: rows of many ages at random, and what the answers must be by plain Python over the rows."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from cubeoracle import small_cube
from landed import land
from lifelake import NOW, Life

from cubes.session import Session

TEXT = """
cube: small
fact: samples
grains: [1h, 1d, 1w]
dimensions: [site, host, device, metric]
cuboids: [[site, device, metric], [metric]]
measures:
  samples: {count: value}
  total: {sum: value}
  lowest: {min: value}
  highest: {max: value}
  time_mean: {time_avg: value}
  covered_s: {sum: interval_s}
  deviation: {stddev: value}
  latest: {last: value}
  spread: {quantiles: value, relative_error: 0.01, grains: [1h, 1d, 1w], without: [host]}
  pods: {distinct: pod, exact_to: 16, grains: [1d, 1w]}
"""
# Months of hours before October tell no device, those before September no host either; of days, years before 2026.
AGES = "age_out: {device: 40d, host: 60d}\n"
DAYS = (1, 3, 45, 50, 75, 80, 400)
METRICS = ("gpu.power", "gpu.temperature")
# Questions that need neither device nor host.
QUERIES = (
    "SELECT site, metric, count(*) AS n, stddev(value) AS d, last(value) AS l FROM samples GROUP BY 1, 2 ORDER BY 1, 2",
    """SELECT date_trunc('week', ts) AS w, metric, approx_percentile(value, 0.9) AS p, approx_count_distinct(pod) AS k
    FROM samples GROUP BY 1, 2 ORDER BY 1, 2""",
    """SELECT site, metric, approx_percentile(value, 0.5) AS p, time_avg(value) AS t FROM samples
    GROUP BY 1, 2 ORDER BY 1, 2""",
)
RAW = "landing: 7d\nquarantine: 90d\nfacts:\n  samples: {keep: 10y}\n"


def ageing(folder: Path, *, more: str = AGES, rules: str = "", days: tuple[int, ...] = DAYS, rows: int = 12) -> Life:
    """A built lake with some rows of each of the days (in days before NOW)."""
    life = Life(folder)
    life.cube = small_cube(folder, TEXT + more)
    if rules:
        (folder / "definitions" / "retention.yaml").write_text(rules)
    send(life, days, rows)
    life.gate()
    life.build()
    return life


def send(life: Life, days: tuple[int, ...], rows: int, *, seed: int = 7, **more: Any) -> None:
    """Land rows of these days, with all their dimensions at random, and `more` in each."""
    chance = random.Random(seed)
    sent = []
    for ago in days:
        for _ in range(rows):
            life.seq += 1
            ts = NOW - timedelta(days=ago, seconds=chance.randrange(3 * 3600))
            sent.append({
                "seq": life.seq, "ts": ts.strftime("%Y-%m-%dT%H:%M:%SZ"), "metric": chance.choice(METRICS),
                "value": str(Decimal(chance.randrange(1, 90_000)) / 1000), "interval_s": chance.choice(("30", "60")),
                "site": chance.choice(("eu", "us")), "host": chance.choice("abc"), "device": chance.choice("0123"),
                "pod": chance.choice("pqr"), **more,
            })  # fmt: skip
    life.sent += sent
    land(life.settings, life.duck, "samples", sent)


def ask(life: Life, sql: str, **options: Any) -> tuple[str, list[dict[str, Any]]]:
    """The path of an answer, and its rows."""
    with Session(life.settings, cubes=[life.cube], clock=lambda: NOW) as session:
        answer = session.query(sql, **options)
        return answer.path, answer.table.to_pylist()


def truth(life: Life, key: Callable[[dict[str, Any]], Any], since: int, until: int) -> dict[Any, tuple[Any, ...]]:
    """By key: count, sum, least, greatest and seconds of the rows sent from `since` to before `until` days ago."""
    first, after = ((NOW - timedelta(days=ago)).replace(hour=0) for ago in (since, until))
    groups: dict[Any, list[tuple[Decimal, int]]] = defaultdict(list)
    for row in life.sent:
        at = datetime.strptime(row["ts"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        if first <= at < after:
            groups[key(row)].append((Decimal(row["value"]), int(row["interval_s"])))
    return {
        name: (len(held), sum(v for v, _ in held), min(v for v, _ in held), max(v for v, _ in held),
               sum(s for _, s in held))
        for name, held in groups.items()
    }  # fmt: skip


def told(life: Life, by: str, since: int, until: int, **options: Any) -> tuple[str, dict[Any, tuple[Any, ...]]]:
    """The same by the cube, with the path of the answer."""
    sql = f"""SELECT {by}, metric, count(value) AS n, sum(value) AS s, min(value) AS low, max(value) AS high,
        sum(interval_s) AS seconds FROM samples
        WHERE ts >= '{life.day(since)}' AND ts < '{life.day(until)}' GROUP BY {by}, metric"""
    path, rows = ask(life, sql, **options)
    return path, {
        (row[by], row["metric"]): (row["n"], row["s"], row["low"], row["high"], row["seconds"]) for row in rows
    }
