"""Legal holds: what a hold covers is never deleted, by retention or by erasure, until the hold is lifted.

A hold names a fact and may name a range of UTC days and a site. Files hold rows of many sites, so a hold for a site
keeps every row of its days; landed and quarantined rows of a held fact all stay, as their day may not be known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lake.delta import commit, open_snapshot
from lake.duck import text_literal
from lake.errors import DefinitionError, did_you_mean
from lake.facts import load_facts
from lake.tables import HOLDS
from lake.times import iso, utc_now

if TYPE_CHECKING:
    from lake.duck import Duck


@dataclass(frozen=True)
class Hold:
    """A hold in force; days are inclusive, None is unbounded."""

    hold: int
    fact: str
    first: date | None
    last: date | None
    site: str | None
    reason: str
    at: datetime

    def covers(self, fact: str, first: date | None = None, last: date | None = None) -> bool:
        """Whether rows of the fact on days `first` to `last` (None: any day) may be held."""
        if self.fact != fact:
            return False
        if last is not None and self.first is not None and last < self.first:
            return False
        return not (first is not None and self.last is not None and first > self.last)

    def __str__(self) -> str:
        return f"hold {self.hold} ({self.reason})"


def active_holds(lake: Path, duck: Duck) -> list[Hold]:
    """The holds in force, oldest first."""
    scan = duck.scan(open_snapshot(lake, HOLDS))
    rows = duck.sql(
        f"""SELECT hold, fact, first, last, site, reason, "at" FROM {scan} AS h WHERE action = 'add'
        AND NOT EXISTS (SELECT 1 FROM {scan} AS r WHERE r.action = 'remove' AND r.hold = h.hold) ORDER BY hold"""
    )
    return [Hold(*row) for row in rows]


def holding(holds: Iterable[Hold], fact: str, first: date | None = None, last: date | None = None) -> Hold | None:
    """The first hold that covers such rows, or None."""
    return next((hold for hold in holds if hold.covers(fact, first, last)), None)


def add_hold(
    lake: Path, duck: Duck, fact: str, *, first: date | None, last: date | None, site: str | None, reason: str
) -> Hold:
    """Place a hold. Errors: DefinitionError for an unknown fact, an empty range or an empty reason."""
    if fact not in load_facts():
        raise DefinitionError(f"There is no fact '{fact}'.", todo=did_you_mean(fact, load_facts()))
    if first is not None and last is not None and last < first:
        raise DefinitionError(f"The held days end on {last}, before they start.", todo="Give --since before --until.")
    if not reason.strip():
        raise DefinitionError("A hold needs a reason.", todo="Say on whose order, with --reason.")
    number = (open_snapshot(lake, HOLDS).txn("hold") or 0) + 1
    values = {"fact": fact, "site": site, "reason": reason}
    _append(lake, duck, number, {"hold": number, "action": "add", **values}, first=first, last=last)
    return next(hold for hold in active_holds(lake, duck) if hold.hold == number)


def remove_hold(lake: Path, duck: Duck, hold: int, *, reason: str) -> None:
    """Lift a hold; both it and its lifting stay on record. Errors: DefinitionError when it is not in force."""
    found = {one.hold: one for one in active_holds(lake, duck)}
    if hold not in found:
        raise DefinitionError(f"There is no hold {hold} in force.", todo="See `fleetcube hold list`.")
    number = (open_snapshot(lake, HOLDS).txn("hold") or 0) + 1
    values = {"fact": found[hold].fact, "site": found[hold].site, "reason": reason}
    told = {"hold": hold, "action": "remove", **values}
    _append(lake, duck, number, told, first=found[hold].first, last=found[hold].last)


def _append(
    lake: Path,
    duck: Duck,
    number: int,
    values: dict[str, str | int | None],
    *,
    first: date | None,
    last: date | None,
) -> None:
    texts = ", ".join(
        f"{'NULL' if value is None else value if isinstance(value, int) else text_literal(value)} AS {name}"
        for name, value in values.items()
    )
    days = ", ".join(
        f"{'NULL' if day is None else f'DATE {text_literal(str(day))}'} AS {name}"
        for name, day in (("first", first), ("last", last))
    )
    select = f"SELECT {texts}, {days}, TIMESTAMPTZ '{iso(utc_now())}' AS at"
    files = duck.write(select, lake, HOLDS, f"hold-{number:08d}")
    commit(lake, HOLDS, open_snapshot(lake, HOLDS), adds=files, txns={"hold": number})
