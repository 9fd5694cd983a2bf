"""The ledger: one row per step that ran. It is a record for people, never what decides whether work was done."""

from __future__ import annotations

import uuid
from typing import Any

from lake.delta import commit, open_snapshot
from lake.duck import Duck, json_literal, text_literal
from lake.settings import Settings
from lake.tables import LEDGER
from lake.times import iso, utc_now


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
