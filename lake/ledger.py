"""The ledger: one row per step that ran. It is a record for people, never what decides whether work was done."""

from __future__ import annotations

import uuid
from typing import Any, Final

from lake.delta import commit, newest_version, open_snapshot
from lake.duck import Duck, json_literal, text_literal
from lake.settings import Settings
from lake.tables import LEDGER
from lake.times import iso, utc_now

# Where a failed step's row says why.
ERROR: Final = "error"
# The version of the ledger that was read, and the (step, subject) that had failed last in it.
Failed = tuple[int, frozenset[tuple[str, str]]]


def failed_steps(settings: Settings, duck: Duck, known: Failed | None = None) -> Failed:
    """The steps whose newest row says that they failed; `known` stands where the ledger has not changed since."""
    if known is not None and newest_version(settings.lake, LEDGER, known[0]) == known[0]:
        return known
    snapshot = open_snapshot(settings.lake, LEDGER)
    rows = duck.sql(
        f"SELECT step, subject FROM {duck.scan(snapshot)} GROUP BY ALL HAVING arg_max(outcome, \"at\") = 'failed'"
    )
    return snapshot.version, frozenset((step, subject) for step, subject in rows)


def record(
    settings: Settings,
    duck: Duck,
    step: str,
    subject: str,
    *,
    outcome: str = "done",
    rows: int = 0,
    seconds: float = 0.0,
    detail: dict[str, Any] | None = None,
) -> None:
    """Append one row; `step` is a verb of the command line, `subject` the fact, cube or file it worked on."""
    values = {
        "at": f"TIMESTAMPTZ '{iso(utc_now())}'",
        "step": text_literal(step),
        "subject": text_literal(subject),
        "outcome": text_literal(outcome),
        "rows": str(rows),
        "seconds": f"{seconds:.6f}",
        "detail": json_literal(detail or {}),
    }
    select = "SELECT " + ", ".join(f"{value} AS {name}" for name, value in values.items())
    files = duck.write(select, settings.lake, LEDGER, f"{step}-{uuid.uuid4().hex}")
    commit(settings.lake, LEDGER, open_snapshot(settings.lake, LEDGER), adds=files, txns={})
