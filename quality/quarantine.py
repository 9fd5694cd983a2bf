"""Quarantine: the rows that failed a check, with the reason and their original content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from pathlib import Path
from typing import Any

from lake.delta import open_snapshot
from lake.duck import Duck, text_literal
from lake.errors import QueryError, did_you_mean
from lake.tables import QUARANTINE

_FILTERS = ("fact", "check", "batch", "site", "day", "agent")


@dataclass(frozen=True)
class Group:
    """Rows kept aside for one fact, check, site and UTC day (the last two None where unknown), and a reason."""

    fact: str
    check: str
    site: str | None
    day: date | None
    rows: int
    example: str


@dataclass(frozen=True)
class Kept:
    """A row kept aside: who sent it, why it is here, and its content as it came."""

    fact: str
    batch: int
    agent: str
    boot: str
    seq: int
    idx: int
    ts: datetime | None
    check: str
    reason: str
    content: dict[str, Any]
    received_at: datetime | None


def list_quarantine(lake: Path, duck: Duck, filters: Mapping[str, str] | None = None) -> list[Group]:
    """Groups of kept rows, the largest first; `filters` are column = text (fact, check, batch, site, day, agent)."""
    rows = duck.sql(
        'SELECT fact, "check", site, day, count(*), min(reason) FROM '
        f"{_kept(lake, duck, filters)} GROUP BY ALL ORDER BY count(*) DESC, 1, 2, 3, 4"
    )
    return [Group(*row) for row in rows]


def show_quarantine(lake: Path, duck: Duck, filters: Mapping[str, str] | None = None, *, limit: int = 20) -> list[Kept]:
    """The newest `limit` kept rows, ordered by batch, sender and sequence number."""
    names = [field.name for field in fields(Kept)]
    columns = ", ".join(f'"{name}"' for name in names)
    order = "batch DESC, agent, boot, seq, idx, content"
    rows = duck.sql(f"SELECT {columns} FROM {_kept(lake, duck, filters)} ORDER BY {order} LIMIT {limit}")
    found = [dict(zip(names, row, strict=True)) for row in rows]
    return [Kept(**{**cells, "content": json.loads(cells["content"])}) for cells in found]


def _kept(lake: Path, duck: Duck, filters: Mapping[str, str] | None) -> str:
    conditions = []
    for name, text in (filters or {}).items():
        if name not in _FILTERS:
            raise QueryError(f"quarantine has no filter '{name}'.", todo=did_you_mean(name, _FILTERS), code="42703")
        conditions.append(f'CAST("{name}" AS VARCHAR) = {text_literal(text)}')
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"(SELECT * FROM {duck.scan(open_snapshot(lake, QUARANTINE))}{where})"
