"""What is not a plain read of facts never reaches the engine, and every refusal says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from cubes.route.bind import bind
from cubes.route.parse import parse_text
from cubes.route.statement import Statement
from cubes.route.view import Shelf, View
from lake.errors import QueryError
from lake.times import utc_now

# No cubes, hence no engine is asked for anything.
NOTHING = View(Shelf(Path(), None, ()), utc_now())  # type: ignore[arg-type]
REFUSED = [
    ("SELECT count(DISTINCT site ORDER BY site) FROM samples", "ORDER BY inside an aggregate"),
    ("SELECT * EXCLUDE (ts) FROM requests", "EXCEPT is not supported"),
    ("SELECT * REPLACE (1 AS ts) FROM requests", "REPLACE is not supported"),
    ("SELECT site FROM requests ORDER BY site FETCH FIRST 1 ROW WITH TIES", "WITH TIES is not supported"),
    ("SELECT site FROM requests FETCH FIRST 10 PERCENT ROWS ONLY", "PERCENT is not supported"),
    ("SELECT site FROM requests UNION BY NAME SELECT site FROM samples", "BY NAME is not supported"),
    ("SELECT count(site, host) FROM samples", "count\\(\\) takes one value"),
    ("SELECT site, count(*) FROM samples GROUP BY ALL", "ALL is not supported"),
    ("", "no statement"),
    ("SELECT 1; SELECT 2", "one statement at a time"),
    ("DROP TABLE samples", "not a read"),
    ("INSERT INTO samples SELECT * FROM samples", "not a read"),
    ("COPY samples TO 'x'", "not a read"),
    ("ATTACH DATABASE 'x.db' AS x", "not a read|syntax error"),
    ("SET memory_limit = '1TB'", "not a read"),
    ("PRAGMA database_list", "not a read"),
    ("EXPLAIN SELECT 1", "not a read"),
    ("VALUES (1)", "not a read"),
    ("SELECT * FROM read_csv('/etc/passwd')", "function can't stand for a table"),
    ("SELECT * FROM generate_series(1, 1000000000)", "function can't stand for a table"),
    ("SELECT * INTO b FROM samples", "not supported"),
    ("SELECT * FROM samples FOR UPDATE", "not supported"),
    ("SELECT * FROM samples TABLESAMPLE SYSTEM (1)", "not supported"),
    ("SELECT * FROM samples, LATERAL (SELECT 1) x", "not supported"),
    ("SELECT getenv('HOME')", "no function getenv"),
    ("SELECT pg_sleep(100)", "no function pg_sleep"),
    ("SELECT error('x')", "no function error"),
    ("SELECT fc_avg(1, 2)", "no function fc_avg"),
    ("SELECT * FROM fc_buckets", "begin with fc_"),
    ("SELECT 1 AS fc_x", "begin with fc_"),
    ("SELECT 'a'::regclass", "no cast|not supported"),
    ("SELECT $1", "not supported"),
    ("SELECT time_avg(1, 2)", "takes 1 arguments"),
    ("WITH RECURSIVE a AS (SELECT 1) SELECT * FROM a", "RECURSIVE"),
    ("SELECT sum(value FROM samples", "syntax error"),
    ("SELECT 'open", "syntax error"),
    ("SELECT 1 \0", "NUL"),
    ("SELECT " + "(" * 65 + "1" + ")" * 65, "nested more than 64"),
    ("SELECT 1 -- " + "x" * 262_144, "longer than"),
    ("SELECT " + "1," * 30_000 + "1", "more than 50000 tokens"),
    ("SELECT * FROM pg_catalog.pg_class", "no table"),
]

UNBOUND = [
    ("SELECT modle FROM requests", "42703", "no column 'modle'.*Did you mean 'model'"),
    ("SELECT r.x FROM requests r", "42703", "no column 'x' in r"),
    ("SELECT q.model FROM requests r", "42P01", "no table 'q' in FROM"),
    ("SELECT 1 FROM sampels", "42P01", "no table 'sampels'.*Did you mean 'samples'"),
    ("SELECT 1 FROM 'x.parquet'", "42P01", "no table"),
    ("SELECT model FROM requests a, requests b", "42702", "ambiguous"),
    ("SELECT 1 FROM requests, requests", "42712", "used twice"),
    ("SELECT model FROM requests GROUP BY 2", "42601", "position 2"),
    ("SELECT model FROM requests ORDER BY 0", "42601", "position 0"),
    ("SELECT model FROM requests LIMIT -1", "42601", "whole number"),
    ("SELECT model FROM requests UNION SELECT 1, 2", "42601", "1 and 2 columns"),
    ("SELECT count(*) AS n FROM requests WHERE n > 1", "42703", "no column 'n'"),
    ("SELECT avg(value) FROM samples", "42803", "several metrics.*WHERE metric"),
    ("SELECT host, max(value) FROM samples WHERE metric IN ('a', 'b') GROUP BY host", "42803", "several metrics"),
    ("SELECT time_avg(value) FROM samples WHERE metric = 'a' OR host = 'b'", "42803", "several metrics"),
    ("SELECT sum(value) OVER (PARTITION BY host) FROM samples", "42803", "several metrics"),
    ("SELECT avg(s.value) FROM samples s JOIN requests r ON s.host = r.host", "42803", "several metrics"),
    ("SELECT avg(v) FROM (SELECT value AS v FROM samples) t", "42803", "several metrics.*in the sub-query"),
    ("SELECT sum(t.v * 2) FROM (SELECT value + 1 AS v, metric AS m FROM samples) t", "42803", "several metrics"),
    ("WITH a AS (SELECT * FROM samples), b AS (SELECT value AS w FROM a) SELECT max(w) FROM b", "42803", "several"),
    ("SELECT max(x) FROM (SELECT metric, avg(value) AS x FROM samples GROUP BY metric) t", "42803", "several metrics"),
    ("SELECT sum(v) FROM (SELECT value FROM samples UNION ALL SELECT 1) t(v)", "42803", "several metrics"),
    (
        "SELECT m, avg(v) OVER (PARTITION BY h) FROM (SELECT metric, value, host FROM samples) t(m, v, h)",
        "42803",
        "sev",
    ),
    ("SELECT approx_percentile(counts, 0.5) FROM samples", "42803", "several metrics"),
]
# Where one metric is meant, or none is mixed, a sub-query is as good as the fact.
UNMIXED = [
    "SELECT avg(v) FROM (SELECT value AS v FROM samples WHERE metric = 'a') t",
    "SELECT avg(v) FROM (SELECT value, metric FROM samples) t(v, m) WHERE m = 'a'",
    "SELECT m, max(x) FROM (SELECT metric AS m, host, avg(value) AS x FROM samples GROUP BY 1, 2) t GROUP BY m",
    "WITH a AS (SELECT * FROM samples) SELECT max(value) FILTER (WHERE metric = 'a') FROM a",
    "SELECT max(n) FROM (SELECT host, count(value) AS n FROM samples GROUP BY host) t",
    "SELECT max(p) FROM (SELECT host, avg(value) FILTER (WHERE metric = 'a') AS p FROM samples GROUP BY 1) t",
    "SELECT max(p) FROM (SELECT host, max(CASE WHEN metric = 'a' THEN value END) AS p FROM samples GROUP BY 1) t",
    "SELECT count(v), min(h) FROM (SELECT value, host FROM samples) t(v, h)",
    "SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY metric ORDER BY value) AS n FROM samples) t",
    "SELECT sum(v) FROM (SELECT value AS v FROM evaluations) t",
]


@pytest.mark.parametrize("text", UNMIXED, ids=lambda value: str(value)[:40])
def test_unmixed(text: str) -> None:
    bound = bind(Statement(text, tree=parse_text(text)), NOTHING)
    assert bound.outputs


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=lambda value: str(value)[:40])
def test_refused(text: str, why: str) -> None:
    with pytest.raises(QueryError, match=why):
        parse_text(text)


@pytest.mark.parametrize(("text", "code", "why"), UNBOUND, ids=lambda value: str(value)[:40])
def test_unbound(text: str, code: str, why: str) -> None:
    with pytest.raises(QueryError, match=why) as caught:
        bind(Statement(text, tree=parse_text(text)), NOTHING)
    assert caught.value.code == code


def test_long_chains_are_no_crash() -> None:
    """Deep trees that brackets don't show end as a refusal or a tree, never as a crash."""
    assert View is not None
    for text in ("SELECT " + "NOT " * 20_000 + "true", "SELECT " + "- " * 20_000 + "1"):
        with pytest.raises(QueryError):
            parse_text(text)


def test_metric_may_be_fixed_in_many_ways() -> None:
    for text in (
        "SELECT avg(value) FROM samples WHERE (metric = 'a') AND host = 'b'",
        "SELECT avg(value) FROM samples WHERE 'a' = metric",
        "SELECT metric, avg(value) FROM samples GROUP BY 1",
        "SELECT avg(value) FILTER (WHERE metric = 'a') FROM samples",
        "SELECT max(CASE WHEN metric = 'a' THEN value END) FROM samples",
        "SELECT sum(value) OVER (PARTITION BY metric, host) FROM samples",
        "SELECT count(value), count(DISTINCT metric) FROM samples",
    ):
        bind(Statement(text, tree=parse_text(text)), NOTHING)
