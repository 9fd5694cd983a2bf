"""Derived dimensions: lookups as of a row's time and bands of numbers, in cells, in SQL, and after a lookup changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cubeoracle import publish, small_cube
from sqlcorpus import same

from cubes.build import build, refresh
from cubes.lookup_state import transaction
from cubes.model import Cube
from cubes.segments import table_of
from cubes.session import Answer, Session
from cubes.verify import verify
from lake import delta, tables
from lake.duck import Duck, connect
from lake.lookup_store import publish_lookup
from lake.lookups import Row, load_lookups
from lake.settings import Settings

TEXT = """
cube: small
fact: samples
grains: [1h, 1d]
dimensions: [metric, hardware, site]
joins: {hardware: [vendor, memory_gib], carbon: {}}
bands: {load: {column: value, edges: [-1, 0, 2.50, 10]}, memory: {column: hardware.memory_gib, edges: [40, 80]},
        size: {column: labels.size, edges: [7, 70]}}
cuboids: [[metric, vendor], [metric, hardware], [metric, load], [metric, memory, size]]
measures: {total: {sum: value}, highest: {max: value}, spread: {quantiles: value}}
""".replace(", carbon: {}", "")

START = datetime(2026, 3, 1, tzinfo=UTC)
NOON = START + timedelta(days=2, hours=12)


def hardware(*rows: dict[str, str]) -> list[Row]:
    names = [column.name for column in load_lookups()["hardware"].columns]
    return [tuple(row.get(name) for name in names) for row in rows]


OLD = hardware(
    {"hardware": "h100", "vendor": "NVIDIA", "memory_gib": "80"},
    {"hardware": "mi300", "vendor": "ATI", "memory_gib": "192", "valid_to": NOON.strftime("%Y-%m-%dT%H:%M:%SZ")},
    {"hardware": "mi300", "vendor": "AMD", "memory_gib": "192", "valid_from": NOON.strftime("%Y-%m-%dT%H:%M:%SZ")},
    {"hardware": "l4", "vendor": "NVIDIA", "valid_from": "2027-01-01T00:00:00Z"},
)


def rows_of(seed: int, count: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {
            "ts": START + timedelta(seconds=rng.randrange(5 * 86400)),
            "metric": rng.choice(("gpu.power", "cpu.utilization")),
            "value": rng.choice((None, Decimal("2.5"), Decimal(0), Decimal(rng.randrange(-3000, 15000)).scaleb(-3))),
            "interval_s": Decimal(15),
            "hardware": rng.choice(("h100", "mi300", "l4", "unknown", None)),
            "site": rng.choice(("eu", "us")),
            "labels": rng.choice((None, '{"size":"7"}', '{"size":"69.9"}', '{"size":"big"}', '{"other":"1"}')),
        }
        for _ in range(count)
    ]


def band(value: Decimal | None, edges: list[str]) -> str | None:
    if value is None:
        return None
    below = [edge for edge in edges if Decimal(edge) <= value]
    above = [edge for edge in edges if Decimal(edge) > value]
    low, high = below[-1] if below else "-inf", above[0] if above else "inf"
    return f"{'[' if below else '('}{low},{high})"


def vendor(row: dict[str, Any]) -> str | None:
    known = {"h100": "NVIDIA", "mi300": "ATI" if row["ts"] < NOON else "AMD"}
    return known.get(row["hardware"])


class Lake:
    """A lake with a built cube; a fresh session for each question."""

    def __init__(self, settings: Settings, cube: Cube, rows: list[dict[str, Any]]) -> None:
        self.settings, self.cube, self.rows = settings, cube, rows
        self.duck = connect(settings)
        publish_lookup(settings.lake, self.duck, "hardware", OLD)
        publish(self.duck, settings, rows, 1)
        build(settings, self.duck, cube)
        self.session = Session(settings, cubes=[cube])

    def ask(self, sql: str) -> Answer:
        routed = self.session.query(sql)
        same(routed, self.session.query(sql, raw=True), sql)
        return routed

    def counts(self, column: str) -> dict[Any, int]:
        answer = self.ask(f"SELECT {column} AS x, count(*) AS n FROM samples GROUP BY 1")
        assert answer.path == "cube", answer.notices
        pairs = zip(answer.table.column("x").to_pylist(), answer.table.column("n").to_pylist(), strict=True)
        return dict(pairs)


def tally(values: list[Any]) -> dict[Any, int]:
    return {value: values.count(value) for value in set(values)}


@pytest.fixture(scope="module")
def asked_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake that is only read."""
    folder = tmp_path_factory.mktemp("derived")
    (folder / "lake").mkdir()
    lake = Lake(Settings(lake=folder / "lake", memory_mib=512), small_cube(folder, TEXT), rows_of(1, 400))
    publish_lookup(lake.settings.lake, lake.duck, "metrics", load_lookups()["metrics"].rows)
    yield lake
    lake.session.close()


@pytest.fixture
def made(settings: Settings, tmp_path: Path) -> Iterator[Lake]:
    lake = Lake(settings, small_cube(tmp_path, TEXT), rows_of(1, 400))
    yield lake
    lake.session.close()


def test_derived_dimensions_follow_the_declared_ones(asked_of: Lake) -> None:
    cube = asked_of.cube
    assert cube.dimensions == ("metric", "hardware", "site", "vendor", "memory_gib", "load", "memory", "size")
    assert [one.edges for one in cube.derived] == [(), (), ("-1", "0", "2.5", "10"), ("40", "80"), ("7", "70")]


def test_cells_and_rows_say_what_plain_python_says(asked_of: Lake) -> None:
    assert asked_of.counts("vendor") == tally([vendor(row) for row in asked_of.rows])
    assert asked_of.counts("load") == tally([band(row["value"], ["-1", "0", "2.5", "10"]) for row in asked_of.rows])
    sizes = {'{"size":"7"}': "[7,70)", '{"size":"69.9"}': "[7,70)"}
    assert asked_of.counts("size") == tally([sizes.get(row["labels"]) for row in asked_of.rows])
    memory = {"h100": "[80,inf)", "mi300": "[80,inf)"}
    assert asked_of.counts("memory") == tally([memory.get(row["hardware"]) for row in asked_of.rows])
    report = verify(asked_of.settings, asked_of.duck, asked_of.cube)
    assert report.holds, report.shown


@pytest.mark.parametrize(
    "sql, path",
    [
        ("SELECT vendor, metric, sum(value) AS s, max(value) AS m FROM samples GROUP BY 1, 2", "cube"),
        ("SELECT memory_gib, count(*) AS n FROM samples GROUP BY 1", "cube"),
        ("SELECT site, count(*) AS n FROM samples WHERE vendor = 'AMD' AND memory_gib > 100 GROUP BY 1", "cube"),
        ("SELECT count(*) FILTER (WHERE load = '[0,2.5)') AS n, count(DISTINCT vendor) AS v FROM samples", "cube"),
        ("SELECT vendor, date_trunc('day', ts) AS t, count(value) AS n FROM samples GROUP BY 1, 2", "cube"),
        ("SELECT vendor, host, count(*) AS n FROM samples GROUP BY 1, 2", "raw"),
        ("""SELECT vendor, percentile_disc(0.9) WITHIN GROUP (ORDER BY value) AS p FROM samples
            WHERE metric = 'gpu.power' GROUP BY 1""", "cube"),
    ],
)  # fmt: skip
def test_derived_dimensions_in_sql(asked_of: Lake, sql: str, path: str) -> None:
    answer = asked_of.ask(sql)
    assert answer.path == path, answer.notices


@pytest.mark.parametrize(
    "sql, path",
    [
        ("""SELECT h.vendor, s.metric, sum(s.value) AS t FROM samples s JOIN hardware h ON s.hardware = h.hardware
            GROUP BY 1, 2""", "cube"),
        ("""SELECT h.vendor, count(*) AS n FROM samples s LEFT JOIN hardware h USING (hardware) GROUP BY 1""", "cube"),
        ("SELECT vendor, count(*) AS n FROM samples s, hardware h WHERE s.hardware = h.hardware GROUP BY 1", "cube"),
        ("""SELECT h.vendor, count(*) AS n, min(h.memory_gib) AS m, count(h.memory_gib) AS c FROM hardware h
            JOIN samples s ON s.hardware = h.hardware WHERE s.site = 'eu' AND h.memory_gib > 50 GROUP BY 1""", "cube"),
        ("""SELECT h.vendor, percentile_cont(0.5) WITHIN GROUP (ORDER BY s.value) AS p FROM samples s
            JOIN hardware h ON s.hardware = h.hardware WHERE s.metric = 'gpu.power' GROUP BY 1""", "cube"),
        ("""SELECT h.vendor, count(*) AS n FROM samples s JOIN hardware h ON s.hardware = h.hardware
            AND (h.valid_from IS NULL OR s.ts >= h.valid_from) AND (h.valid_to IS NULL OR s.ts < h.valid_to)
            GROUP BY 1""", "cube"),
        ("""SELECT h.vendor, count(*) AS n FROM samples s JOIN hardware h ON s.hardware = h.hardware
            AND (h.valid_to IS NULL OR s.ts <= h.valid_to) GROUP BY 1""", "raw"),
        ("""SELECT m.kind, h.vendor, count(*) AS n FROM samples s JOIN hardware h ON s.hardware = h.hardware
            JOIN metrics m ON m.name = s.metric WHERE s.ts >= '2026-03-02' AND s.ts < '2026-03-04 11:30'
            GROUP BY 1, 2 HAVING count(*) > 3 ORDER BY 3 DESC, 1, 2 LIMIT 5""", "cube+raw"),
        ("""SELECT sum(s.value * h.memory_gib) AS x FROM samples s JOIN hardware h ON s.hardware = h.hardware
            WHERE s.metric = 'gpu.power'""", "raw"),
        ("""SELECT h.vendor, count(*) AS n FROM samples s RIGHT JOIN hardware h ON s.hardware = h.hardware
            GROUP BY 1""", "raw"),
    ],
)  # fmt: skip
def test_lookups_that_a_statement_joins(asked_of: Lake, sql: str, path: str) -> None:
    answer = asked_of.ask(sql)
    assert answer.path == path, answer.notices
    assert answer.receipt["rows"] >= 0


def test_a_changed_lookup_makes_its_values_stale_until_the_next_build(made: Lake) -> None:
    sql = "SELECT vendor, metric, count(*) AS n FROM samples GROUP BY 1, 2"
    by_band = "SELECT memory, site, count(*) AS n FROM samples GROUP BY 1, 2"
    lines = [list(row) for row in OLD]
    lines[0][1] = "Nvidia"
    publish_lookup(made.settings.lake, made.duck, "hardware", [tuple(line) for line in lines])
    # The hour in which a row gives way to the next is on a bound of hours, so the kept keys still answer, by hour.
    answer = made.ask(sql)
    assert answer.path == "cube"
    assert {piece["grain"] for piece in answer.receipt["blocks"][0]["pieces"]} == {"1h"}
    assert "hardware" in answer.receipt["blocks"][0]["pieces"][0]["cuboid"]
    assert "Nvidia" in answer.table.column("vendor").to_pylist()
    assert made.ask(by_band).path == "cube"
    assert verify(made.settings, made.duck, made.cube).holds
    result = build(made.settings, made.duck, made.cube)
    assert result.kind == "build"
    # Only days of the kind of hardware whose row changed.
    assert set(result.refreshed) == {row["ts"].date() for row in made.rows if row["hardware"] == "h100"}
    cells = delta.open_snapshot(made.settings.lake, table_of(made.cube))
    newest = delta.open_snapshot(made.settings.lake, tables.lookup("hardware"))
    assert cells.txn(transaction("hardware")) == newest.version
    answer = made.ask(sql)
    assert {piece["grain"] for piece in answer.receipt["blocks"][0]["pieces"]} == {"1d"}
    assert verify(made.settings, made.duck, made.cube).holds
    assert build(made.settings, made.duck, made.cube).kind == "none"


def test_a_lookup_that_changes_within_buckets_is_answered_from_rows_until_built(made: Lake) -> None:
    lines = [dict(zip([c.name for c in load_lookups()["hardware"].columns], row, strict=True)) for row in OLD]
    lines[1]["valid_to"] = lines[2]["valid_from"] = "2026-03-03T12:34:56Z"
    publish_lookup(made.settings.lake, made.duck, "hardware", [tuple(line.values()) for line in lines])
    sql = "SELECT vendor, count(*) AS n FROM samples GROUP BY 1"
    answer = made.ask(sql)
    assert answer.path == "raw"
    assert any("lookup hardware" in notice for notice in answer.notices)
    result = build(made.settings, made.duck, made.cube)
    assert [str(day) for day in result.refreshed] == ["2026-03-03"]
    assert made.ask(sql).path == "cube"


def test_a_column_that_no_dimension_shows_makes_nothing_stale(made: Lake) -> None:
    lines = [list(row) for row in OLD]
    lines[0][3] = "700"
    publish_lookup(made.settings.lake, made.duck, "hardware", [tuple(line) for line in lines])
    answer = made.ask("SELECT vendor, metric, count(*) AS n FROM samples GROUP BY 1, 2")
    assert {piece["cuboid"] for piece in answer.receipt["blocks"][0]["pieces"]} == {"metric × vendor"}
    assert build(made.settings, made.duck, made.cube).refreshed == ()


def test_a_refresh_keeps_to_the_lookup_that_the_cube_stands_on(made: Lake) -> None:
    lines = [list(row) for row in OLD]
    lines[0][1] = "Nvidia"
    publish_lookup(made.settings.lake, made.duck, "hardware", [tuple(line) for line in lines])
    refresh(made.settings, made.duck, made.cube, [START.date()])
    report = verify(made.settings, made.duck, made.cube)
    assert report.holds, report.shown


def test_two_rows_that_hold_at_once_never_double_a_row(duck: Duck, settings: Settings, tmp_path: Path) -> None:
    overlapping = hardware(
        {"hardware": "h100", "vendor": "first"},
        {"hardware": "h100", "vendor": "second", "valid_from": "2026-03-02T00:00:00Z"},
    )
    publish_lookup(settings.lake, duck, "hardware", overlapping)
    rows = [{"ts": START + timedelta(days=d), "metric": "m", "value": None, "hardware": "h100"} for d in range(3)]
    publish(duck, settings, rows, 1)
    cube = small_cube(tmp_path, TEXT)
    build(settings, duck, cube)
    with Session(settings, cubes=[cube]) as session:
        for raw in (False, True):
            answer = session.query("SELECT vendor, count(*) AS n FROM samples GROUP BY 1 ORDER BY 1", raw=raw)
            assert answer.table.column("n").to_pylist() == [1, 2]
