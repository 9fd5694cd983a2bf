"""Roll-ups of the two log formats: replay, gate, build, SQL; every cell equals what plain Python makes of the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from gating import gate
from logoracle import FIELDS, SORTS, Cell, Reading, cells, ranks, read_log, write_log
from sqlcorpus import same

from cubes.session import Session
from fleetcube.pipeline import Pipeline
from fleetcube.status import PARTS, lake_status
from lake.settings import Settings
from quality.quarantine import list_quarantine

LOGS = Path(__file__).parents[1] / "data" / "logs"
KINDS = ("online", "offline")
# What tests/data/logs/README.md names, as rows: a line that can be split is two, one that can't is one.
NAMED = {
    "malformed": 6 + 5,
    "bad_time": 2 * (3 + 2),
    "bad_number": 2 + 1,
    "non_finite": 1 + 1,
    "missing_required": 1 + 1,
    "negative_increment": 1,
    "out_of_range": 1,
}
MEASURES = "count(*), sum(value), min(value), max(value), avg(value), time_avg(value), integral(value)"
RANKS = "percentile_disc(0.5) WITHIN GROUP (ORDER BY value), percentile_disc(0.95) WITHIN GROUP (ORDER BY value)"
# SQL of the time keys, and what they are in Python.
ROLLUPS: dict[str, tuple[str, Callable[[datetime], Cell]]] = {
    "5 minutes": (
        "time_bucket('5 minutes', ts)",
        lambda ts: (ts.replace(minute=ts.minute - ts.minute % 5, second=0),),
    ),
    "1 hour": ("date_trunc('hour', ts)", lambda ts: (ts.replace(minute=0, second=0),)),
    "month and hour of day": (
        "date_trunc('month', ts), extract(hour FROM ts)",
        lambda ts: (ts.replace(day=1, hour=0, minute=0, second=0), ts.hour),
    ),
}


@dataclass(frozen=True)
class Replayed:
    """A lake of a small and a large log of each kind; what each file holds, by the agent of its rows."""

    settings: Settings
    pipeline: Pipeline
    session: Session
    small: dict[str, Reading]
    large: dict[str, Reading]
    by_kind: dict[str, Reading]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    """The two small logs that are kept with the tests, and two generated ones of half a year."""
    folder = tmp_path_factory.mktemp("rollups")
    settings = Settings(lake=folder / "lake", memory_mib=512)
    pipeline = Pipeline(settings)
    small, large, by_kind = {}, {}, {}
    for seed, kind in enumerate(KINDS):
        path = folder / f"{kind}.log"
        write_log(path, kind, seed=seed)
        kept, made = pipeline.replay([LOGS / f"{kind}.log", path], f"{kind}-log")
        small[kept.agent], large[made.agent] = read_log(kept.path, kind), read_log(made.path, kind)
        by_kind[kind] = small[kept.agent] + large[made.agent]
    gate(settings, pipeline.duck)
    pipeline.build(["infrastructure"])
    with Session(settings) as session:
        yield Replayed(settings, pipeline, session, small, large, by_kind)


def test_every_row_is_trusted_or_in_quarantine(replayed: Replayed) -> None:
    account = lake_status(replayed.settings)["rows"]["samples"]
    trusted = sum(reading.trusted for reading in replayed.by_kind.values())
    faults = sum(reading.faults.total() for reading in replayed.by_kind.values())
    assert account["received"] == sum(account[part] for part in PARTS) == trusted + faults
    assert (account["trusted"], account["quarantine"]) == (trusted, faults)


def test_bad_lines_are_in_quarantine_under_what_is_wrong(replayed: Replayed) -> None:
    for agent, reading in (replayed.small | replayed.large).items():
        assert _quarantined(replayed, agent) == reading.faults


def test_the_small_logs_go_wrong_as_their_readme_says(replayed: Replayed) -> None:
    assert sum((_quarantined(replayed, agent) for agent in replayed.small), Counter[str]()) == NAMED


def test_the_large_logs_span_months_and_go_wrong_in_every_way(replayed: Replayed) -> None:
    for reading in replayed.large.values():
        months = {(when.year, when.month) for values in reading.values.values() for when, _ in values}
        assert len(months) >= 5
        assert reading.faults.total() > 4 * len(SORTS)
    assert sum((_quarantined(replayed, agent) for agent in replayed.large), Counter[str]()).keys() == NAMED.keys()


@pytest.mark.parametrize("rollup", ROLLUPS)
@pytest.mark.parametrize("kind", KINDS)
def test_rolled_up_from_cubes(replayed: Replayed, kind: str, rollup: str) -> None:
    keys, bucket = ROLLUPS[rollup]
    expected = cells(replayed.by_kind[kind], kind, bucket)
    assert _answer(replayed.session, kind, keys, MEASURES) == expected


@pytest.mark.parametrize("rollup", ["1 hour", "month and hour of day"])
@pytest.mark.parametrize("kind", KINDS)
def test_percentiles_lie_within_one_percent(replayed: Replayed, kind: str, rollup: str) -> None:
    keys, bucket = ROLLUPS[rollup]
    expected = ranks(replayed.by_kind[kind], kind, bucket)
    found = _answer(replayed.session, kind, keys, RANKS)
    assert found.keys() == expected.keys()
    for key, wanted in expected.items():
        for value, exact in zip(found[key], wanted, strict=True):
            assert abs(value - exact) <= exact / 100, key


def _quarantined(replayed: Replayed, agent: str) -> Counter[str]:
    """Rows of one file in quarantine, by check."""
    found = Counter[str]()
    for group in list_quarantine(replayed.settings.lake, replayed.pipeline.duck, {"agent": agent}):
        found[group.check] += group.rows
    return found


def _answer(session: Session, kind: str, keys: str, values: str) -> dict[Cell, Any]:
    """{(metric, keys…): values} as exact numbers, from cubes alone; the rows must say the same."""
    metrics = ", ".join(f"'{metric}'" for metric, *_ in FIELDS[kind])
    numbers = ", ".join(str(place + 2) for place in range(keys.count("ts")))
    sql = f"SELECT metric, {keys}, {values} FROM samples WHERE metric IN ({metrics}) GROUP BY 1, {numbers}"
    answer = session.query(sql)
    assert answer.path == answer.receipt["path"] == "cube"
    same(answer, session.query(sql, raw=True), sql)
    rows = zip(*(column.to_pylist() for column in answer.table.columns), strict=True)
    width = 1 + keys.count("ts")
    return {row[:width]: tuple(map(_exact, row[width:])) for row in rows}


def _exact(value: Any) -> Any:
    return Fraction(value) if isinstance(value, (Decimal, float)) else value
