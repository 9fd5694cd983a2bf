"""docs/sql.md from the grammar itself: what a statement may hold, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlglot import exp

from cubes.route import grammar

_HEAD: Final = """# SQL

One `SELECT` at a time, in PostgreSQL's dialect, on the [facts](facts.md) and on lookups (`fleetcube lookup list`).
The cuboid is found by itself; `--explain` shows which one, and why not the others. What is not on this page is refused
by name, never dropped. Everything is read at one vector of versions, and times are UTC.

- Clauses: SELECT (DISTINCT, DISTINCT ON), FROM, JOIN (inner, left, right, full, cross), WHERE, GROUP BY (ROLLUP, CUBE,
  GROUPING SETS), HAVING, WINDOW, ORDER BY, LIMIT, OFFSET, WITH (not recursive), UNION, EXCEPT, INTERSECT, sub-queries.
- Answered from cells: grouping (ROLLUP, CUBE and GROUPING SETS too) and filters by dimensions and time buckets,
  aggregates with FILTER or CASE, over any range; whole buckets come from cells, the edges from rows. So are joins by
  dimensions to lookups, sub-queries and WITH tables, and sub-queries that only pick columns and rows. What is asked of
  a sub-query's keys, or of the bucket of its time, holds inside it too, so that only these cells are read. Trusted rows
  answer the rest, and a notice says why.
- Exact: counts, sums, minima, maxima, averages, variances. `percentile_cont` and `percentile_disc` from cells are
  within 0.55 % of the exact value and the receipt says so; wherever a percentile decides what else is shown (HAVING,
  ORDER BY, an outer query) it is taken from rows. A sum, average or variance of doubles
  (`CAST(x AS double precision)`, `sqrt(x)`), and the variance of a decimal that a sub-query made, depend on the order
  of their rows, as in PostgreSQL; columns of facts are decimals and integers.
- `MEASURE(name)` is what a cube declares under that name; `FROM` may name the cube. Percentiles of foreign histograms,
  `approx_percentile(counts, 0.95)`, come with their bounds: [measures](measures.md).
- `to_char(ts, format)` knows YYYY, YY, MM, Mon, FMMonth, DD, DDD, Dy, FMDay, IYYY, IW, HH24, HH12, AM, MI, SS, MS, US
  and words in double quotes; a format of months, days or hours is answered from cells.
- Integers divide as integers; a quotient with a decimal is rounded once, half to even, at the ninth place.
- `FROM requests AS OF TIMESTAMP '2026-11-01 06:00:00+00'` and `AS OF VERSION 17` ask for an earlier state of everything
  that the statement reads. That, receipts, strict mode (`require`), EXPLAIN CUBE, caches and the self-audit:
  [answers](answers.md).
- Refused to guard a meaning: adding up `value` of more than one metric, in a sub-query too.
"""
# What the parser calls otherwise than users do.
_SPELLED: Final = {
    "ApproxDistinct": "approx_count_distinct",
    "AtTimeZone": "AT TIME ZONE",
    "Pow": "power",
    "StrPosition": "strpos",
    "StrToDate": "to_date",
    "StrToTime": "to_timestamp",
    "StddevPop": "stddev_pop",
    "TimeToStr": "to_char",
    "TimestampTrunc": "date_trunc",
    "UnixToTime": "to_timestamp",
    "Variance": "var_samp",
    "VariancePop": "var_pop",
}


def sql_markdown() -> str:
    """The page: the meaning by hand, the lists from the grammar."""
    words = [word for word in grammar.WORDS if word != "time_bucket"]
    lists = {
        "Aggregates": _names(grammar.AGGREGATE_NAMES.split(), words),
        "Functions": _names(grammar.FUNCTION_NAMES.split(), ["time_bucket"]),
        "Window functions": _names(grammar.WINDOW_NAMES.split(), []),
        "Types": _names(grammar.TYPE_NAMES.lower().split(), []),
    }
    shown = "\n".join(f"- **{title}**: {names}" for title, names in lists.items())
    kib = grammar.MAX_BYTES // 1024
    bounds = f"At most {kib} KiB, {grammar.MAX_TOKENS:,} tokens, and brackets {grammar.MAX_DEPTH} deep."
    return f"{_HEAD}\n## What there is\n\n{shown}\n\n{bounds}\n"


def _names(kinds: Iterable[str], words: Iterable[str]) -> str:
    found = {_SPELLED.get(kind) or _sql_name(kind) for kind in kinds}
    return ", ".join(sorted({*found, *words}, key=str.lower))


def _sql_name(kind: str) -> str:
    node = getattr(exp, kind, None)
    return str(node.sql_name()).lower() if isinstance(node, type) and issubclass(node, exp.Func) else kind
