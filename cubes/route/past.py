"""The versions that a statement sees when it asks of an earlier state: by AS OF, or those of an earlier answer.

Trusted rows are as of the newest version at that moment; of each cube that version is read which stands on no newer
rows, and a tail of rows is merged in where it stands on older ones. Lookups are those of the moment. What is gone since
(vacuumed, expired, erased) is refused, with the nearest version that can be answered: it is never shown as empty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cubes.expired import overlap, spans
from cubes.plan.versions import old_versions
from lake import tables
from lake.delta import Snapshot
from lake.errors import QueryError
from lake.history import absent
from lake.times import iso

if TYPE_CHECKING:
    from cubes.model import Cube
    from cubes.route.asof import AsOf
    from cubes.route.span import Window
    from cubes.route.view import CubeState, FactState, Shelf, View
    from lake.history import Entry
    from lake.tables import TableRef

_NO_DAYS: Final[frozenset[date]] = frozenset()
_ALWAYS: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Past:
    """The versions of a moment: found by what was `asked`, or given as `versions` by table, as a receipt has them."""

    asked: AsOf | None = None
    versions: Mapping[str, int] = field(default_factory=dict)

    def table(self, shelf: Shelf, ref: TableRef) -> Snapshot:
        """A table as it was; one that was not there yet has no files."""
        if self.asked is None:
            version = self.versions.get(ref.key)
            return _nothing(shelf, ref) if version is None else shelf.at(ref, version)
        newest = shelf.latest(ref)
        if self.asked.fact and ref.key == tables.trusted(self.asked.fact).key:
            entry: Entry | None = _wanted(shelf, self.asked)
        else:
            entry = shelf.history(ref).at(self.moment(shelf), newest.version) if newest.exists else None
        return _nothing(shelf, ref) if entry is None else shelf.at(ref, entry.version)

    def moment(self, shelf: Shelf) -> datetime:
        """When it was; of a version the last moment of it: what the gate says of its batch comes just after it."""
        assert self.asked is not None, "versions that are given have no moment"
        if self.asked.at is not None:
            return self.asked.at
        mine = _wanted(shelf, self.asked)
        entries = shelf.history(tables.trusted(self.asked.fact)).entries
        after = next((one.at for one in entries if one.version > mine.version), _ALWAYS)
        return max(mine.at, after - timedelta(microseconds=1))

    def trusted(self, shelf: Shelf, ref: TableRef, now: datetime) -> Snapshot:
        """The trusted rows of then. Errors: QueryError for a moment to come, or before the first row."""
        if self.asked is not None and self.asked.at is not None and self.asked.at > now:
            raise QueryError(f"AS OF {self.asked} lies in the future.", todo="Leave it out.", code="22023")
        found, newest = self.table(shelf, ref), shelf.latest(ref)
        if newest.exists and not found.exists:
            first = shelf.history(ref).read(newest.version)[0]
            raise QueryError(
                f"nothing is told of {ref.name} as of {self.asked}.",
                todo=f"The oldest version that is told of is {first.version}, of {iso(first.at)}.",
                code="22023",
            )
        return found

    def cells(self, shelf: Shelf, cube: Cube, trusted: Snapshot) -> tuple[Cube, Snapshot] | None:
        """A cube's version that stands on no newer rows than these, by the definition of then; None: there is none."""
        for one in _definitions(shelf, cube):
            ref = shelf.table_of(one)
            version = self.versions.get(ref.key) if self.asked is None else _standing(shelf, ref, trusted.version)
            if version is not None:
                return one, shelf.at(ref, version)
        return None


def lost_days(shelf: Shelf, trusted: Snapshot) -> frozenset[date]:
    """The days of which rows of an older trusted version must not, or can't, be shown any more."""
    gone = absent(trusted, shelf.latest(trusted.ref))
    days = {_day(file.partition["day"] or "") for file in trusted.files if file.path in gone}
    number = trusted.txn("retain") or 0
    retired = [one for one in shelf.deletions(trusted.ref.name) if one.layer == "trusted" and one.number > number]
    return frozenset({*days, *(_day(one.segment) for one in retired), *erased_days(shelf, trusted)})


def erased_days(shelf: Shelf, trusted: Snapshot) -> frozenset[date]:
    """The days of which rows were erased after that version."""
    newest, held = shelf.latest(trusted.ref), trusted.txn("gate") or 0
    batches = shelf.latest(tables.BATCHES)
    if newest.version == trusted.version or not batches.files:
        return _NO_DAYS
    listed = shelf.duck.sql(
        f"SELECT batch FROM {shelf.duck.scan(batches)} WHERE fact = $1 AND verdict = 'erased' AND batch > $2",
        [trusted.ref.name, held],
    )
    numbers = {int(batch) for (batch,) in listed}
    days: set[date] = set()
    before = held
    for entry in shelf.history(trusted.ref).read(newest.version) if numbers else ():
        gate = entry.numbers.get("gate", 0)
        if entry.version > trusted.version and gate != before and gate in numbers:
            days |= {_day_of(path) for path in entry.removes}
        before = gate if entry.version > trusted.version else held
    return frozenset(days)


def narrowed(shelf: Shelf, state: CubeState, lost: frozenset[date], erased: frozenset[date]) -> CubeState:
    """A cube's earlier version without what is gone of it, or must not be told of any more."""
    cells, held = state.snapshot, state.expired
    gone = absent(cells, shelf.latest(cells.ref))
    files = (file.partition for file in cells.files if file.path in gone)
    segments = {(parts["grain"] or "", parts["segment"] or "") for parts in files}
    # Edges need rows, and cells that hold rows which were erased since must not tell of them.
    less = replace(held, days=held.days | lost, unproven=held.unproven | erased, segments=held.segments | segments)
    return replace(state, expired=less)


def refuse_lost(view: View, state: FactState, window: Window) -> None:
    """QueryError where a range of an earlier version needs rows that are gone since."""
    days = [] if window.empty else overlap(state.lost, *window.moments())
    if not days:
        return
    near = " and ".join(f"{version} ({iso(at)})" for version, at in _near(view.shelf, state.trusted, set(days)))
    raise QueryError(
        f"rows of {state.fact.name} of {spans(days)} as of version {state.trusted.version} are gone: vacuumed, "
        "expired or erased since.",
        todo=f"The nearest version that can be answered is {near}." if near else "Ask without AS OF.",
        code="22023",
    )


def _near(shelf: Shelf, trusted: Snapshot, days: set[date]) -> Iterator[tuple[int, datetime]]:
    """The nearest versions before and after that have all rows of some days, each with its time."""
    ref, newest = trusted.ref, shelf.latest(trusted.ref)
    entries = shelf.history(ref).read(newest.version)
    times = {entry.version: entry.at for entry in entries}
    # Before: what a cube stands on is kept by vacuum.
    mine = [shelf.latest(shelf.table_of(cube)).txn("source") or 0 for cube in shelf.cubes if cube.fact == ref.name]
    earlier = sorted({version for version in mine if version < trusted.version and version in times}, reverse=True)
    for version in [*earlier[:1], *(entry.version for entry in entries if entry.version > trusted.version)]:
        if not _lost(shelf, ref, version, days):
            yield version, times[version]
            if version > trusted.version:
                return


def _lost(shelf: Shelf, ref: TableRef, version: int, days: Collection[date]) -> bool:
    return not lost_days(shelf, shelf.at(ref, version)).isdisjoint(days)


def _definitions(shelf: Shelf, cube: Cube) -> Iterator[Cube]:
    yield cube
    yield from (one.cube for one in old_versions(shelf.lake, cube))


def _standing(shelf: Shelf, ref: TableRef, source: int) -> int | None:
    """The newest version of a cube's table that stands on trusted rows of `source` or an older version."""
    newest = shelf.latest(ref)
    for entry in reversed(shelf.history(ref).read(newest.version)) if newest.exists else ():
        held = entry.numbers.get("source")
        # Set before the oldest entry of the log: only the version itself can tell.
        held = shelf.at(ref, entry.version).txn("source") if held is None else held
        if held is not None and held <= source:
            return entry.version
    return None


def _wanted(shelf: Shelf, asked: AsOf) -> Entry:
    ref = tables.trusted(asked.fact)
    newest = shelf.latest(ref)
    found = shelf.history(ref).version(asked.version, newest.version) if newest.exists else None
    if found is None:
        told = shelf.history(ref).entries
        versions = f"versions {told[0].version} to {told[-1].version} are told of" if told else "there is none yet"
        what = f"there is no version {asked.version} of {asked.fact}."
        raise QueryError(what, todo=f"{versions[:1].upper()}{versions[1:]}.", code="22023")
    return found


def _nothing(shelf: Shelf, ref: TableRef) -> Snapshot:
    return Snapshot(ref, ref.path(shelf.lake), -1, (), None)


def _day_of(path: str) -> date:
    return _day(next(part for part in path.split("/") if part.startswith("day=")).removeprefix("day="))


def _day(text: str) -> date:
    return date.fromisoformat(text)
