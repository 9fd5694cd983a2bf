"""Landing batches made by hand: rows as texts, committed the way the lander commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from lake.delta import commit, open_snapshot
from lake.duck import Duck
from lake.settings import Settings
from lake.tables import landing

RECEIVED_AT = datetime(2026, 11, 10, 12, tzinfo=UTC)
_COMMON = {
    "agent": "a",
    "boot": "b",
    "idx": 0,
    "source": "agent",
    "lost": 1,
    "received_at": RECEIVED_AT,
    "reading": "{}",
}


def landing_table(fact: str, rows: Sequence[Mapping[str, Any]], landed: int = 1) -> pa.Table:
    """An Arrow table in the landing form; missing identity gets agent a, boot b, and `seq` by position from 1."""
    full = [{"seq": place, **_COMMON, "landed": landed, **row} for place, row in enumerate(rows, 1)]
    schema = pa.schema([field.remove_metadata() for field in landing(fact).schema])
    return pa.Table.from_pylist(full, schema=schema)


def land(settings: Settings, duck: Duck, fact: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """Commit the rows as the next landing batch of the fact and give its number."""
    ref = landing(fact)
    snapshot = open_snapshot(settings.lake, ref)
    number = (snapshot.txn("land") or 0) + 1
    duck.register("landed_rows", landing_table(fact, rows, number))
    files = duck.write(
        "SELECT * FROM landed_rows", settings.lake, ref, f"land-{number}", stats=("landed", "received_at")
    )
    duck.unregister("landed_rows")
    received = (snapshot.txn("received") or 0) + sum(row.get("lost", 1) for row in rows)
    commit(settings.lake, ref, snapshot, adds=files, txns={"land": number, "received": received})
    return number
