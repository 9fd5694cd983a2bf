"""What the gate said of the rows behind an answer: verdicts of batches, rows kept aside, gaps, rows held back.

A batch counts where its published rows may lie in the range: their oldest and newest times are known. Of one that
published nothing no times are known, so it counts wherever it held rows back or found a gap.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from cubes.route.span import moment
from lake import tables

if TYPE_CHECKING:
    from cubes.route.span import Window
    from cubes.route.view import View

_JUDGED: Final = ("passed", "warned", "blocked")


@dataclass(frozen=True)
class _Batch:
    number: int
    landed: tuple[int, int]
    verdict: str
    gaps: int
    blocked: int
    checks: Mapping[str, Any]
    first: datetime | None
    last: datetime | None

    def may_meet(self, start: datetime | None, end: datetime | None) -> bool:
        """Whether its rows may lie in [start, end); unknown times may."""
        before = end is not None and self.first is not None and self.first >= end
        return not (before or (start is not None and self.last is not None and self.last < start))

    def kept_aside(self) -> Iterator[tuple[Mapping[str, Any], int]]:
        """(rows by check, day and site, 1 or -1): kept aside by this batch, or released from what others kept."""
        yield from ((entry, 1) for entry in self.checks.get("quarantined", []))
        # Withdrawn rows are kept aside too, told by day alone; what is erased is kept nowhere.
        check = "undone" if self.verdict == "undone" else "conflict"
        days = self.checks.get("withdrawn", []) if self.verdict != "erased" else []
        yield from (({"check": check, **entry}, 1) for entry in days)
        # A row that was released is judged anew: what that found is counted above.
        yield from ((entry, -1) for entry in self.checks.get("released", {}).get("by_check", []))


def gate_of(fact: str, window: Window, sites: frozenset[str] | None, view: View) -> dict[str, Any]:
    """{verdicts: {verdict: batches}, gaps, blocked, unjudged, quarantined, kept_aside} of a range of a fact's rows.

    `quarantined` are rows by check, of the range's days (and those without one) and `sites`; `kept_aside` the same by
    check, day and site; `unjudged` are batches that no verdict is on record of.
    """
    start, end = window.moments()
    batches, trusted = _batches(fact, view), view.fact(fact).trusted
    newest = trusted.txn("gate") or 0
    # A batch that published nothing moves no version on; it is behind the newest one all the same.
    ends = view.past is not None or view.shelf.latest(trusted.ref).version == trusted.version
    behind = [one for one in batches if ends or one.number <= newest]
    met = [one for one in behind if one.may_meet(start, end)]
    held: dict[tuple[int, int], int] = {}
    for one in batches:
        # Judged again, a batch takes back what it held.
        held[one.landed] = held.get(one.landed, 0) + one.blocked
    aside = [] if window.empty else _aside(behind, window, sites, view)
    quarantined: dict[str, int] = {}
    for entry in aside:
        quarantined[entry["check"]] = quarantined.get(entry["check"], 0) + entry["rows"]
    counts = {name: sum(one.verdict == name and one.first is not None for one in met) for name in _JUDGED}
    return {
        "verdicts": {name: count for name, count in counts.items() if count},
        "gaps": sum(one.gaps for one in met),
        "blocked": sum(rows for rows in held.values() if rows > 0),
        "unjudged": max(0, newest - sum(one.number <= newest for one in behind)),
        "quarantined": quarantined,
        "kept_aside": aside,
    }


def against_passed(receipt: Mapping[str, Any]) -> list[str]:
    """What speaks against an answer whose rows must all have passed the gate; empty where nothing does."""
    found = []
    for block in receipt["blocks"]:
        gate, fact = block["gate"], block["fact"]
        if gate is None:
            found.append(f"{fact}: under a policy on rows it can't be told what was kept aside")
            continue
        texts = {
            "batches were warned of": gate["verdicts"].get("warned", 0),
            "sequence numbers are missing": gate["gaps"],
            "rows are held back by a blocked verdict": gate["blocked"],
            "batches were never judged": gate["unjudged"],
        }
        found += [f"{fact}: {count} {text}" for text, count in texts.items() if count]
        found += [f"{fact}: {rows} rows failed {check}" for check, rows in block["quarantined"].items()]
    return list(dict.fromkeys(found))


def _batches(fact: str, view: View) -> Sequence[_Batch]:
    snapshot = view.table(tables.BATCHES)
    if not snapshot.files:
        return ()
    columns = "batch, landed_from, landed_to, verdict, gaps, blocked, checks, first_ts, last_ts"
    rows = view.duck.sql(f"SELECT {columns} FROM {view.duck.scan(snapshot)} WHERE fact = $1 ORDER BY batch", [fact])
    return [
        _Batch(number, (low, high), verdict, gaps, blocked, json.loads(checks) if checks else {}, first, last)
        for number, low, high, verdict, gaps, blocked, checks, first, last in rows
    ]


def _aside(batches: Sequence[_Batch], window: Window, sites: frozenset[str] | None, view: View) -> list[dict[str, Any]]:
    found: dict[tuple[str, str | None, str | None], int] = {}
    ends = (window.start, None if window.end is None else window.end - 1)
    days = [None if at is None else moment(at).date().isoformat() for at in ends]
    for entry, sign in (pair for one in batches for pair in one.kept_aside()):
        day: str | None = entry.get("day")
        site: str | None = entry.get("site")
        site = site if site is None else view.aliases.get("site", {}).get(site, site)
        dated = day is None or ((days[0] is None or day >= days[0]) and (days[1] is None or day <= days[1]))
        if dated and (sites is None or site is None or site in sites):
            key: tuple[str, str | None, str | None] = (entry["check"], day, site)
            if sign < 0 and key not in found:
                key = (entry["check"], day, None)
            found[key] = found.get(key, 0) + sign * entry["rows"]
    listed = sorted(
        (key for key, rows in found.items() if rows > 0), key=lambda key: (key[0], key[1] or "", key[2] or "")
    )
    return [{"check": key[0], "day": key[1], "site": key[2], "rows": found[key]} for key in listed]
