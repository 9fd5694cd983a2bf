"""Histograms of other systems through both doors, against plain Python; late, of unknown bounds, and set right."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from histogramoracle import observations, percentile
from sqlcorpus import Query, check
from sqllake import add_rows

from cubes.build import build
from cubes.load import load_cubes
from cubes.model import Cube
from cubes.plan.forecast import forecast
from cubes.session import Session
from cubes.verify import verify
from lake.catalogue import load_catalogue
from lake.duck import connect
from lake.errors import DefinitionError, QueryError
from lake.lookup_store import publish_lookup
from lake.settings import Settings

CUBE = """
cube: delays
fact: samples
grains: [5m, 1h, 1d]
dimensions: [site, host, metric]
cuboids: [[site, metric], [metric]]
measures:
  delay: {quantiles: counts, grains: [1h, 1d], without: [host]}
  samples: count
"""
BOUNDS = {
    "coarse": ["0.1", "1", "10"],
    "fine": ["0.005", "0.05", "0.25", "0.5", "2", "64"],
    "signed": ["-8", "-0.5", "0", "3"],
    "from zero": ["0", "5", "7.5"],
}
EXPONENTIAL = "base2:0:-3 base2:3:-10 base2:6:2 base2:9:-700 base2:5:-4:-6:3 base2:-2:0 base2:20:-9:5:1".split()
START = datetime(2026, 10, 5, 22, 30, tzinfo=UTC)
SHARES = ("0", "0.2", "0.5", "0.95", "0.995", "1")


def _rows(seed: int, count: int = 300) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        name = rng.choice([*BOUNDS, *EXPONENTIAL, "unheard of", "base2:oops", None])
        length = len(BOUNDS[name]) + 1 if name in BOUNDS else rng.randrange(5, 12)
        if name == "coarse" and rng.random() < 0.1:
            length += 1  # another number of buckets than the set has
        counts = [rng.choice((0, 0, 1, 2, rng.randrange(9))) for _ in range(length)]
        made.append(
            {
                "ts": START + timedelta(seconds=rng.randrange(90_000)),
                # The metric names the kind of bounds, so that some cells are of one kind and others of all.
                "metric": rng.choice((str(name).partition(":")[0], "all")),
                "site": rng.choice(("eu", "us", None)),
                "host": rng.choice("abc"),
                "counts": None if name is None else counts,
                "bounds_id": name,
                "value": rng.choice((None, Decimal(0), Decimal(rng.randrange(-(10**10), 10**11)).scaleb(-9))),
            }
        )
    return made


def _publish_bounds(settings: Settings, bounds: dict[str, list[str]]) -> None:
    duck = connect(settings)
    publish_lookup(settings.lake, duck, "bounds", [(name, json.dumps(edges)) for name, edges in bounds.items()])
    duck.connection.close()


@pytest.fixture(scope="module")
def cube(tmp_path_factory: pytest.TempPathFactory) -> Cube:
    folder = tmp_path_factory.mktemp("definitions")
    (folder / "delays.yaml").write_text(CUBE)
    return load_cubes(folder)["delays"]


@pytest.fixture(scope="module")
def held(cube: Cube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Session, list[dict[str, Any]]]]:
    """A session over rows that came in two batches, with everything that was published."""
    settings = Settings(lake=tmp_path_factory.mktemp("lake"), memory_mib=512)
    _publish_bounds(settings, BOUNDS)
    duck = connect(settings)
    for batch in (1, 2):
        add_rows(duck, settings, "samples", _rows(batch), batch)
        build(settings, duck, cube)
    assert verify(settings, duck, cube).holds
    with Session(settings, cubes=[cube]) as session:
        yield session, [*_rows(1), *_rows(2)]
    duck.connection.close()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("where", ["true", "ts >= '2026-10-05 23:12:00' AND ts < '2026-10-06 17:01:00'"])
@pytest.mark.parametrize("key", ["metric", "site, metric"])
def test_percentiles_of_histograms_against_plain_python(
    held: tuple[Session, list[dict[str, Any]]], share: str, where: str, key: str
) -> None:
    session, rows = held
    read = ", ".join(f"{word}(counts, {share})" for word in ("approx_percentile", "percentile_low", "percentile_high"))
    text = f"SELECT {key}, {read} FROM samples WHERE {where} GROUP BY {key}"
    answer = check(session, Query("x", text, "cube" if where == "true" else "cube+raw", text))
    names = key.split(", ")
    inside = [row for row in rows if where == "true" or _within(row["ts"])]
    groups: dict[Any, list[tuple[float, float]]] = {}
    for row in inside:
        groups.setdefault(tuple(row[name] for name in names), []).extend(observations(row, BOUNDS))
    found = {tuple(row)[: len(names)]: row[len(names) :] for row in zip(*_columns(answer), strict=True)}
    assert found.keys() == groups.keys()
    for group, ends in groups.items():
        for value, wanted in zip(found[group], percentile(ends, share), strict=True):
            assert _same(value, wanted), (group, found[group], percentile(ends, share))


def _within(ts: datetime) -> bool:
    return datetime(2026, 10, 5, 23, 12, tzinfo=UTC) <= ts < datetime(2026, 10, 6, 17, 1, tzinfo=UTC)


def _columns(answer: Any) -> list[list[Any]]:
    return [column.to_pylist() for column in answer.table.columns]


def _same(value: float | None, wanted: float | None) -> bool:
    if value is None or wanted is None:
        return value is wanted
    return math.isclose(value, wanted, rel_tol=1e-12, abs_tol=1e-12)


def test_a_quantile_above_the_last_bound_is_infinite_and_its_bound_is_told(
    held: tuple[Session, list[dict[str, Any]]],
) -> None:
    text = """SELECT approx_percentile(counts, 0.999) AS p, percentile_low(counts, 0.999) AS low
        FROM samples WHERE metric = 'fine'"""
    answer = check(held[0], Query("x", text, "cube", text))
    [p], [low] = _columns(answer)
    assert p == math.inf
    assert low == 64.0  # a power of two is kept exactly
    [note] = [text for text in answer.notices if "bound" in text]
    assert "above the last bound" in note
    assert "percentile_low" in note
    errors = {one["name"]: one for one in answer.receipt["columns"]}
    assert errors["p"]["relative_error"] is None
    assert "last bound" in errors["p"]["note"]


def test_between_what_is_unknown_and_what_lies_below_all_bounds_nothing_is_known(
    settings: Settings, cube: Cube
) -> None:
    _publish_bounds(settings, BOUNDS)
    duck = connect(settings)
    two = [("unheard of", [1]), ("signed", [1, 0, 0, 0, 0])]
    rows = [{**_rows(1, 1)[0], "ts": START, "metric": "m", "counts": one, "bounds_id": name} for name, one in two]
    add_rows(duck, settings, "samples", rows, 1)
    build(settings, duck, cube)
    words = ", ".join(f"{word}(counts, 0.5)" for word in ("approx_percentile", "percentile_low", "percentile_high"))
    with Session(settings, cubes=[cube]) as session:
        for raw in (False, True):
            answer = session.query(f"SELECT {words} FROM samples WHERE metric = 'm'", raw=raw)
            assert [column[0] for column in _columns(answer)] == [None, -math.inf, math.inf]


def test_the_receipt_tells_how_wide_the_buckets_are(held: tuple[Session, list[dict[str, Any]]]) -> None:
    read = "approx_percentile(counts, 0.5) AS p, percentile_low(counts, 0.5) AS a, percentile_high(counts, 0.5) AS b"
    for raw in (False, True):
        answer = held[0].query(f"SELECT {read}, count(*) AS n FROM samples WHERE metric = 'fine'", raw=raw)
        [p], [a], [b], _ = _columns(answer)
        told = {one["name"]: one["relative_error"] for one in answer.receipt["columns"]}
        assert told["p"] == pytest.approx((b - a) / 2 / p, rel=1e-6)
        assert told["p"] > 0.1
        assert told["a"] == told["b"] == told["n"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "SELECT site, percentile_low(counts, 0) FILTER (WHERE host = 'a') FROM samples WHERE metric = 'all' GROUP BY 1",
        "SELECT percentile_low(counts, 0.9) FILTER (WHERE site = 'eu') AS a FROM samples WHERE metric = 'all'",
        "SELECT site FROM samples WHERE metric = 'all' GROUP BY 1 HAVING approx_percentile(counts, 0.5) > 0.1",
        "SELECT max(p) FROM (SELECT host, percentile_high(counts, 0.5) AS p FROM samples WHERE metric = 'fine' "
        "GROUP BY 1) t",
        "SELECT date_trunc('hour', ts) AS h, approx_percentile(counts, 0.9) AS p FROM samples WHERE metric = 'base2' "
        "GROUP BY 1 ORDER BY p DESC, h LIMIT 3",
        "SELECT approx_percentile(counts, 0.5) FROM samples WHERE metric = 'nobody'",
        "SELECT approx_percentile(counts, 0.5), approx_percentile(value, 0.5) FROM samples WHERE metric = 'None'",
    ],
)
def test_both_doors_agree_wherever_it_stands(held: tuple[Session, list[dict[str, Any]]], text: str) -> None:
    check(held[0], Query("x", text, "", text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("percentile_cont(0.5) WITHIN GROUP (ORDER BY counts)", "approx_percentile(counts"),
        ("percentile_low(value, 0.5)", "takes the counts"),
        ("approx_percentile(counts, 1.5)", "from 0 to 1"),
        ("approx_percentile(counts, 0.5) OVER ()", "window"),
    ],
)
def test_other_percentiles_of_histograms_are_refused(
    held: tuple[Session, list[dict[str, Any]]], text: str, said: str
) -> None:
    with pytest.raises(QueryError, match=r".") as caught:
        held[0].query(f"SELECT {text} FROM samples WHERE metric = 'fine'")
    assert said in str(caught.value)
    with pytest.raises(QueryError, match="several metrics"):
        held[0].query("SELECT approx_percentile(counts, 0.5) FROM samples")
    with pytest.raises(QueryError, match="sub-query"):
        held[0].query("SELECT approx_percentile(counts, 0.5) FROM (SELECT counts FROM samples) t")


def test_bounds_that_come_later_or_change_are_made_good(cube: Cube, tmp_path: Path) -> None:
    settings = Settings(lake=tmp_path, memory_mib=512)
    _publish_bounds(settings, {"other": ["1"]})
    duck = connect(settings)
    rows = [
        {"ts": START + timedelta(days=day), "metric": "m", "counts": [0, 4, 0], "bounds_id": name}
        for day, name in ((0, "late"), (1, "base2:0:0"))
    ]
    add_rows(duck, settings, "samples", rows, 1)
    build(settings, duck, cube)
    text = "SELECT percentile_low(counts, 0.5), percentile_high(counts, 0.5) FROM samples WHERE metric = 'm' AND "
    late, known = f"{text} ts < '2026-10-06'", f"{text} ts >= '2026-10-06'"
    for bounds, wanted in (
        ({"other": ["1"]}, (-math.inf, math.inf)),
        ({"other": ["1"], "late": ["2", "4"]}, (2.0, 4.0)),
        ({"other": ["1"], "late": ["4", "8"]}, (4.0, 8.0)),
    ):
        _publish_bounds(settings, bounds)
        with Session(settings, cubes=[cube]) as session:
            answer = check(session, Query("x", late, "", late))
            assert tuple(column[0] for column in _columns(answer)) == wanted
        built = build(settings, duck, cube)
        with Session(settings, cubes=[cube]) as session:
            answer = check(session, Query("x", late, "cube", late))
            assert tuple(column[0] for column in _columns(answer)) == wanted
            answer = check(session, Query("x", known, "cube", known))
            assert tuple(column[0] for column in _columns(answer)) == (1.0, 2.0)
        assert built is not None
        assert verify(settings, duck, cube).holds
    duck.connection.close()


def test_slots_of_histograms_are_forecast(
    held: tuple[Session, list[dict[str, Any]]], cube: Cube, tmp_path: Path
) -> None:
    settings = Settings(lake=tmp_path, memory_mib=512)
    _publish_bounds(settings, BOUNDS)
    duck = connect(settings)
    add_rows(duck, settings, "samples", _rows(1), 1)
    told = forecast(settings, duck, cube)
    assert sum(part.rows for part in told.parts) > sum(part.cells for part in told.parts) > 100
    duck.connection.close()


def test_a_definition_promises_no_error_for_histograms(tmp_path: Path) -> None:
    (tmp_path / "delays.yaml").write_text(CUBE.replace("counts,", "counts, relative_error: 0.01,"))
    with pytest.raises(DefinitionError, match="width of the buckets"):
        load_cubes(tmp_path)


def test_no_histogram_of_the_catalogue_goes_below_zero() -> None:
    """So that a first bucket whose bound is not below 0 begins at 0."""
    kinds = [metric for metric in load_catalogue().metrics.values() if metric.kind == "histogram"]
    assert len(kinds) > 10
    assert all(metric.valid_min == 0 for metric in kinds)
