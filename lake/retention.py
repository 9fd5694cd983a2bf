"""Retention as a plan: what is due, why, what must stand first, and what a legal hold keeps. Nothing is deleted here.

Rule of all rules: nothing fine goes before its coarser successor exists and reconciles with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from lake.delta import DataFile, Snapshot, open_snapshot
from lake.duck import Duck, text_literal
from lake.holds import Hold, active_holds, holding
from lake.retention_rules import FactRule, RetentionRules, parse_age
from lake.tables import BATCHES, QUARANTINE, TableRef, landing, trusted
from lake.times import GRAINS


@dataclass(frozen=True)
class CubeLife:
    """What retention must know of a cube: its table, its fact, and for how many days each grain stays.

    `age_out` says for how many days cells tell a dimension; `places` at which bit each dimension is in a cuboid.
    """

    name: str
    fact: str
    ref: TableRef
    keep: Mapping[str, int]
    grains: Sequence[str] = ()
    age_out: Mapping[str, int] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanRow:
    """One thing that would go: `rows` of it by metadata, and what must be proven `first` ('' when nothing must).

    `held` names the legal hold that keeps it.
    """

    layer: str
    subject: str
    rows: int
    size_bytes: int
    why: str
    first: str
    held: str = ""


@dataclass(frozen=True)
class Due:
    """A plan's row with what it is made of: a fact's files of one table, or of one UTC day or segment of it.

    `old` is SQL that is true for the rows that go, where others of the same files stay. `dropped` are the dimensions
    that a segment's cells then no longer tell; `after` the end of the days that this is about, if not the segment's.
    """

    row: PlanRow
    fact: str
    ref: TableRef
    files: tuple[DataFile, ...]
    segment: str = ""
    grain: str = ""
    cube: str = ""
    old: str = ""
    dropped: tuple[str, ...] = ()
    after: datetime | None = None

    @property
    def layer(self) -> str:
        """landing, trusted, quarantine, cube or dimension."""
        return self.row.layer


def plan_retention(
    lake: Path, duck: Duck, rules: RetentionRules, cubes: Sequence[CubeLife], now: datetime
) -> list[PlanRow]:
    """What would go at `now`, finest first; reading metadata only, but for the counting of rounds."""
    return [due.row for due in due_parts(lake, duck, rules, cubes, now)]


def due_parts(lake: Path, duck: Duck, rules: RetentionRules, cubes: Sequence[CubeLife], now: datetime) -> list[Due]:
    """The same with the files of each part."""
    found: list[Due] = []
    for fact, rule in sorted(rules.facts.items()):
        found += _landing(lake, duck, fact, rules.landing, now)
        over = [cube for cube in cubes if cube.fact == fact]
        if rule.keep is not None:
            found += _aged_days(lake, fact, rule.keep, over, now)
        else:
            found += _old_rounds(lake, duck, fact, rule)
        found += _quarantine(lake, fact, rules.quarantine, now)
    for cube in cubes:
        going = _grains(lake, cube, now)
        found += [*going, *_untold(lake, duck, cube, {(due.grain, due.segment) for due in going}, now)]
    holds = active_holds(lake, duck)
    return [_held(one, holds) for one in found]


def _held(due: Due, holds: Sequence[Hold]) -> Due:
    """The part, marked where a hold covers it; what names no day is covered by any hold over its fact."""
    first = last = None
    if due.grain:
        start, after = _segment_range(due.grain, due.segment)
        first, last = start.date(), ((due.after or after) - timedelta(microseconds=1)).date()
    elif due.segment:
        first = last = date.fromisoformat(due.segment)
    hold = holding(holds, due.fact, first, last)
    return due if hold is None else replace(due, row=replace(due.row, held=str(hold)))


def _landing(lake: Path, duck: Duck, fact: str, keep: str, now: datetime) -> list[Due]:
    """Landing files that were judged and not blocked (by their landing batches) and are older than `keep`."""
    batches = f"(SELECT * FROM {duck.scan(open_snapshot(lake, BATCHES))} WHERE fact = {text_literal(fact)})"
    judged = duck.sql(f"SELECT coalesce(max(landed_to), 0) FROM {batches}")[0][0]
    waiting = duck.sql(f"SELECT landed_from, landed_to FROM {batches} GROUP BY ALL HAVING sum(blocked) > 0")
    cutoff = now - parse_age(keep)
    ref = landing(fact)
    files = [
        file
        for file in open_snapshot(lake, ref).files
        if file.maximum.get("landed", judged + 1) <= judged
        and file.maximum.get("received_at", now) < cutoff
        and not any(file.may_hold("landed", first, last) for first, last in waiting)
    ]
    why = f"judged, and received before {cutoff:%Y-%m-%d} ({keep})"
    return _due("landing", fact, files, why, "", fact=fact, ref=ref)


def _aged_days(lake: Path, fact: str, keep: str, cubes: Sequence[CubeLife], now: datetime) -> list[Due]:
    cutoff = (now - parse_age(keep)).date().isoformat()
    snapshot = open_snapshot(lake, trusted(fact))
    first = "; ".join(f"cube {cube.name} must hold and reconcile with those days" for cube in cubes)
    first = first or f"a cube over {fact} must be declared, or the rows are lost for good"
    why = f"older than {keep} (before {cutoff})"
    return [
        due
        for day, files in _by_partition(snapshot, "day", cutoff).items()
        for due in _due("trusted", f"{fact} {day}", files, why, first, fact=fact, ref=snapshot.ref, segment=day)
    ]


def _old_rounds(lake: Path, duck: Duck, fact: str, rule: FactRule) -> list[Due]:
    """Rounds beyond the newest N within the rule's dimensions, by UTC day; newest by the time of their last row."""
    snapshot = open_snapshot(lake, trusted(fact))
    if not snapshot.files:
        return []
    per = ", ".join(f'"{name}"' for name in rule.per)
    scan = duck.scan(snapshot)
    old = (
        f'SELECT {per}, run, "round" FROM (SELECT {per}, run, "round", '
        f'row_number() OVER (PARTITION BY {per} ORDER BY max(ts) DESC, run, "round") AS age '
        f'FROM {scan} GROUP BY {per}, run, "round") WHERE age > {rule.newest_rounds}'
    )
    same = " AND ".join(f'o."{name}" IS NOT DISTINCT FROM r."{name}"' for name in (*rule.per, "run", "round"))
    condition = f"EXISTS (SELECT 1 FROM ({old}) AS o WHERE {same})"
    counts = duck.sql(
        f'SELECT CAST(day AS VARCHAR), count(*), count(DISTINCT ({per}, run, "round")) '
        f"FROM {scan} AS r WHERE {condition} GROUP BY day ORDER BY day"
    )
    found = []
    for day, rows, rounds in counts:
        files = tuple(file for file in snapshot.files if file.partition.get("day") == day)
        why = f"{rounds} rounds beyond the newest {rule.newest_rounds} per {', '.join(rule.per)}"
        row = PlanRow("trusted", f"{fact} {day}", rows, 0, why, "cubes over the rounds must reconcile with them")
        found.append(Due(row, fact, snapshot.ref, files, segment=day, old=condition))
    return found


def _quarantine(lake: Path, fact: str, keep: str, now: datetime) -> list[Due]:
    cutoff = now - parse_age(keep)
    files = [
        file
        for file in open_snapshot(lake, QUARANTINE).files
        if file.partition.get("fact") == fact and file.maximum.get("received_at", now) < cutoff
    ]
    why = f"received before {cutoff:%Y-%m-%d} ({keep})"
    return _due("quarantine", fact, files, why, "", fact=fact, ref=QUARANTINE)


def _grains(lake: Path, cube: CubeLife, now: datetime) -> list[Due]:
    """Segments of each grain that ended before the grain's keep; the next coarser kept grain must reconcile first."""
    snapshot = open_snapshot(lake, cube.ref)
    names = [name for name in GRAINS if name in cube.keep]
    found: list[Due] = []
    for at, grain in enumerate(names):
        keep = cube.keep[grain]
        cutoff = GRAINS[grain].segment_of(now - timedelta(days=keep))
        of_grain = [file for file in snapshot.files if file.partition.get("grain") == grain]
        coarser = next((one for one in names[at + 1 :] if GRAINS[grain].makes(GRAINS[one])), "")
        first = f"the {coarser} cells of the same days must exist and reconcile" if coarser else ""
        for segment, files in _by_partition(of_grain, "segment", cutoff).items():
            subject, why = f"{cube.name} {grain} {segment}", f"older than {keep} days"
            due = _due("cube", subject, files, why, first, fact=cube.fact, ref=cube.ref)
            found += [replace(one, segment=segment, grain=grain, cube=cube.name) for one in due]
    return found


def _untold(lake: Path, duck: Duck, cube: CubeLife, going: set[tuple[str, str]], now: datetime) -> list[Due]:
    """Segments that ended before the age at which their cells need no longer tell a dimension, and still tell it.

    Coarsest first, and years all at once: a week is made again of its days when one changes, so these tell as much.
    """
    if not cube.age_out:
        return []
    snapshot = open_snapshot(lake, cube.ref)
    found: list[Due] = []
    for grain in reversed(cube.grains):
        alike = [one for one in cube.grains if GRAINS[one].segment == GRAINS[grain].segment]
        of_grain = [file for file in snapshot.files if file.partition.get("grain") == grain]
        for segment, files in _by_partition(of_grain, "segment", "~").items():
            end = max(_segment_range(one, segment)[1] for one in alike)
            due = [name for name, days in cube.age_out.items() if end <= now - timedelta(days=days)]
            if not due or (grain, segment) in going:
                continue
            scan = duck.scan(snapshot, _paths(snapshot, files))
            mask = sum(1 << cube.places[name] for name in due)
            # Cells of cuboids that keep such a dimension; in a segment that has aged there are none.
            [(cells,)] = duck.sql(f"SELECT count(*) FROM {scan} WHERE cuboid & {mask} <> 0")
            if cells:
                why = f"told for {', '.join(f'{name} {cube.age_out[name]} days' for name in due)}"
                first = "cells without them must equal the sums of those with them"
                subject = f"{cube.name} {grain} {segment} without {', '.join(due)}"
                row = PlanRow("dimension", subject, cells, 0, why, first)
                place = (segment, grain, cube.name)
                found.append(Due(row, cube.fact, cube.ref, tuple(files), *place, dropped=tuple(due), after=end))
    return found


def _paths(snapshot: Snapshot, files: Sequence[DataFile]) -> list[str]:
    wanted = {file.path for file in files}
    return snapshot.paths(lambda file: file.path in wanted)


def _segment_range(grain: str, segment: str) -> tuple[datetime, datetime]:
    """A range of time that holds every bucket of a segment."""
    found = GRAINS[grain]
    start = datetime.strptime(segment, found.segment)
    stride = {"%Y-%m-%d": 1, "%Y-%m": 31, "%Y": 366}[found.segment]
    after = datetime.strptime((start + timedelta(days=stride)).strftime(found.segment), found.segment)
    # A week that begins in a segment may end after it.
    more = timedelta() if found.within_day or found.months else found.delta
    return start.replace(tzinfo=UTC), after.replace(tzinfo=UTC) + more


def _by_partition(files: Snapshot | Iterable[DataFile], column: str, before: str) -> dict[str, list[DataFile]]:
    found: dict[str, list[DataFile]] = {}
    for file in files.files if isinstance(files, Snapshot) else files:
        value = file.partition.get(column)
        if value is not None and value < before:
            found.setdefault(value, []).append(file)
    return dict(sorted(found.items()))


def _due(
    layer: str,
    subject: str,
    files: Sequence[DataFile],
    why: str,
    first: str,
    *,
    fact: str,
    ref: TableRef,
    segment: str = "",
) -> list[Due]:
    if not files:
        return []
    row = PlanRow(layer, subject, sum(f.rows for f in files), sum(f.size_bytes for f in files), why, first)
    return [Due(row, fact, ref, tuple(files), segment=segment)]
