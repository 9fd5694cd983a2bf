"""What follows when an answer differed from its rows: which cells are wrong is found out, marked, and told.

Every cell of the days in question is recomputed, as `cube verify` does it, so a mark stands on cells and not on the
answer that raised the question. Once they hold again, the same comparison clears the mark.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from cubes.expired import expired
from cubes.segments import table_of
from cubes.stored import inherited
from cubes.verify import VerifyReport, verify
from lake import delta, tables
from lake.alerts import Alert, record_alert
from lake.errors import LakeError
from lake.suspects import Suspect, active, read_suspects, record_suspects
from lake.times import GRAINS

if TYPE_CHECKING:
    from cubes.model import Cube
    from lake.duck import Duck
    from lake.settings import Settings

_LOG = logging.getLogger(__name__)
KIND: Final = "selfaudit"
_TRIES: Final = 5
_DAY: Final = timedelta(days=1)


def accuse(
    settings: Settings,
    duck: Duck,
    cube: Cube,
    days: tuple[date | None, date | None],
    data: Mapping[str, Any],
) -> list[Suspect]:
    """Verify the days (first, after the last) that an answer differed over, mark what is wrong, raise an alert.

    Gives the new marks: none where every cell holds, so that the answer went wrong elsewhere, or where all are marked.
    """
    first, after = _whole(cube, *days)
    report = verify(settings, duck, cube, since=first, until=after)
    entity = f"cube/{cube.name}"
    if report.holds:
        text = "An answer differed from its rows although every cell holds: a fault of the router. Please report it."
        record_alert(duck, settings.lake, Alert(KIND, "critical", entity, text, data=data))
        _LOG.error("%s: %s", entity, text)
        return []
    return mark_wrong(settings, duck, cube, report, data, days=(first, after))


def mark_wrong(
    settings: Settings,
    duck: Duck,
    cube: Cube,
    report: VerifyReport,
    data: Mapping[str, Any],
    *,
    days: tuple[date | None, date | None] = (None, None),
) -> list[Suspect]:
    """Take what a verification of these days found wrong out of routing, and tell it; gives the new marks."""
    entity = f"cube/{cube.name}"
    found = [*_runs(cube, report, "; ".join(report.shown[:3])), *_strays(cube, report, *days)]
    known = active_marks(settings, duck, cube)
    marks = _record(settings, duck, [one for one in found if not _is_marked(one, known)])
    for one in marks:
        text = (
            f"{one.grain} cells of cube {cube.name} of {one.days} differ from their rows, so nothing is answered from "
            f"them. Run `fleetcube cube refresh {cube.name} --since {one.first} --until {one.last + _DAY}`."
        )
        told = {**data, "grain": one.grain, "first": str(one.first), "last": str(one.last), "found": one.why}
        record_alert(duck, settings.lake, Alert(KIND, "critical", entity, text, data=told))
        _LOG.error("%s: %s", entity, text)
    return marks


def active_marks(settings: Settings, duck: Duck, cube: Cube) -> list[Suspect]:
    """The marks that hold of the newest version of a cube."""
    cells = delta.open_snapshot(settings.lake, table_of(cube))
    rows = read_suspects(duck, delta.open_snapshot(settings.lake, tables.SUSPECTS))
    return active([one for one in rows if one.cube == cube.name], (cube.digest, *inherited(cells)), cells.version)


def clear_held(
    settings: Settings,
    duck: Duck,
    cube: Cube,
    report: VerifyReport,
    *,
    since: date | None = None,
    until: date | None = None,
) -> list[Suspect]:
    """Clear the marks inside a range of days that a verification has found to hold; gives what was cleared."""
    wrong, gone = set(report.places), expired(duck, settings.lake, cube).days

    def holds(mark: Suspect) -> bool:
        first, after = _days(mark)
        if _touches(mark, gone):
            return False  # what has expired is not verified by rows
        inside = (since is None or first >= since) and (until is None or after <= until)
        return inside and not any(grain == mark.grain and mark.first <= day <= mark.last for grain, day in wrong)

    held = [] if report.strays else [one for one in active_marks(settings, duck, cube) if holds(one)]
    cleared = [
        replace(one, action="clear", definition=cube.digest, version=report.version, why="its cells hold again")
        for one in held
    ]
    for one in _record(settings, duck, cleared):
        text = f"{one.grain} cells of cube {cube.name} of {one.days} equal their rows again; they answer again."
        record_alert(duck, settings.lake, Alert(KIND, "info", f"cube/{cube.name}", text, state="cleared"))
    return cleared


def recheck(settings: Settings, duck: Duck, cube: Cube, days: Iterable[date]) -> list[Suspect]:
    """Verify the marks that touch these days, which were made anew, and clear those that hold; gives the cleared."""
    made, gone = set(days), expired(duck, settings.lake, cube).days
    cleared = []
    for mark in active_marks(settings, duck, cube):
        first, after = _days(mark)
        if _touches(mark, made) and not _touches(mark, gone):
            report = verify(settings, duck, cube, since=first, until=after)
            cleared += clear_held(settings, duck, cube, report, since=first, until=after)
    return cleared


def _record(settings: Settings, duck: Duck, rows: Sequence[Suspect]) -> list[Suspect]:
    for left in reversed(range(_TRIES)):
        try:
            record_suspects(duck, settings.lake, rows)
            break
        except LakeError:
            # Another process was faster with a finding of its own.
            if not left:
                raise
    return list(rows)


def _is_marked(one: Suspect, marks: Iterable[Suspect]) -> bool:
    return any(held.grain == one.grain and held.first <= one.first and one.last <= held.last for held in marks)


def _runs(cube: Cube, report: VerifyReport, why: str) -> list[Suspect]:
    """The days of each grain that differ, runs of them together."""
    found: list[Suspect] = []
    for grain, day in sorted(report.places):
        last = found[-1] if found else None
        if last is not None and last.grain == grain and day == last.last + _DAY:
            found[-1] = replace(last, last=day)
        else:
            found.append(Suspect("mark", cube.name, cube.digest, grain, day, day, report.version, why))
    return found


def _strays(cube: Cube, report: VerifyReport, first: date | None, after: date | None) -> list[Suspect]:
    """Cells that no definition asks for have no place: then all grains of the days in question are marked."""
    if not report.strays or report.places or first is None or after is None:
        return []
    why = "; ".join(report.shown[:3])
    return [
        Suspect("mark", cube.name, cube.digest, grain, first, after - _DAY, report.version, why)
        for grain in cube.grains
    ]


def _whole(cube: Cube, since: date | None, until: date | None) -> tuple[date | None, date | None]:
    """The range widened to whole buckets of weeks and months, which are compared whole or not at all."""
    for grain in (GRAINS[name] for name in cube.grains if not GRAINS[name].within_day):
        since = None if since is None else grain.floor(_midnight(since)).date()
        until = None if until is None else grain.ceil(_midnight(until)).date()
    return since, until


def _touches(mark: Suspect, days: Iterable[date]) -> bool:
    first, after = _days(mark)
    return any(first <= day < after for day in days)


def _days(mark: Suspect) -> tuple[date, date]:
    """First day, and day after the last, of the buckets that a mark means."""
    grain = GRAINS[mark.grain]
    return grain.floor(_midnight(mark.first)).date(), grain.ceil(_midnight(mark.last + _DAY)).date()


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
