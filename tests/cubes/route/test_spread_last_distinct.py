"""Variances, latest values and distinct counts through both doors: cells and rows give the same, to the last digit."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from decimal import Decimal

import pytest
from sqlcorpus import Query, check
from sqllake import make_lake

from cubes.load import load_cubes
from cubes.session import Session
from lake.errors import QueryError
from lake.settings import Settings

REQUESTS = """
cube: calls
fact: requests
grains: [5m, 1h, 1d]
dimensions: [site, model]
cuboids: [[site]]
measures:
  slow: {stddev: e2e_ms}
  tokens_spread: {var_pop: output_tokens}
  latest_tokens: {last: output_tokens}
  users: {distinct: user_hash, exact_to: 16, grains: [1h, 1d]}
  callers: {distinct: request_id, exact_to: 256, grains: [1h, 1d]}
"""
SAMPLES = """
cube: gauges
fact: samples
grains: [1h, 1d]
dimensions: [host, metric]
measures:
  deviation: {stddev_pop: value}
  latest: {last: value}
  area: {integral: value}
"""
RANGE = "ts >= '2026-10-06 03:20:00' AND ts < '2026-10-07 20:02:03'"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session over a random lake and two cubes of this file's measures."""
    folder = tmp_path_factory.mktemp("measured")
    for name, text in (("calls", REQUESTS), ("gauges", SAMPLES)):
        (folder / f"{name}.yaml").write_text(text)
    settings = Settings(lake=folder / "lake", definitions=folder, memory_mib=512)
    settings.lake.mkdir()
    cubes = load_cubes(folder)
    make_lake(settings, rows=600, cubes=[cubes["calls"], cubes["gauges"]])
    with Session(settings) as session:
        yield session


@pytest.mark.parametrize(
    "select",
    [
        "site, stddev(e2e_ms) AS a, stddev_pop(e2e_ms), var_samp(e2e_ms), variance(e2e_ms), var_pop(e2e_ms)",
        "site, var_pop(output_tokens) AS a, stddev_samp(output_tokens) FILTER (WHERE model = 'qwen_2') AS b",
        "site, last(output_tokens) AS a, last(output_tokens) FILTER (WHERE model = 'nobody') AS b",
        "model, stddev(e2e_ms) / nullif(avg(e2e_ms), 0) AS a, count(DISTINCT status) FILTER (WHERE false) AS b",
    ],
)
@pytest.mark.parametrize("where", ["true", RANGE, "ts < '1999-01-01'"])
def test_requests_are_the_same_through_both_doors(measured: Session, select: str, where: str) -> None:
    text = f"SELECT {select} FROM requests WHERE {where} GROUP BY 1"
    answer = check(measured, Query("x", text, "", text))
    if "status" not in select and "1999" not in where:
        assert answer.path in ("cube", "cube+raw"), answer.notices


@pytest.mark.parametrize("where", ["metric = 'gpu.power'", f"metric = 'gpu.power' AND {RANGE}"])
def test_samples_are_the_same_through_both_doors(measured: Session, where: str) -> None:
    text = (
        f"SELECT host, stddev(value) AS a, var_pop(value) AS b, last(value) AS c FROM samples WHERE {where} GROUP BY 1"
    )
    assert check(measured, Query("x", text, "", text)).path in ("cube", "cube+raw")


def test_a_deviation_is_that_of_the_values(measured: Session) -> None:
    values = [row[0] for row in _rows(measured, "SELECT e2e_ms FROM requests WHERE NOT e2e_ms IS NULL")]
    assert all(isinstance(value, Decimal) for value in values)
    answer = _rows(measured, "SELECT stddev_pop(e2e_ms), var_samp(e2e_ms), stddev(e2e_ms) FROM requests")[0]
    wanted = (statistics.pstdev(values), statistics.variance(values), statistics.stdev(values))
    assert answer == pytest.approx([float(one) for one in wanted], rel=1e-12)


def test_of_one_value_there_is_no_sample_deviation(measured: Session) -> None:
    one = "SELECT stddev(e2e_ms), stddev_pop(e2e_ms), var_samp(e2e_ms) FROM requests WHERE request_id = '{}'"
    [(name,)] = _rows(measured, "SELECT min(request_id) FROM requests WHERE NOT e2e_ms IS NULL")
    assert _rows(measured, one.format(name)) == [(None, 0.0, None)]
    assert _rows(measured, one.format("none")) == [(None, None, None)]


@pytest.mark.parametrize("where", ["true", "ts >= '2026-10-06 00:00:00' AND ts < '2026-10-06 01:00:00'", RANGE])
def test_distinct_values_are_exact_from_cells_or_else_from_rows(measured: Session, where: str) -> None:
    """20 users are more than the 16 that a cell keeps, unless the range is short; 256 requests are an hour's."""
    for column in ("user_hash", "request_id"):
        for keys in ("site", "site, date_trunc('hour', ts)"):
            text = f"SELECT {keys}, count(DISTINCT {column}) AS n FROM requests WHERE {where} GROUP BY {keys}"
            check(measured, Query("x", text, "", text))


def test_few_values_are_counted_from_cells_and_many_are_pushed_down_with_the_reason(measured: Session) -> None:
    hour = "ts >= '2026-10-06 02:00:00' AND ts < '2026-10-06 03:00:00'"
    few = measured.query(f"SELECT count(DISTINCT user_hash), count(*) FROM requests WHERE {hour}")
    assert few.path == "cube", few.notices
    many = measured.query("SELECT count(DISTINCT user_hash) FROM requests")
    assert many.path == "raw"
    assert "more than 16 values of user_hash in a group" in many.notices[0]


def test_an_estimate_stays_within_its_bound_and_says_so(measured: Session) -> None:
    text = "SELECT site, approx_count_distinct(request_id) AS n FROM requests GROUP BY site"
    answer, exact = measured.query(text), measured.query(text, raw=True)
    assert answer.path == "cube"
    assert [column.relative_error for column in answer.columns] == [0.0, 0.1879]
    found, wanted = (
        dict(zip(*(column.to_pylist() for column in one.table.columns), strict=True)) for one in (answer, exact)
    )
    assert found.keys() == wanted.keys()
    for site, count in wanted.items():
        assert abs(found[site] - count) <= 0.1879 * count, site
    assert any(found[site] != wanted[site] for site in wanted)
    ordered = measured.query(text + " ORDER BY n DESC")
    assert ordered.path == "raw"


def test_sets_intersect_by_their_union(measured: Session) -> None:
    """|A and B| = |A| + |B| - |A or B|: what the hashes of a union can say about an intersection."""
    counts = "count(DISTINCT user_hash) FILTER (WHERE site = '{}')"
    both = (
        f"{counts.format('eu')} + {counts.format('us')} - count(DISTINCT user_hash) FILTER (WHERE site IN ('eu', 'us'))"
    )
    text = f"SELECT {both} AS n FROM requests WHERE ts >= '2026-10-06 02:00:00' AND ts < '2026-10-06 03:00:00'"
    check(measured, Query("x", text, "cube", text))


def test_the_largest_groups_come_from_a_cuboid(measured: Session) -> None:
    text = "SELECT model, sum(output_tokens) AS n FROM requests GROUP BY model ORDER BY n DESC NULLS LAST LIMIT 2"
    raw = measured.query(text, raw=True)
    answer = measured.query(text)
    assert answer.table.to_pylist() == raw.table.to_pylist()


def _rows(session: Session, text: str) -> list[tuple[object, ...]]:
    return list(zip(*(column.to_pylist() for column in session.query(text).table.columns), strict=True))


@pytest.mark.parametrize(
    "keys, where",
    [
        ("host", RANGE),
        ("date_trunc('hour', ts)", "true"),
        ("date_trunc('hour', ts)", RANGE),
        ("time_bucket('2 hours', ts)", RANGE),
        ("date_bin('30 minutes', ts, TIMESTAMP '2020-02-02 00:15:00')", "true"),
        ("date_trunc('month', ts)", "ts >= '2026-10-06'"),
    ],
)
def test_rates_and_coverage_are_the_same_through_both_doors(measured: Session, keys: str, where: str) -> None:
    """Bucket by bucket, cut by the range at its ends; a FILTER goes to the sum."""
    aggregates = "rate(value), coverage(value), rate(value) FILTER (WHERE host = 'host-1') AS r, rate(value) * 2 AS d"
    text = f"SELECT {keys} AS g, {aggregates} FROM samples WHERE metric = 'gpu.power' AND {where} GROUP BY 1"
    check(measured, Query("x", text, "", text))


def test_a_rate_is_a_sum_per_second(measured: Session) -> None:
    where = "metric = 'gpu.power' AND ts >= '2026-10-06 00:30:00' AND ts < '2026-10-06 03:00:00'"
    [(rate, covered, total, seconds)] = _rows(
        measured,
        "SELECT rate(value), coverage(value), sum(value), sum(interval_s) FILTER (WHERE metric = 'gpu.power')"
        f" FROM samples WHERE {where}",
    )
    assert isinstance(total, Decimal)
    assert rate == round(total / 9000, 9)
    [(weight,)] = _rows(
        measured, f"SELECT sum(CASE WHEN value IS NULL THEN 0 ELSE interval_s END) FROM samples WHERE {where}"
    )
    assert isinstance(weight, Decimal)
    assert covered == round(weight / 9000, 9)
    assert seconds >= weight
    hours = f"SELECT date_trunc('hour', ts), rate(value), sum(value) FROM samples WHERE {where} GROUP BY 1 ORDER BY 1"
    for (_, found, added), length in zip(_rows(measured, hours), (1800, 3600, 3600), strict=True):
        assert found == round(added / length, 9)


@pytest.mark.parametrize(
    "text, message",
    [
        ("SELECT rate(value) FROM samples WHERE metric = 'x'", "for how long"),
        (
            "SELECT rate(value) FROM samples WHERE metric = 'x' GROUP BY extract(hour FROM ts)",
            "how long the groups are",
        ),
        ("SELECT rate(value) OVER () FROM samples WHERE metric = 'x'", "rows of one fact"),
        ("SELECT rate(value) FROM samples", "several metrics"),
        ("SELECT last(value) FROM samples", "several metrics"),
    ],
)
def test_what_has_no_length_or_mixes_metrics_is_refused(measured: Session, text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        measured.query(text)
