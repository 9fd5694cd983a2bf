"""The states of alerts: raised, unchanged (nothing is told again), changed, over; pure functions over values.

Grouped by (kind, entity). What is *recorded* is every change; what is *told* to people is less: a condition that comes
and goes, or gets worse by and by, is told at once when its severity rises above what was told last, and else once in
`pause` at the most. What was held back is told when the pause is over, unless it is as it was when it was last told. So
silence never hides a state for longer than the pause, and nothing is said twice. A pause that would begin in the future
(the clock was ahead, and is set back) is over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from lake.alerts import Alert
from lake.findings import SEVERITIES, Finding, Key, Scope
from lake.times import iso


@dataclass(frozen=True)
class Shown:
    """How an alert stands: open or not, how bad it is (or was, where it is over), how many rows; recorded `at`."""

    is_open: bool
    severity: str
    rows: int
    at: datetime

    def like(self, other: Shown | None) -> bool:
        """Whether people would be told the same of both."""
        mine, its = (one and (one.is_open, one.is_open and (one.severity, one.rows)) for one in (self, other))
        return mine == its


@dataclass(frozen=True)
class Held:
    """What the table knows of a key: its newest state, the last one that people were told, and when it began."""

    now: Shown
    told: Shown | None
    began: datetime
    last: Alert


def fold(alerts: Iterable[Alert]) -> dict[Key, Held]:
    """The states that the table's numbered rows come to, in the order of their numbers."""
    held: dict[Key, Held] = {}
    for one in alerts:
        if not one.number or one.at is None:
            continue
        before = held.get(one.key)
        is_open = one.state != "cleared"
        severity = one.severity if is_open else str(one.data.get("was", one.severity))
        now = Shown(is_open, severity, int(one.data.get("rows", 0)), one.at)
        goes_on = before is not None and before.now.is_open
        began = before.began if before is not None and goes_on else one.at
        told = now if one.data.get("told") else before.told if before is not None else None
        held[one.key] = Held(now, told, began, one)
    return held


def step(
    held: Mapping[Key, Held], findings: Sequence[Finding], scope: Scope, now: datetime, pause: timedelta
) -> list[Alert]:
    """The rows to record, unnumbered, in a fixed order; those with data.told are for people."""
    found = {one.key: one for one in findings}
    rows = [_open(held.get(key), one, now, pause) for key, one in sorted(found.items())]
    gone = sorted(key for key, one in held.items() if scope.holds(key) and key not in found and one.now.is_open)
    rows += [_over(held[key], now) for key in gone]
    return [one for one in rows if one is not None]


def numbered(alerts: Sequence[Alert], first: int) -> list[Alert]:
    """The rows with their numbers, which grow from `first`."""
    return [replace(one, data={**one.data, "number": first + place}) for place, one in enumerate(alerts)]


def open_alerts(held: Mapping[Key, Held], kinds: Collection[str] = ()) -> list[Held]:
    """What is open, the worst first, then the oldest."""
    chosen = [one for one in held.values() if one.now.is_open and (not kinds or one.last.kind in kinds)]
    return sorted(chosen, key=lambda one: (-SEVERITIES.index(one.now.severity), one.began, one.last.key))


def _open(before: Held | None, one: Finding, now: datetime, pause: timedelta) -> Alert | None:
    shown = Shown(True, one.severity, one.rows, now)
    is_new = before is None or not before.now.is_open
    if before is not None and not is_new and one.severity == before.now.severity:
        # Fewer rows are no news; the most that there were stands, so that a wavering number is told once.
        shown = replace(shown, rows=max(one.rows, before.now.rows))
    told = before.told if before is not None else None
    tells = not shown.like(told) and (told is None or _worse(shown, told) or _is_over(told.at, now, pause))
    if not tells and before is not None and shown.like(before.now):
        return None
    began = now if before is None or is_new else before.began
    starts = is_new or (tells and not (told is not None and told.is_open))
    data: dict[str, Any] = {
        **one.data,
        "rows": shown.rows,
        "told": tells,
        "began": iso(one.since or began),
        "look": list(one.look),
    }
    return Alert(one.kind, one.severity, one.entity, one.text, "raised" if starts else "changed", data, now)


def _over(before: Held, now: datetime) -> Alert:
    """The end is told at once, but only of what people were told to be open."""
    tells = before.told is not None and before.told.is_open
    last = before.last
    # The end goes the way that the beginning went.
    was = before.told.severity if before.told is not None and tells else before.now.severity
    data: dict[str, Any] = {
        "rows": before.now.rows,
        "told": tells,
        "began": last.data.get("began"),
        "look": [],
        "was": was,
    }
    return Alert(last.kind, "info", last.entity, last.text, "cleared", data, now)


def _worse(shown: Shown, told: Shown) -> bool:
    """Whether the severity is above what people were told last, be it of this episode or of the one before."""
    return SEVERITIES.index(shown.severity) > SEVERITIES.index(told.severity)


def _is_over(began: datetime, now: datetime, pause: timedelta) -> bool:
    """Whether a pause is over; one that begins in the future is, as nobody could wait for a clock that was ahead."""
    return began > now or now - began >= pause
