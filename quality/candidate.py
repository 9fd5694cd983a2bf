"""The candidate of a batch: typed rows, each with the first check that it fails, as one Parquet file beside the lake.

Written once per batch, then read as often as the verdict needs it; memory stays bounded however large the batch is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lake.catalogue import Catalogue
from lake.duck import Duck, text_literal
from lake.facts import Fact
from quality.checks import Policy, RowCheck, row_checks
from quality.suites import Suite

if TYPE_CHECKING:
    import pyarrow as pa

VIEW: Final = "fc_candidate"
IDENTITY: Final = "agent, boot, seq, idx"
_CHUNK_ROWS: Final = 500_000
# Lines that could not be split into texts have no columns for a rule to speak of.
_LINES = "('malformed', 'unknown_column')"


def write_candidate(
    duck: Duck, fact: Fact, cleaned: str, *, catalogue: Catalogue, policy: Policy, suite: Suite, path: Path
) -> None:
    """Write the candidate of the relation `cleaned` (see the gate) to `path` and make it readable as VIEW.

    VIEW has the identity, the fact's columns, received_at, source, `_check` and `_reason` (NULL for a good row),
    `_content` (JSON of the texts as they came, for bad rows only), the notices, and `rid`, the row's number.
    """
    checks = [*row_checks(fact, policy), *(rule.as_check() for rule in suite.rows if rule.quarantine)]
    judged = _judged(duck, fact, cleaned, checks, catalogue)
    columns = ", ".join(f'"{column.name}"' for column in fact.columns)
    content = "CASE WHEN _check IS NOT NULL THEN json_merge_patch('{}', to_json(_texts)) END"
    notices = "_rounded, _truncated_ts, _converted_unit, _noticed"
    duck.execute(
        f"COPY (SELECT {IDENTITY}, row_key, received_at, source, {columns}, _check, _why AS _reason, "
        f"{content} AS _content, {notices} FROM ({judged})) "
        f"TO {text_literal(str(path))} (FORMAT parquet, COMPRESSION snappy)"
    )
    open_candidate(duck, path)


def open_candidate(duck: Duck, path: Path) -> None:
    """Make a written candidate readable as VIEW."""
    source = f"read_parquet({text_literal(str(path))}, file_row_number = true)"
    duck.execute(
        f"CREATE OR REPLACE TEMP VIEW {VIEW} AS "
        f"SELECT * EXCLUDE (file_row_number), file_row_number AS rid FROM {source}"
    )


def chunks(duck: Duck, fact: Fact, columns: Sequence[str], rows: int = _CHUNK_ROWS) -> Iterator[pa.Table]:
    """The candidate's rows for the judge, `rows` at a time: only `columns`, decimals as doubles."""
    types = {column.name: column.type for column in fact.columns}
    as_double = {"decimal", "duration", "interval"}
    selected = ", ".join(
        f'CAST("{name}" AS DOUBLE) AS "{name}"' if types[name] in as_double else f'"{name}"' for name in columns
    )
    [(last,)] = duck.sql(f"SELECT coalesce(max(rid), -1) FROM {VIEW}")
    for start in range(0, last + 1, rows):
        yield duck.table(
            f"SELECT {selected} FROM {VIEW} WHERE rid >= {start} AND rid < {start + rows} "
            f"AND (_check IS NULL OR _check NOT IN {_LINES})"
        )


def typed_content(fact: Fact) -> str:
    """SQL of a typed row's content as JSON of canonical texts: equal exactly when key and columns are equal."""
    cells = ", ".join(f"'{column.name}', CAST(\"{column.name}\" AS VARCHAR)" for column in fact.columns)
    return f"CAST(json_merge_patch('{{}}', json_object('row_key', row_key, {cells})) AS VARCHAR)"


def _judged(duck: Duck, fact: Fact, cleaned: str, checks: Sequence[RowCheck], catalogue: Catalogue) -> str:
    """SQL of the cleaned rows, each with its first failed check (of clean, then of the row) and the reason."""
    source = f"({cleaned})"
    if {"metric", "value"} <= {column.name for column in fact.columns}:
        _make_metrics(duck, catalogue)
        source = f"(SELECT * FROM {source} LEFT JOIN fc_metrics ON metric = _m_name)"
    blamed = [check for check in checks if not check.notice]
    number = " ".join(f"WHEN {check.bad} THEN {place}" for place, check in enumerate(blamed))
    names = " ".join(f"WHEN {place} THEN '{check.name}'" for place, check in enumerate(blamed))
    reasons = " ".join(f"WHEN {place} THEN {check.reason}" for place, check in enumerate(blamed))
    noticed = " OR ".join(f"coalesce({check.bad}, false)" for check in checks if check.notice) or "false"
    found = f"SELECT *, CASE WHEN _problem IS NULL THEN CASE {number} END END AS _failed FROM {source}"
    return (
        f"SELECT *, coalesce(_problem, CASE _failed {names} END) AS _check, "
        f"coalesce(_reason, CASE _failed {reasons} END) AS _why, ({noticed}) AS _noticed FROM ({found})"
    )


def _make_metrics(duck: Duck, catalogue: Catalogue) -> None:
    """The catalogue's side of the row checks as a small table."""
    metrics = list(catalogue.metrics.values())
    bounds = [
        [None if bound is None else format(bound, "f") for bound in side]
        for side in ((metric.valid_min for metric in metrics), (metric.valid_max for metric in metrics))
    ]
    duck.execute(
        "CREATE OR REPLACE TEMP TABLE fc_metrics AS SELECT unnest(CAST(? AS VARCHAR[])) AS _m_name, "
        "unnest(CAST(? AS VARCHAR[])) AS _m_kind, unnest(CAST(? AS VARCHAR[])) AS _m_unit, "
        "CAST(unnest(CAST(? AS VARCHAR[])) AS DECIMAL(38,9)) AS _m_min, "
        "CAST(unnest(CAST(? AS VARCHAR[])) AS DECIMAL(38,9)) AS _m_max",
        [
            [metric.name for metric in metrics],
            [metric.kind for metric in metrics],
            [metric.unit for metric in metrics],
            *bounds,
        ],
    )
