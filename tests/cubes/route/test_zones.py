"""Days, weeks and hours of a zone's own clock, over the changes of its offset, through both doors."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from cubeoracle import publish, small_cube
from sqlcorpus import same

from cubes.build import build
from cubes.route.span import Window
from cubes.route.zones import granule_s
from cubes.session import Session
from lake.duck import Duck, connect
from lake.errors import QueryError
from lake.settings import Settings

TEXT = """
cube: small
fact: samples
grains: [30m, 1h, 1d, 1w]
dimensions: [metric]
measures: {total: {sum: value}}
"""
START = datetime(2026, 10, 23, tzinfo=UTC)  # Oslo's clock goes back on 25 October 2026, at 01:00 UTC
ROWS = [
    {"ts": START + timedelta(minutes=11 * place), "metric": "gpu.power", "value": Decimal(place * place)}
    for place in range(700)
]


@pytest.fixture(scope="module")
def autumn(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """A session over samples every 11 minutes, of five days around the change."""
    folder = tmp_path_factory.mktemp("autumn")
    (folder / "lake").mkdir()
    settings = Settings(lake=folder / "lake", memory_mib=512)
    duck = connect(settings)
    publish(duck, settings, ROWS, 1)
    build(settings, duck, cube := small_cube(folder, TEXT))
    return Session(settings, cubes=[cube])


@pytest.mark.parametrize(
    "expression, path",
    [
        ("date_trunc('day', ts, 'Europe/Oslo')", "cube"),
        ("date_trunc('hour', ts, 'Europe/Oslo')", "cube"),
        ("date_trunc('week', ts AT TIME ZONE 'Europe/Oslo')", "cube"),
        ("date_trunc('day', ts AT TIME ZONE 'Europe/Oslo') AT TIME ZONE 'Europe/Oslo'", "cube"),
        ("(ts AT TIME ZONE 'Europe/Oslo')::date", "cube"),
        ("extract(hour FROM ts AT TIME ZONE 'America/New_York')", "cube"),
        ("extract(dow FROM (ts AT TIME ZONE 'Asia/Tokyo'))", "cube"),
        ("date_trunc('day', ts, 'Asia/Kolkata')", "cube"),
        ("date_trunc('hour', ts AT TIME ZONE 'Asia/Kathmandu')", "raw"),
        ("date_trunc('day', ts, 'UTC')", "cube"),
        ("date_trunc('week', ts, 'Africa/Abidjan')", "cube"),
        ("ts AT TIME ZONE 'Europe/Oslo'", "raw"),
    ],
)
def test_both_doors_agree(autumn: Session, expression: str, path: str) -> None:
    sql = f"SELECT {expression} AS t, sum(value) AS s, count(*) AS n FROM samples WHERE metric = 'gpu.power' GROUP BY 1"
    routed = autumn.query(sql)
    same(routed, autumn.query(sql, raw=True), expression)
    assert routed.path == path, routed.notices


def test_days_of_oslo_are_those_of_python(autumn: Session) -> None:
    oslo, wanted = ZoneInfo("Europe/Oslo"), dict[datetime, Decimal]()
    for row in ROWS:
        day = row["ts"].astimezone(oslo).replace(hour=0, minute=0, fold=0).astimezone(UTC)
        wanted[day] = wanted.get(day, Decimal(0)) + row["value"]
    sql = """SELECT date_trunc('day', ts, 'Europe/Oslo') AS t, sum(value) AS s FROM samples
        WHERE metric = 'gpu.power' GROUP BY 1"""
    table = autumn.query(sql).table
    found = zip(table.column("t").to_pylist(), table.column("s").to_pylist(), strict=True)
    assert {at.astimezone(UTC): total for at, total in found} == wanted
    # The day of the change has 25 hours.
    days = sorted(wanted)
    assert timedelta(hours=25) in {b - a for a, b in itertools.pairwise(days)}


def test_the_hour_that_a_clock_shows_twice_stays_two_hours(autumn: Session) -> None:
    sql = """SELECT count(DISTINCT date_trunc('hour', ts, 'Europe/Oslo')) AS n FROM samples
        WHERE ts >= '2026-10-25' AND ts < '2026-10-25 06:00' AND metric = 'gpu.power'"""
    assert autumn.query(sql).table.column("n").to_pylist() == [6]


def test_coarse_cells_serve_whole_buckets_of_a_zone_where_it_is_utc(autumn: Session) -> None:
    """London is UTC once its summer has ended: whole days and weeks there are those of the cells."""
    sql = """SELECT date_trunc('day', ts, 'Europe/London') AS t, sum(value) AS s FROM samples
        WHERE ts >= '{}' AND ts < '2026-10-28' AND metric = 'gpu.power' GROUP BY 1"""
    grains = []
    for since in ("2026-10-26", "2026-10-24"):
        routed = autumn.query(sql.format(since))
        same(routed, autumn.query(sql.format(since), raw=True), since)
        grains.append({piece["grain"] for piece in routed.receipt["blocks"][0]["pieces"]})
    assert "1d" in grains[0]
    assert "1d" not in grains[1]


def test_the_reason_names_the_clock(autumn: Session) -> None:
    sql = "SELECT date_trunc('day', ts, 'Asia/Kathmandu') AS t, count(*) AS n FROM samples GROUP BY 1"
    assert any("clock of Asia/Kathmandu" in notice for notice in autumn.query(sql).notices)


def test_an_unknown_zone_is_an_error_with_the_nearest(autumn: Session) -> None:
    sql = "SELECT date_trunc('day', ts, 'Europe/Osla') AS t, count(*) AS n FROM samples GROUP BY 1"
    with pytest.raises(QueryError, match=r"no time zone 'Europe/Osla'\. Did you mean 'Europe/Oslo'") as caught:
        autumn.query(sql)
    assert caught.value.code == "22023"


@pytest.mark.parametrize(
    "zone, first, last, granule",
    [
        ("Europe/Oslo", "2026-01-01", "2027-01-01", 3600),
        ("Europe/Oslo", "2026-11-01", "2026-12-01", 3600),
        ("Europe/London", "2026-11-01", "2027-03-01", 0),
        ("Asia/Kolkata", "2026-01-01", "2027-01-01", 19800),
        ("Asia/Kathmandu", "2026-01-01", "2027-01-01", 20700),
        ("Africa/Monrovia", "1971-06-01", "1972-12-01", 30),
        ("America/St_Johns", "2006-01-01", "2007-01-01", 60),
    ],
)
def test_granules(duck: Duck, zone: str, first: str, last: str, granule: int) -> None:
    ends = (int(datetime.fromisoformat(f"{at}T00:00:00+00:00").timestamp()) * 10**6 for at in (first, last))
    assert granule_s(zone, Window(*ends), duck) == granule


@pytest.mark.parametrize("seed", range(6))
def test_granules_keep_their_promise(duck: Duck, seed: int) -> None:
    """Within a bucket that divides the granule, Python's own zone data sees one offset, a multiple of the bucket."""
    rng = random.Random(seed)
    zone = rng.choice(("Europe/Oslo", "Australia/Lord_Howe", "America/Caracas", "Asia/Pyongyang", "Pacific/Apia"))
    year = rng.randrange(2007, 2019)
    start, end = (int(datetime(at, 1, 1, tzinfo=UTC).timestamp()) for at in (year, year + 1))
    granule = granule_s(zone, Window(start * 10**6, end * 10**6), duck)
    bucket = next(seconds for seconds in (3600, 1800, 900, 300, 60, 1) if granule % seconds == 0)
    offsets = [
        datetime.fromtimestamp(at, ZoneInfo(zone)).utcoffset() for at in range(start, end, 900 if bucket >= 900 else 60)
    ]
    steps = bucket // (900 if bucket >= 900 else 60)
    for place in range(0, len(offsets), steps):
        assert len(set(offsets[place : place + steps])) == 1
        assert offsets[place] is not None
        assert offsets[place] % timedelta(seconds=bucket) == timedelta()
