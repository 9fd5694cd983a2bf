"""Grains from seconds to months: cells against plain Python, late rows, refreshed days, and questions by week."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cubeoracle import publish, small_cube
from sqlcorpus import same

from cubes.build import build, refresh
from cubes.model import Cube
from cubes.segments import segment_range, table_of
from cubes.session import Session
from cubes.verify import verify
from lake import delta
from lake.duck import Duck, connect
from lake.settings import Settings

TEXT = """
cube: small
fact: samples
grains: [15s, 1m, 30m, 1h, 1d, 1w, 1mo]
week_starts: sunday
dimensions: [site, metric]
cuboids: [[metric]]
measures:
  total: {sum: value}
  highest: {max: value}
  spread: {quantiles: value, grains: [1d, 1w, 1mo]}
keep: {1h: 30d, 1w: 2y, 1mo: 10y}
"""


def rows_of(seed: int, count: int) -> list[dict[str, Any]]:
    """Samples over ten weeks around the turn of a year."""
    rng = random.Random(seed)
    start = datetime(2025, 11, 28, tzinfo=UTC)
    return [
        {
            "ts": start + timedelta(microseconds=rng.randrange(70 * 86400 * 10**6)),
            "metric": rng.choice(("gpu.power", "cpu.utilization")),
            "value": Decimal(rng.randrange(10**9)).scaleb(-6),
            "site": rng.choice(("eu", "us")),
        }
        for _ in range(count)
    ]


def bucket_of(grain: str, ts: datetime) -> datetime:
    midnight = ts.replace(hour=0, minute=0, second=0, microsecond=0)
    match grain:
        case "1mo":
            return midnight.replace(day=1)
        case "1w_sun":
            return midnight - timedelta(days=(ts.weekday() + 1) % 7)
    seconds = {"15s": 15, "1m": 60, "30m": 1800, "1h": 3600, "1d": 86400}[grain]
    return datetime.fromtimestamp(int(ts.timestamp()) // seconds * seconds, UTC)


def totals(duck: Duck, settings: Settings, cube: Cube) -> dict[tuple[Any, ...], Decimal]:
    scan = duck.scan(delta.open_snapshot(settings.lake, table_of(cube)))
    base = f"cuboid = {cube.base} AND sketch IS NULL"
    found = duck.sql(f"SELECT grain, bucket, site, sum(sum_value) FROM {scan} WHERE {base} GROUP BY ALL")
    return {(grain, bucket.astimezone(UTC), site): total for grain, bucket, site, total in found}


def expected(rows: list[dict[str, Any]], cube: Cube) -> dict[tuple[Any, ...], Decimal]:
    made: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        for grain in cube.grains:
            made[(grain, bucket_of(grain, row["ts"]), row["site"])] += row["value"]
    return dict(made)


def test_every_grain_holds_its_rows_and_a_refresh_mends_weeks_and_months(
    duck: Duck, settings: Settings, tmp_path: Path
) -> None:
    cube = small_cube(tmp_path, TEXT)
    assert cube.grains == ("15s", "1m", "30m", "1h", "1d", "1w_sun", "1mo")
    assert dict(cube.keep) == {"1h": 30, "1w_sun": 732, "1mo": 3660}
    first, late = rows_of(1, 300), rows_of(2, 60)
    publish(duck, settings, first, 1)
    build(settings, duck, cube)
    trusted = publish(duck, settings, late, 2)
    build(settings, duck, cube)
    assert totals(duck, settings, cube) == expected(first + late, cube)
    report = verify(settings, duck, cube)
    assert report.holds, report.shown
    # Rows of two days are withdrawn: their weeks and months keep what the other days hold.
    gone = {date(2025, 12, 31), date(2026, 1, 14)}
    removes = [file for file in trusted.files if date.fromisoformat(file.partition["day"] or "") in gone]
    publish(duck, settings, rows_of(3, 1), 3, removes)
    build(settings, duck, cube)
    left = [row for row in first + late if row["ts"].date() not in gone]
    assert totals(duck, settings, cube) == expected(left + rows_of(3, 1), cube)
    refresh(settings, duck, cube, [date(2025, 12, 1), date(2026, 1, 4), date(2026, 1, 5)])
    for since, until in ((None, None), (date(2025, 12, 10), date(2026, 1, 20))):
        report = verify(settings, duck, cube, since=since, until=until)
        assert report.holds, report.shown
        assert report.cells > 0


def test_weeks_lie_in_the_segment_in_which_they_begin() -> None:
    assert [at.date() for at in segment_range("1w", "2026")] == [date(2026, 1, 5), date(2027, 1, 4)]
    assert [at.date() for at in segment_range("1w_sun", "2026")] == [date(2026, 1, 4), date(2027, 1, 3)]
    assert [at.date() for at in segment_range("1mo", "2026")] == [date(2026, 1, 1), date(2027, 1, 1)]


QUESTIONS = {
    "date_trunc('month', ts)": "1mo",
    "date_trunc('year', ts)": "1mo",
    "extract(quarter FROM ts)": "1mo",
    "date_trunc('week', ts)": "1w",
    "extract(isoyear FROM ts)": "1w",
    "time_bucket('14 days', ts, '2026-01-05')": "1w",
    "date_trunc('minute', ts)": "1m",
    "ts::date": "1d",
    "extract(dow FROM ts)": "1d",
    "time_bucket('15 seconds', ts)": "15s",
    "date_bin('90 minutes', ts, TIMESTAMP '2026-01-01 00:30')": "30m",
}


@pytest.fixture(scope="module")
def weekly(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session over rows of a winter, with weeks that begin on Monday."""
    folder = tmp_path_factory.mktemp("weekly")
    (folder / "lake").mkdir()
    settings = Settings(lake=folder / "lake", memory_mib=512)
    cube = small_cube(folder, TEXT.replace("week_starts: sunday\n", ""))
    duck = connect(settings)
    # Few series and many rows, so that coarse cells are the cheapest.
    publish(duck, settings, rows_of(5, 4000), 1)
    build(settings, duck, cube)
    return Session(settings, cubes=[cube])


@pytest.mark.parametrize("key", QUESTIONS)
def test_time_expressions_are_answered_from_the_coarsest_grain_that_fits(weekly: Session, key: str) -> None:
    sql = f"SELECT {key} AS t, metric, sum(value) AS s, max(value) AS m FROM samples GROUP BY 1, 2 ORDER BY 1, 2"
    routed = weekly.query(sql)
    same(routed, weekly.query(sql, raw=True), key)
    assert routed.path == "cube"
    assert {piece["grain"] for block in routed.receipt["blocks"] for piece in block["pieces"]} == {QUESTIONS[key]}


def test_a_range_is_tiled_by_months_weeks_days_and_finer(weekly: Session) -> None:
    sql = """SELECT metric, sum(value) AS s FROM samples
        WHERE ts >= '2025-12-01 00:00' AND ts < '2026-01-27 13:30:45' GROUP BY 1 ORDER BY 1"""
    routed = weekly.query(sql)
    same(routed, weekly.query(sql, raw=True), "range")
    pieces = [piece["grain"] for piece in routed.receipt["blocks"][0]["pieces"]]
    assert set(pieces) > {"1w", "1d", "1h", "15s"}
    assert routed.receipt["blocks"][0]["raw_edges"] == []


@pytest.mark.parametrize("seed", range(12))
def test_any_range_by_any_unit_equals_the_rows(weekly: Session, seed: int) -> None:
    rng = random.Random(seed)
    start = datetime(2025, 11, 28, tzinfo=UTC) + timedelta(seconds=rng.randrange(60 * 86400))
    end = start + timedelta(seconds=rng.randrange(40 * 86400))
    unit = rng.choice(("minute", "hour", "day", "week", "month"))
    sql = f"""SELECT date_trunc('{unit}', ts) AS t, sum(value) AS s, count(*) AS n FROM samples
        WHERE metric = 'gpu.power' AND ts >= '{start.isoformat()}' AND ts < '{end.isoformat()}' GROUP BY 1 ORDER BY 1"""
    same(weekly.query(sql), weekly.query(sql, raw=True), sql)
