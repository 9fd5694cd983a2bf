"""System tables of what was recorded: the audit log, the query log, checks, quarantine and freshness of the lake.

As in `system_lake`: of a fact that a user doesn't read whole there is nothing, and nothing names a hidden column.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cubes.plan.querylog import read_newest
from cubes.serve.running import Viewer
from lake import tables
from lake.audit_chain import FOLDER, event_of, months
from lake.duck import text_literal
from lake.facts import load_facts
from lake.tails import tail_lines
from lake.times import utc_now

if TYPE_CHECKING:
    from cubes.route.view import Shelf

Rows = Iterator[tuple[Any, ...]]
_BYTES: Final = 4 * 2**20
_DAYS: Final = 7
# What a reason quotes, and its numbers and times: without them reasons of one kind are one.
_WORDS: Final = r"'[^']*'|[-+]?[0-9][0-9A-Za-z.:+-]*( [0-9][0-9:.+-]*)?"


class RecordTables:
    """Their readers over one shelf; one reading at a time, as its owner sees to."""

    def __init__(self, shelf: Callable[[], Shelf]) -> None:
        """`shelf` opens the lake when it is first asked."""
        self._open = shelf
        # Lines of the audit log as they were read last.
        self._events: dict[bytes, tuple[Any, ...] | None] = {}
        # By fact: the version that was read, and its newest time and rows by site.
        self._newest: dict[str, tuple[tuple[int, bool], list[tuple[Any, ...]]]] = {}

    def makers(self) -> dict[str, Callable[[Viewer], Rows]]:
        """What gives the rows of each table."""
        return {
            "asked": self._asked,
            "audit": self._audit,
            "checks": self._checks,
            "quarantine": self._quarantine,
            "freshness": self._freshness,
        }

    @property
    def _shelf(self) -> Shelf:
        return self._open()

    def _audit(self, viewer: Viewer) -> Rows:
        everyone, known = viewer.everyone(), self._events
        lines = tail_lines(months(self._shelf.lake / FOLDER), _BYTES)
        # Each line is proven by its hash once: a dashboard asks for them many times a second.
        self._events = {line: known[line] if line in known else _event(line) for line in lines}
        for row in self._events.values():
            if row is not None and (everyone or row[2] == viewer.user):
                yield row

    def _asked(self, viewer: Viewer) -> Rows:
        for one in read_newest(self._shelf.lake, _BYTES):
            if one.fact not in load_facts() or not viewer.whole(one.fact):
                continue
            dims = ", ".join(name for name in one.dims if viewer.unsaid(one.fact, name) is not None)
            spared = None if one.raw_rows is None else max(0, one.raw_rows - one.rows) if one.cube else 0
            answered = ("cube" if one.cube else "raw", one.cube or None, one.grain or None)
            read = (one.seconds or None, one.rows, one.raw_rows, spared)
            at = datetime.fromisoformat(one.at)
            yield at, one.fact, dims, *answered, *read, viewer.unsaid(one.fact, one.reason) or None, one.ms

    def _checks(self, viewer: Viewer) -> Rows:
        scan = self._shelf.duck.scan(self._shelf.latest(tables.BATCHES))
        whole = _listed(filter(viewer.whole, load_facts()))
        sql = f"SELECT ended_at, fact, batch, checks FROM {scan} WHERE fact IN ({whole}) ORDER BY fact, batch"
        for at, fact, batch, text in self._shelf.duck.sql(sql):
            for found in _findings(json.loads(text or "{}")):
                # A check may bear the name of the column that it is about.
                if viewer.unsaid(fact, f"{found[0]} {found[-1]}") is not None:
                    yield at, fact, batch, *found

    def _quarantine(self, viewer: Viewer) -> Rows:
        scan = self._shelf.duck.scan(self._shelf.latest(tables.QUARANTINE))
        whole = _listed(filter(viewer.whole, load_facts()))
        reason = f"regexp_replace(reason, {text_literal(_WORDS)}, '…', 'g')"
        sql = (
            f"SELECT fact, \"check\", {reason} AS why, site, date_trunc('day', received_at) AS arrived, batch, count(*)"
            f" FROM {scan} WHERE fact IN ({whole}) GROUP BY ALL ORDER BY ALL"
        )
        for fact, check, why, site, arrived, batch, rows in self._shelf.duck.sql(sql):
            shown = site if viewer.unsaid(fact, "site") is not None else None
            yield fact, check, viewer.unsaid(fact, why or "") or None, shown, arrived, batch, rows

    def _freshness(self, viewer: Viewer) -> Rows:
        now = utc_now()
        for fact in filter(viewer.whole, load_facts()):
            by_site = any(one.name == "site" for one in load_facts()[fact].columns)
            for site, newest, rows in self._newest_of(fact, by_site and viewer.unsaid(fact, "site") is not None):
                yield fact, site, newest, (now - newest) / timedelta(seconds=1), rows

    def _newest_of(self, fact: str, by_site: bool) -> list[tuple[Any, ...]]:
        """(site, newest time, rows) of the last days that hold rows; read once for each version."""
        snapshot = self._shelf.latest(tables.trusted(fact))
        held = self._newest.get(fact)
        if held is None or held[0] != (snapshot.version, by_site):
            days = sorted({file.partition["day"] or "" for file in snapshot.files})[-_DAYS:]
            paths = snapshot.paths(lambda file: (file.partition["day"] or "") in days)
            site = "site" if by_site else "NULL"
            rows = []
            if paths:
                scan = self._shelf.duck.scan(snapshot, paths)
                rows = self._shelf.duck.sql(f"SELECT {site}, max(ts), count(*) FROM {scan} GROUP BY ALL ORDER BY ALL")
            held = self._newest[fact] = ((snapshot.version, by_site), rows)
        return held[1]


def _event(line: bytes) -> tuple[Any, ...] | None:
    """A line of the audit log as a row of `fleet.audit`; None for what is no line of it."""
    event = event_of(line)
    if event is None:
        return None
    told = (event[name] or None for name in ("origin", "operation", "resource", "result", "policy"))
    detail = json.dumps(event["detail"], ensure_ascii=False) if event["detail"] else None
    at = datetime.fromisoformat(event["at"])
    return (event["number"], at, event["who"], event.get("via"), *told, detail)


def _findings(checks: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """(check, kind, severity, outcome, rows, found) of what the gate noted of a batch."""
    counts: dict[str, int] = {}
    for one in checks.get("quarantined", []):
        counts[one["check"]] = counts.get(one["check"], 0) + one["rows"]
    for name, rows in sorted(counts.items()):
        yield name, "row", None, "quarantined", rows, None
    for one in checks.get("expectations", []):
        counted = one["unexpected"] if isinstance(one["unexpected"], int) else None
        told = None if counted is not None else str(one["unexpected"])
        yield one["name"], "batch", one["severity"], "passed" if one["success"] else "failed", counted, told
    for name, rows in sorted(checks.get("notices", {}).items()):
        if rows:
            yield name, "notice", None, "noted", rows, None


def _listed(names: Iterator[str]) -> str:
    """Names as a list of SQL literals; NULL, which nothing is in, for none."""
    return ", ".join(map(text_literal, names)) or "NULL"
