"""The table of alerts: what a person should hear of, as events in the lake.

Whoever finds something in passing (the self-audit) adds a plain row. The watch over a lake keeps *states*: its rows
carry a number, and of a (kind, entity) the newest numbered row says whether it is open (see `lake/alert_states.py`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from lake.delta import commit, open_snapshot
from lake.duck import json_literal, text_literal
from lake.tables import ALERTS
from lake.times import iso, utc_now

if TYPE_CHECKING:
    from pathlib import Path

    from lake.duck import Duck

# Name of the transaction number that numbered rows count by.
NUMBER: Final = "alert"


@dataclass(frozen=True)
class Alert:
    """What a person should hear of: raised, changed, or cleared again; `entity` is what it is about: cube/serving."""

    kind: str
    severity: str
    entity: str
    text: str
    state: str = "raised"
    data: Mapping[str, Any] = field(default_factory=dict)
    at: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What alerts are grouped by."""
        return self.kind, self.entity

    @property
    def number(self) -> int:
        """Its number among the states of the watch; 0 for a plain event."""
        return int(self.data.get("number", 0))


def record_alert(duck: Duck, lake: Path, alert: Alert) -> None:
    """Add one plain event, as of now."""
    files = duck.write(_row(alert, utc_now()), lake, ALERTS, _stem())
    commit(lake, ALERTS, open_snapshot(lake, ALERTS), adds=files, txns={})


def record_numbered(duck: Duck, lake: Path, alerts: Sequence[Alert], *, last: int) -> None:
    """Add states of the watch, numbered up to `last`, by one commit. Errors: LakeError when another was faster."""
    select = " UNION ALL ".join(_row(one, one.at or utc_now()) for one in alerts)
    files = duck.write(select, lake, ALERTS, _stem())
    commit(lake, ALERTS, open_snapshot(lake, ALERTS), adds=files, txns={NUMBER: last})


def last_number(lake: Path) -> int:
    """The number of the newest state that stands in the table."""
    return open_snapshot(lake, ALERTS).txn(NUMBER) or 0


def read_alerts(duck: Duck, lake: Path) -> list[Alert]:
    """Every row: plain events by their time first, then the states by their number."""
    snapshot = open_snapshot(lake, ALERTS)
    if not snapshot.files:
        return []
    rows = duck.sql(f"SELECT kind, severity, entity, text, state, data, since FROM {duck.scan(snapshot)}")
    found = [
        Alert(kind, severity, entity, text, state, json.loads(data or "{}"), since.astimezone(UTC))
        for kind, severity, entity, text, state, data, since in rows
    ]
    return sorted(found, key=lambda one: (one.number, one.at))


def _stem() -> str:
    return f"alert-{utc_now():%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:16]}"


def _row(alert: Alert, at: datetime) -> str:
    values = [alert.kind, alert.severity, alert.entity, alert.state, alert.text]
    names = ("kind", "severity", "entity", "state", "text")
    told = ", ".join(f"{text_literal(value)} AS {name}" for name, value in zip(names, values, strict=True))
    return f"SELECT TIMESTAMPTZ '{iso(at)}' AS since, {told}, {json_literal(dict(alert.data))} AS data"
