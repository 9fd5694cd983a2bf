"""MEASURE(name): what a cube declares under a name, equal to the formula written out, through both doors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlcorpus import Query, check, same
from sqllake import make_lake

from cubes.load import load_cubes
from cubes.session import Session
from lake.errors import QueryError
from lake.settings import Settings

CALLS = """
cube: calls
fact: requests
grains: [5m, 1h, 1d]
dimensions: [site, model]
measures:
  calls: count
  timed: {count: e2e_ms}
  bad: {count: {where: "status <> 'ok'"}}
  bad_share: {ratio: {of: bad, over: calls}}
  tokens: {sum: output_tokens}
  tokens_a_call: {ratio: {of: tokens, over: calls}}
  pace: {rate: output_tokens}
  least: {min: e2e_ms}
  most: {max: e2e_ms}
  mean: {avg: e2e_ms}
  spread: {stddev: e2e_ms}
  newest: {last: output_tokens}
  latency: {quantiles: e2e_ms, grains: [1h, 1d]}
  users: {distinct: user_hash, grains: [1h, 1d]}
  p50_latency: {max: e2e_ms}
"""
GOOD = """
cube: good_calls
fact: requests
where: status = 'ok' AND priority = 'high'
grains: [1h, 1d]
dimensions: [model]
measures:
  calls: count
  most: {max: e2e_ms}
  paid: {sum: output_tokens}
"""
MORE = """
cube: more_calls
fact: requests
grains: [1d]
dimensions: [tenant]
measures:
  calls: count
  tokens: {sum: output_tokens, description: As in calls}
  tokens_a_call: {ratio: {of: tokens, over: calls}}
  latency: {quantiles: e2e_ms, relative_error: 0.1}
  users: {distinct: user_hash, exact_to: 16}
"""
GAUGES = """
cube: gauges
fact: samples
grains: [1h, 1d]
dimensions: [host, metric]
measures:
  level: {time_avg: value}
  area: {integral: value}
  present: {coverage: value}
  delay: {quantiles: counts}
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session over a random lake and the cubes of this file."""
    folder = tmp_path_factory.mktemp("named")
    for name, text in (("calls", CALLS), ("good_calls", GOOD), ("more_calls", MORE), ("gauges", GAUGES)):
        (folder / f"{name}.yaml").write_text(text)
    settings = Settings(lake=folder / "lake", memory_mib=512)
    settings.lake.mkdir()
    found = load_cubes(folder)
    cubes = [found[name] for name in ("calls", "good_calls")]
    make_lake(settings, rows=400, cubes=cubes)
    with Session(settings, cubes=[*cubes, found["more_calls"], found["gauges"]]) as session:
        yield session


DAY = "ts >= '2026-10-06' AND ts < '2026-10-07'"


@pytest.mark.parametrize(
    ("measure", "formula"),
    [
        ("timed", "count(e2e_ms)"),
        ("bad", "count(*) FILTER (WHERE status <> 'ok')"),
        ("bad_share", "count(*) FILTER (WHERE status <> 'ok') * 1.0 / nullif(count(*), 0)"),
        ("tokens", "sum(output_tokens)"),
        ("tokens_a_call", "sum(output_tokens) * 1.0 / nullif(count(*), 0)"),
        ("pace", "rate(output_tokens)"),
        ("least", "min(e2e_ms)"),
        ("mean", "avg(e2e_ms)"),
        ("spread", "stddev(e2e_ms)"),
        ("newest", "last(output_tokens)"),
        ("latency, 0.9", "percentile_cont(0.9) WITHIN GROUP (ORDER BY e2e_ms)"),
        ("p99_latency", "percentile_cont(0.99) WITHIN GROUP (ORDER BY e2e_ms)"),
        ("p999_latency", "percentile_cont(0.999) WITHIN GROUP (ORDER BY e2e_ms)"),
        ("p5_latency", "percentile_cont(0.05) WITHIN GROUP (ORDER BY e2e_ms)"),
        ("p50_latency", "max(e2e_ms)"),  # a declared name comes first
        ("users", "count(DISTINCT user_hash)"),
    ],
)
@pytest.mark.parametrize("table", ["calls", "requests"])
def test_a_measure_is_its_formula(session: Session, measure: str, formula: str, table: str) -> None:
    text = f"SELECT model, MEASURE({measure}) AS x FROM {table} WHERE {DAY} GROUP BY model"
    answer = check(session, Query(measure, text, "cube", text))
    same(answer, session.query(text.replace(f"MEASURE({measure})", formula).replace("calls", "requests")), text)
    plain = session.query(f"SELECT model, {formula} AS x FROM requests WHERE {DAY} GROUP BY model", raw=True)
    assert len(plain.table) > 2
    if not any(column.relative_error for column in answer.columns):
        same(answer, plain, text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (
            "SELECT model, MEASURE(bad) FROM calls GROUP BY 1 HAVING MEASURE(bad) > 3 ORDER BY MEASURE(bad) DESC, 1",
            "SELECT model, count(*) FILTER (WHERE status <> 'ok') AS bad FROM requests GROUP BY 1 "
            "HAVING count(*) FILTER (WHERE status <> 'ok') > 3 ORDER BY 2 DESC, model",
        ),
        (
            "SELECT MEASURE(bad) FILTER (WHERE site = 'eu') AS x, MEASURE(bad_share) FILTER (WHERE site = 'eu') AS y "
            "FROM requests r",
            "SELECT count(*) FILTER (WHERE site = 'eu' AND status <> 'ok') AS x, 1.0 * count(*) FILTER (WHERE "
            "status <> 'ok' AND site = 'eu') / count(*) FILTER (WHERE site = 'eu') AS y FROM requests",
        ),
        (
            "SELECT 2 * MEASURE(c.tokens) - MEASURE(calls.timed) AS x FROM requests c",
            "SELECT 2 * sum(output_tokens) - count(e2e_ms) AS x FROM requests",
        ),
        (
            "SELECT max(x) AS x FROM (SELECT site, MEASURE(mean) AS x FROM calls GROUP BY site) t",
            "SELECT max(x) AS x FROM (SELECT site, avg(e2e_ms) AS x FROM requests GROUP BY site) t",
        ),
        (
            "WITH calls AS (SELECT 1 AS tokens) SELECT tokens FROM calls",
            "SELECT 1 AS tokens",
        ),
        (
            "SELECT model, MEASURE(paid) FROM requests GROUP BY 1",
            "SELECT model, sum(output_tokens) FILTER (WHERE status = 'ok' AND priority = 'high') AS paid "
            "FROM requests GROUP BY 1",
        ),
        (
            "SELECT count(*) AS n, MEASURE(paid) FROM good_calls WHERE site = 'eu' OR site IS NULL",
            "SELECT count(*) AS n, sum(output_tokens) AS paid FROM requests "
            "WHERE status = 'ok' AND priority = 'high' AND (site = 'eu' OR site IS NULL)",
        ),
        (
            "SELECT host, MEASURE(level), MEASURE(area) FROM gauges WHERE metric = 'gpu.power' GROUP BY host",
            "SELECT host, time_avg(value) AS level, integral(value) AS area FROM samples "
            "WHERE metric = 'gpu.power' GROUP BY host",
        ),
    ],
)
def test_measures_stand_wherever_aggregates_do(session: Session, text: str, plain: str) -> None:
    same(check(session, Query("x", text, "", text)), session.query(plain, raw=True), text)


def test_a_cube_in_from_is_answered_by_its_own_cells(session: Session) -> None:
    """Its filter is certain of them, although neither status nor priority is a dimension."""
    text = "SELECT model, MEASURE(calls), MEASURE(most) FROM good_calls GROUP BY model"
    answer = check(session, Query("x", text, "cube", text))
    assert answer.receipt["blocks"][0]["cube"] == "good_calls"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("SELECT MEASURE(tokns) FROM calls", "no measure 'tokns'.*Did you mean 'tokens'"),
        (
            "SELECT MEASURE(calls) FROM requests",
            r"calls is another than that of cube good_calls.*\(calls.calls\)",
        ),
        ("SELECT MEASURE(latency) FROM calls", r"MEASURE\(p99_latency\)"),
        ("SELECT MEASURE(tokens, 0.5) FROM calls", "no distribution"),
        ("SELECT MEASURE(latency, 1.5) FROM calls", "from 0 to 1"),
        ("SELECT MEASURE(p50_tokens) FROM calls", "no measure 'p50_tokens'"),
        ("SELECT MEASURE(tokens) OVER () FROM calls", "window"),
        ("SELECT MEASURE(1 + 1) FROM calls", "name of a measure"),
        ("SELECT MEASURE(tokens) FROM (SELECT * FROM calls) t", "FROM"),
        ("SELECT MEASURE(tokens)", "FROM"),
        ("SELECT MEASURE(pace) FROM calls", "for how long"),
        ("SELECT MEASURE(level) FROM gauges", "several metrics"),
        ("SELECT count(*) FROM requests r LEFT JOIN good_calls g ON r.model = g.model", "outer join"),
    ],
)
def test_refused_measures(session: Session, text: str, said: str) -> None:
    for raw in (False, True):
        with pytest.raises(QueryError, match=said):
            session.query(text, raw=raw)


def test_named_alike_under_another_filter_is_another(session: Session) -> None:
    """`most` of calls has no filter, so beside it `good_calls.most` is another; by name each is itself.

    What more_calls declares as calls does is the same, wherever it is kept: every other test of this file asks it.
    """
    with pytest.raises(QueryError, match="another"):
        session.query("SELECT MEASURE(most) FROM requests")
    for cube, where in (("calls", "true"), ("good_calls", "status = 'ok' AND priority = 'high'")):
        text = f"SELECT MEASURE({cube}.most) AS most FROM requests"
        same(session.query(text), session.query(f"SELECT max(e2e_ms) AS most FROM requests WHERE {where}"), text)
