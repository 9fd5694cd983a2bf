"""Reconciling: the proof that nothing is lost when something finer goes.

Rows of a day: every cell of every cube is recomputed from them (`verify`), and the day's totals are kept as the proof.
When late rows of such a day go in their turn, the recorded totals and theirs together must give the cells' totals.
Cells of a segment: merged to the next coarser grain they must equal its cells, in every column and every slot.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from cubes.compact import merged_sql
from cubes.expired import Expired, expired
from cubes.measures import install, merge_sql, partial_sql, quoted
from cubes.model import Cube, State
from cubes.segments import bucket_us_sql, segment_range, table_of
from cubes.source import ALL_BELOW, Source, among
from cubes.stored import inherited
from cubes.verify import verify
from lake import delta, tables
from lake.deletions import Deletion
from lake.times import GRAINS, coarsest_within_day, made_from

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.settings import Settings

# States whose totals over a day are those of its parts added up, or the extreme of them.
_ADDITIVE: Final = frozenset(("count", "sum", "min", "max", "weighted", "weight", "where"))
Totals = dict[str, Any]


@dataclass(frozen=True)
class Proof:
    """What speaks against deleting (`against`, by part; '' for all), and what proves it safe where nothing does."""

    against: Mapping[str, str] = field(default_factory=dict)
    shown: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def prove_days(
    settings: Settings, duck: Duck, cube: Cube, days: Sequence[date], recorded: Sequence[Deletion], *, old: str = "true"
) -> Proof:
    """Whether the cube holds every trusted row of these days; `old` limits the rows whose totals are the proof.

    `recorded` are the fact's deletions so far. The caller holds the fact's gate, so no row comes meanwhile.
    """
    install(duck)
    cells = delta.open_snapshot(settings.lake, table_of(cube))
    trusted = delta.open_snapshot(settings.lake, tables.trusted(cube.fact))
    watermark = cells.txn("watermark")
    if watermark is None or watermark < (trusted.txn("gate") or 0):
        return Proof({"": f"cube {cube.name} stands at batch {watermark or 0}, trusted at {trusted.txn('gate')}"})
    again = {date.fromisoformat(one.segment) for one in recorded if one.layer == "trusted"}
    against, digests = _verified(settings, duck, cube, [day for day in days if day not in again])
    source = Source(cube, trusted, ALL_BELOW, watermark)
    daily = coarsest_within_day(cube.grains)
    states = [state for state in cube.states if state.function in _ADDITIVE]
    rows = f"SELECT day, count(*) AS rows{_columns(states, partial_sql)} FROM {source.relation(duck, days)} AS r"
    present = f"{rows} GROUP BY day"
    mine = [cube.digest, *inherited(cells)]
    parts = [f"({present})", *(f"({text})" for one in recorded if (text := _recorded(one, mine, days, states)))]
    there = _totals(duck, " UNION ALL BY NAME ".join(parts), states)
    files = cells.paths(lambda file: file.partition["grain"] == daily)
    whole = expired(duck, settings.lake, cube, cells).base_sql(cube, daily)
    base = f"cuboid = {whole} AND sketch IS NULL AND {among('CAST(bucket AS DATE)', days)}"
    stored = f"SELECT CAST(bucket AS DATE) AS day, * EXCLUDE (bucket) FROM {duck.scan(cells, files)} WHERE {base}"
    held = _totals(duck, stored, states)
    for day in days:
        if _something(there.get(day)) != _something(held.get(day)):
            told = f"cube {cube.name} holds {held.get(day, {}).get('rows', 0)} rows of {day}"
            counted = there.get(day, {}).get("rows", 0)
            against.setdefault(str(day), f"{told}; those there and those deleted are {counted}, or another sum differs")
    going = _totals(duck, f"{rows} WHERE {old} GROUP BY day", states)
    head = {"definition": cube.digest, "version": cells.version, "watermark": watermark, "digests": digests}
    return Proof(against, {str(day): {**head, "totals": _texts(going.get(day, {}))} for day in days})


def prove_segment(settings: Settings, duck: Duck, cube: Cube, grain: str, *, segment: str, gone: Expired) -> Proof:
    """Whether a coarser grain that is made of this one holds all that the cells of a segment say.

    Nothing is made of the coarsest grain, nor of weeks: they need no proof.
    """
    cells = delta.open_snapshot(settings.lake, table_of(cube))
    head = {"definition": cube.digest, "version": cells.version}
    coarser = [name for name in cube.grains if GRAINS[grain].makes(GRAINS[name])]
    if not coarser:
        return Proof({}, {segment: {**head, "coarsest": True}})
    closes = _closes(cube, grain, segment)
    if closes is not None and (there := _there(settings, cube, *closes)):
        why = "weeks and months may have to be made of these days again"
        return Proof({segment: f"rows of {there[0]} to {there[-1]} are still there, so that {why}"})
    target = next((name for name in coarser if _is_whole(name, *segment_range(grain, segment))), coarser[0])
    start, after = _around(grain, target, segment, gone)
    if gone.lacks_cells(target, start, after):
        return Proof({segment: f"cube {cube.name} keeps no coarser cells of {segment} to set against those at {grain}"})
    both = [sketch.name for sketch in cube.sketches if {grain, target} <= set(sketch.grains)]
    kept = f"(sketch IS NULL OR sketch IN ({', '.join(map(_text, both))}))" if both else "sketch IS NULL"
    inside = f"bucket >= TIMESTAMPTZ '{start.isoformat()}' AND bucket < TIMESTAMPTZ '{after.isoformat()}' AND {kept}"
    bucket = f"make_timestamptz({bucket_us_sql(target, 'epoch_us(bucket)')})"
    near = {segment, *(GRAINS[grain].segment_of(at) for at in (start, after - timedelta(microseconds=1)))}
    # Where one of them has aged, what both still tell is compared.
    untold = frozenset[str]().union(*(gone.dropped(grain, one) for one in near), *gone.states(target))
    fine = gone.told(cube, grain, _stored(duck, cells, inside, grain, near), untold)
    coarse = gone.told(cube, target, _stored(duck, cells, inside, target), untold)
    raised = f"(SELECT * REPLACE ('{target}' AS grain, '' AS segment, {bucket} AS bucket) FROM {fine})"
    made, held = (summed(duck, cube, one) for one in (raised, f"(SELECT * REPLACE ('' AS segment) FROM {coarse})"))
    if made != held:
        return Proof({segment: f"its {made[0]} cells and slots at {target} differ from the {held[0]} that are stored"})
    shown = {"successor": target, "cells": made[0], "rows": made[1], "digest": made[2]}
    if closes is not None:
        shown["closes"] = [str(day) for day in closes]
    return Proof({}, {segment: {**head, **shown}})


def _something(totals: Totals | None) -> Totals | None:
    """Totals of at least one row: where a cube takes no row of a day it has no cells, and none was deleted of it."""
    return totals if totals and totals["rows"] else None


def _stored(duck: Duck, cells: delta.Snapshot, where: str, grain: str, segments: Collection[str] = ()) -> str:
    """Relation, in brackets, of stored cells of a grain; only of these segments where some are named."""

    def wanted(file: delta.DataFile) -> bool:
        return file.partition["grain"] == grain and (not segments or file.partition["segment"] in segments)

    return f"(SELECT * FROM {duck.scan(cells, cells.paths(wanted))} WHERE {where})"


def _around(grain: str, coarser: str, segment: str, gone: Expired) -> tuple[datetime, datetime]:
    """The buckets of the coarser grain that lie in the segment, or reach over its ends to days that are still there.

    Where what is beyond an end went before, that end was proven then.
    """
    start, after = segment_range(grain, segment)
    first, last = GRAINS[coarser].floor(start), GRAINS[coarser].ceil(after)
    if first < start and gone.lacks_cells(grain, first, start):
        first = GRAINS[coarser].ceil(start)
    if last > after and gone.lacks_cells(grain, after, last):
        last = GRAINS[coarser].floor(after)
    return first, last


def _closes(cube: Cube, grain: str, segment: str) -> tuple[date, date] | None:
    """The days (first, and first after) of every week and month that is made of days of the segment; None: of none."""
    made = [name for name, finer in made_from(cube.grains).items() if finer == grain and not GRAINS[name].within_day]
    if not made:
        return None
    start, after = segment_range(grain, segment)
    first, last = (min(GRAINS[name].floor(start) for name in made), max(GRAINS[name].ceil(after) for name in made))
    return first.date(), last.date()


def _there(settings: Settings, cube: Cube, first: date, after: date) -> list[str]:
    """The days of a range, from `first` to before `after`, of which there are trusted rows."""
    files = delta.open_snapshot(settings.lake, tables.trusted(cube.fact)).files
    return sorted({day for file in files if str(first) <= (day := str(file.partition["day"])) < str(after)})


def _is_whole(coarser: str, start: datetime, after: datetime) -> bool:
    """Whether a range consists of whole buckets of a grain."""
    return all(GRAINS[coarser].floor(at) == at for at in (start, after))


def summed(duck: Duck, cube: Cube, relation: str) -> tuple[Any, ...]:
    """Cells and slots, rows, and a digest of the merged contents of partial cells of one grain."""
    merged = f"(SELECT * EXCLUDE (build) FROM ({merged_sql(cube, relation)}))"
    return duck.sql(
        f"""SELECT count(*), CAST(coalesce(sum(rows), 0) AS BIGINT),
        CAST(sum(md5_number_lower(CAST(m AS VARCHAR))) AS VARCHAR) FROM {merged} AS m"""
    )[0]


def _verified(
    settings: Settings, duck: Duck, cube: Cube, days: Sequence[date]
) -> tuple[dict[str, str], list[tuple[str, str, str]]]:
    """What differs by day, and the digests of the cells where all is equal; runs of days are verified at once."""
    against: dict[str, str] = {}
    digests: list[tuple[str, str, str]] = []
    for first, last in _runs(days):
        report = verify(settings, duck, cube, since=first, until=last + timedelta(days=1))
        digests += report.digests
        if report.holds:
            continue
        for at in range((last - first).days + 1):
            day = first + timedelta(days=at)
            alone = verify(settings, duck, cube, since=day, until=day + timedelta(days=1))
            if not alone.holds:
                against[str(day)] = f"cube {cube.name} differs from the rows: {alone.shown[0]}"
    return against, digests


def _runs(days: Iterable[date]) -> list[tuple[date, date]]:
    """Runs of consecutive days, first and last of each."""
    found: list[tuple[date, date]] = []
    for day in sorted(days):
        if found and day - found[-1][1] == timedelta(days=1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def _recorded(one: Deletion, mine: Sequence[str], days: Sequence[date], states: Sequence[State]) -> str:
    """SELECT of the totals that an earlier deletion recorded, as one partial cell; '' where it is of other days.

    `mine` are the definitions whose cells the cube holds, its own first.
    """
    proofs = one.proof.get("cubes", {})
    digest = next((digest for digest in mine if digest in proofs), "")
    if one.layer != "trusted" or not digest or date.fromisoformat(one.segment) not in days:
        return ""
    totals = proofs[digest]["totals"]
    cells = "".join(
        f", CAST({'NULL' if totals.get(state.name) is None else _text(totals[state.name])} AS {state.type}) "
        f"AS {quoted(state.name)}"
        for state in states
    )
    return f"SELECT DATE '{one.segment}' AS day, CAST({_text(totals.get('rows', '0'))} AS BIGINT) AS rows{cells}"


def _totals(duck: Duck, partials: str, states: Sequence[State]) -> dict[date, Totals]:
    names = ["rows", *(state.name for state in states)]
    merged = (
        f"SELECT day, CAST(sum(rows) AS BIGINT) AS rows{_columns(states, merge_sql)} FROM ({partials}) GROUP BY day"
    )
    return {row[0]: dict(zip(names, row[1:], strict=True)) for row in duck.sql(merged)}


def _columns(states: Sequence[State], made: Any) -> str:
    return "".join(f", {made(state)} AS {quoted(state.name)}" for state in states)


def _texts(totals: Totals) -> dict[str, str | None]:
    """Totals as texts: JSON's numbers would lose digits."""
    return {name: None if value is None else str(value) for name, value in totals.items()}


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
