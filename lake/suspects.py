"""Cells that were found to differ from their rows: marked, so that no reader answers from them, until they hold again.

A row of the table marks days of a cube's grain, or clears such a mark from a version of the cube's table on. It is
appended to only; a reader that pins an earlier version of the cube is still told of what was wrong with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from lake.delta import Snapshot, commit, open_snapshot
from lake.duck import text_literal
from lake.tables import SUSPECTS
from lake.times import iso, utc_now

if TYPE_CHECKING:
    from pathlib import Path

    from lake.duck import Duck


@dataclass(frozen=True)
class Suspect:
    """Days `first` to `last` of a cube's cells at a grain; of a week or month the day that it begins on.

    `version` is the one of the cube's table in which they were found wrong, or (of a clearing) from which on they hold.
    """

    action: str
    cube: str
    definition: str
    grain: str
    first: date
    last: date
    version: int
    why: str = ""
    number: int = 0

    @property
    def days(self) -> str:
        """The days as text."""
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def read_suspects(duck: Duck, snapshot: Snapshot) -> list[Suspect]:
    """Every row of a version of the table, oldest first."""
    if not snapshot.files:
        return []
    columns = "action, cube, definition, grain, first, last, version, why, number"
    rows = duck.sql(f"SELECT {columns} FROM {duck.scan(snapshot)} ORDER BY number, grain, first")
    return [Suspect(*row) for row in rows]


def active(rows: Iterable[Suspect], definitions: Collection[str], version: int) -> list[Suspect]:
    """The marks that hold of a version of a cube's table; `definitions` are its digest and those it was made of."""
    mine = [one for one in rows if one.definition in definitions]
    own = next(iter(definitions), "")
    cleared = [one for one in mine if one.action == "clear" and (one.definition != own or one.version <= version)]

    def is_cleared(mark: Suspect) -> bool:
        alike = ((one.grain, one.first, one.last) == (mark.grain, mark.first, mark.last) for one in cleared)
        return any(same and one.number > mark.number for same, one in zip(alike, cleared, strict=True))

    return [one for one in mine if one.action == "mark" and not is_cleared(one)]


def record_suspects(duck: Duck, lake: Path, rows: Sequence[Suspect]) -> None:
    """Add rows under the next number. Errors: LakeError when another process was faster; then read again."""
    if not rows:
        return
    snapshot = open_snapshot(lake, SUSPECTS)
    number = (snapshot.txn("suspect") or 0) + 1
    select = " UNION ALL ".join(_row(number, one) for one in rows)
    files = duck.write(select, lake, SUSPECTS, f"suspect-{number:08d}")
    commit(lake, SUSPECTS, snapshot, adds=files, txns={"suspect": number})


def _row(number: int, one: Suspect) -> str:
    texts = {name: text_literal(getattr(one, name)) for name in ("action", "cube", "definition", "grain", "why")}
    listed = "".join(f", {text} AS {name}" for name, text in texts.items())
    return (
        f"SELECT {number} AS number{listed}, DATE '{one.first}' AS first, DATE '{one.last}' AS last, "
        f"{one.version} AS version, TIMESTAMPTZ '{iso(utc_now())}' AS at"
    )
