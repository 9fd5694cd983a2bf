"""What retention deleted, and why that was safe: one row per part, written before the part goes.

So a part on record may still be there after a kill (its intent finishes it), but nothing is ever gone unrecorded.
What must not be made anew, or be answered as if it were empty, is known from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.delta import Snapshot, commit, open_snapshot
from lake.duck import json_literal, text_literal
from lake.tables import DELETIONS
from lake.times import iso, utc_now

if TYPE_CHECKING:
    from lake.duck import Duck


@dataclass(frozen=True)
class Deletion:
    """One part: `segment` is a UTC day of trusted rows or a segment of cells; `partial` if other rows of it stayed.

    `rows` is what the accounts count; `batch` the trusted batch up to which the rows were there. `number` is known of
    what is on record. Of the layer `dimension` cells went that told dimensions; the others of the segment stayed.
    """

    layer: str
    fact: str
    rows: int
    why: str
    cube: str = ""
    definition: str = ""
    grain: str = ""
    segment: str = ""
    partial: bool = False
    size_bytes: int = 0
    batch: int = 0
    proof: Mapping[str, Any] = field(default_factory=dict)
    number: int = 0


def next_number(lake: Path) -> int:
    """The number that the next deletion will bear."""
    return (open_snapshot(lake, DELETIONS).txn("delete") or 0) + 1


def record_deletions(duck: Duck, lake: Path, number: int, deletions: Sequence[Deletion]) -> None:
    """Record the deletions of one number, once; a repeat under the same number changes nothing."""
    snapshot = open_snapshot(lake, DELETIONS)
    if not deletions or (snapshot.txn("delete") or 0) >= number:
        return
    select = " UNION ALL ".join(_row(number, one) for one in deletions)
    files = duck.write(select, lake, DELETIONS, f"delete-{number:08d}")
    commit(lake, DELETIONS, snapshot, adds=files, txns={"delete": number})


def read_deletions(duck: Duck, snapshot: Snapshot, **wanted: str) -> list[Deletion]:
    """Recorded deletions of a version of the table, oldest first; `wanted` are column = text."""
    if not snapshot.files:
        return []
    where = " AND ".join(f'"{name}" = {text_literal(text)}' for name, text in wanted.items()) or "true"
    names = list(Deletion.__dataclass_fields__)
    columns = ", ".join(f'"{name}"' for name in names)
    rows = duck.sql(f"SELECT {columns} FROM {duck.scan(snapshot)} WHERE {where} ORDER BY number, segment, grain")
    found = (dict(zip(names, row, strict=True)) for row in rows)
    return [Deletion(**{**cells, "proof": json.loads(cells["proof"])}) for cells in found]


def expired_days(deletions: Iterable[Deletion], *, whole: bool = False) -> frozenset[date]:
    """The days of which trusted rows are gone, in part or whole (with `whole`: only those gone whole)."""
    return frozenset(
        date.fromisoformat(one.segment) for one in deletions if one.layer == "trusted" and not (whole and one.partial)
    )


def deleted_rows(lake: Path, duck: Duck) -> dict[tuple[str, str], int]:
    """Rows that retention deleted, by (layer, fact); cells are no rows."""
    snapshot = open_snapshot(lake, DELETIONS)
    of_rows = "layer NOT IN ('cube', 'dimension')"
    rows = duck.sql(f"SELECT layer, fact, sum(rows)::BIGINT FROM {duck.scan(snapshot)} WHERE {of_rows} GROUP BY ALL")
    return {(layer, fact): count for layer, fact, count in rows}


def _row(number: int, one: Deletion) -> str:
    cells = {
        **{name: getattr(one, name) for name in Deletion.__dataclass_fields__},
        "number": number,
    }
    texts = {
        name: str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int) else None
        for name, value in cells.items()
    }
    told = {
        name: text if text is not None else json_literal(cells[name]) if name == "proof" else text_literal(cells[name])
        for name, text in texts.items()
    }
    listed = ", ".join(f'{value} AS "{name}"' for name, value in told.items())
    return f"SELECT {listed}, TIMESTAMPTZ '{iso(utc_now())}' AS deleted_at"
