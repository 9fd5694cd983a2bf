"""The pinned versions that one statement reads: cubes first, then trusted rows at the version they were built of.

A *shelf* keeps opened snapshots between statements and opens a table again only when its log has a newer version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from cubes.expired import Expired, expired_in
from cubes.histograms import rests_on
from cubes.lookup_state import differs, lookups_of, transaction
from cubes.measures import quoted
from cubes.model import Cube, Derived
from cubes.plan.versions import built_digests, old_versions
from cubes.route.aliases import Aliases, resolved
from cubes.route.counted import counted_cells
from cubes.route.past import Past, erased_days, lost_days, narrowed
from cubes.route.span import Window
from cubes.route.suspect import suspect_windows
from cubes.segments import segment_range, table_of
from lake import delta, tables
from lake.deletions import Deletion, expired_days, read_deletions
from lake.errors import LakeError, QueryError
from lake.facts import Fact, load_facts
from lake.history import History
from lake.places import is_remote
from lake.shared import has_table
from lake.suspects import Suspect, read_suspects
from lake.times import EPOCH

if TYPE_CHECKING:
    from pathlib import Path

    from cubes.access import Policy
    from lake.delta import DataFile, Snapshot
    from lake.duck import Duck
    from lake.tables import TableRef


@dataclass(frozen=True)
class CubeState:
    """A built cube at one version: the highest trusted batch inside, and the trusted version that it was built of.

    `rows` are partial cells by (grain, cuboid); `lagging` says that a tail of newer trusted rows must be merged in;
    `stale` are the lookups that say something else now than when derived dimensions were made from them.
    """

    cube: Cube
    snapshot: Snapshot
    build: int
    watermark: int
    source: int
    rows: Mapping[tuple[str, int], int]
    lagging: bool = False
    withdrawn: bool = False
    stale: frozenset[str] = frozenset()
    expired: Expired = field(default_factory=Expired)
    # By grain: ranges of cells that were found to differ from their rows.
    suspect: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class FactState:
    """A fact's trusted rows at the statement's version, and the cubes over it."""

    fact: Fact
    trusted: Snapshot
    cubes: tuple[CubeState, ...]
    unbuilt: tuple[str, ...]
    expired: frozenset[date] = frozenset()
    # Of an earlier version: days whose rows are gone since.
    lost: frozenset[date] = frozenset()

    @property
    def span_s(self) -> float:
        """Seconds between the first and last day that hold rows; at least a day. For estimates only."""
        days = sorted(file.partition["day"] or "" for file in self.trusted.files)
        if not days:
            return 86400.0
        return (datetime.fromisoformat(days[-1]) - datetime.fromisoformat(days[0])).total_seconds() + 86400.0

    @property
    def window(self) -> Window:
        """A range of whole days that holds the times of all rows and cells."""
        days = [datetime.fromisoformat(f"{file.partition['day']}T00:00:00+00:00") for file in self.trusted.files]
        ends = [(day, day + timedelta(days=1)) for day in days]
        ends += [
            segment_range(file.partition["grain"] or "", file.partition["segment"] or "")
            for cube in self.cubes
            for file in cube.snapshot.files
        ]
        if not ends:
            return Window(0, 0)
        first, after = min(start for start, _ in ends), max(end for _, end in ends)
        return Window((first - EPOCH) // timedelta(microseconds=1), (after - EPOCH) // timedelta(microseconds=1))


@dataclass
class Shelf:
    """Opened tables of one lake, with what was counted of each version."""

    lake: Path
    duck: Duck
    cubes: Sequence[Cube]
    newest: dict[str, Snapshot] = field(default_factory=dict)
    pinned: dict[tuple[str, int], Snapshot] = field(default_factory=dict)
    refs: dict[str, TableRef] = field(default_factory=dict)
    older: dict[str, tuple[tuple[str, ...], Cube | None]] = field(default_factory=dict)
    aliases: dict[tuple[str, int], Aliases] = field(default_factory=dict)
    counted: dict[tuple[str, int], Mapping[tuple[str, int], int]] = field(default_factory=dict)
    compared: dict[tuple[str, str, int, int | None], bool] = field(default_factory=dict)
    times: dict[tuple[str, int, tuple[str, ...]], tuple[int, ...]] = field(default_factory=dict)
    deleted: dict[tuple[str, int], list[Deletion]] = field(default_factory=dict)
    signs: dict[str, tuple[int, dict[str, bool]]] = field(default_factory=dict)
    histories: dict[str, History] = field(default_factory=dict)
    marked: tuple[int, list[Suspect]] = (-1, [])

    def history(self, ref: TableRef) -> History:
        """What a table's log tells of its versions."""
        return self.histories.setdefault(ref.key, History(self.lake, ref))

    def table_of(self, cube: Cube) -> TableRef:
        """The table of a cube."""
        if cube.digest not in self.refs:
            self.refs[cube.digest] = table_of(cube)
        return self.refs[cube.digest]

    def serving(self, cube: Cube) -> tuple[Cube, Snapshot]:
        """The version of a cube that answers: the declared one, or until it is built an older one that was."""
        ref = self.table_of(cube)
        if is_remote(self.lake) or has_table(ref.path(self.lake)):
            snapshot = self.latest(ref)
            if snapshot.txn("build") is not None:
                return cube, snapshot
        digests = built_digests(self.lake, cube.name)
        held = self.older.get(cube.name)
        if held is None or held[0] != digests:
            found = old_versions(self.lake, cube)
            held = self.older[cube.name] = (digests, found[0].cube if found else None)
        old = held[1]
        return (cube, delta.open_snapshot(self.lake, ref)) if old is None else (old, self.latest(self.table_of(old)))

    def latest(self, ref: TableRef) -> Snapshot:
        """The newest version of a table."""
        held = self.newest.get(ref.key)
        if held is None or delta.newest_version(self.lake, ref, held.version) > held.version:
            held = delta.open_snapshot(self.lake, ref)
            self.newest[ref.key] = held
        return held

    def at(self, ref: TableRef, version: int) -> Snapshot:
        """A table at one version; only the last few are kept."""
        held = self.newest.get(ref.key)
        if held is not None and held.version == version:
            return held
        found = self.pinned.get((ref.key, version))
        if found is None:
            while len(self.pinned) >= 16:
                self.pinned.pop(next(iter(self.pinned)))
            found = self.pinned[(ref.key, version)] = delta.open_snapshot(self.lake, ref, version)
        return found

    def deletions(self, fact: str) -> list[Deletion]:
        """What retention has deleted of a fact and its cubes."""
        snapshot = self.latest(tables.DELETIONS)
        key = (fact, snapshot.version)
        if key not in self.deleted:
            self.deleted = {held: found for held, found in self.deleted.items() if held[1] == snapshot.version}
            self.deleted[key] = read_deletions(self.duck, snapshot, fact=fact)
        return self.deleted[key]

    def suspects(self, cube: Cube, cells: Snapshot) -> Mapping[str, tuple[Window, ...]]:
        """The ranges of a version's cells, by grain, that were found to differ from their rows."""
        snapshot = self.latest(tables.SUSPECTS)
        if snapshot.version != self.marked[0]:
            self.marked = (snapshot.version, read_suspects(self.duck, snapshot))
        return suspect_windows(self.marked[1], cube, cells) if self.marked[1] else {}

    def differs(self, cube: Cube, newest: Snapshot, version: int | None) -> bool:
        """Whether a lookup says anything else to a cube's dimensions than at an older version (None: unknown)."""
        key = (cube.digest, newest.ref.key, newest.version, version)
        if key not in self.compared:
            try:
                old = None if version is None else self.at(newest.ref, version)
            except LakeError:
                old = None
            self.compared[key] = old is None or differs(self.duck, newest.ref.name, old, newest, rests_on(cube))
        return self.compared[key]

    def times_of(self, lookup: Snapshot, columns: tuple[str, ...]) -> tuple[int, ...]:
        """The times in columns of a lookup's version, in microseconds since 1970, each once."""
        key = (lookup.ref.key, lookup.version, columns)
        if key not in self.times:
            listed = ", ".join(f"epoch_us({quoted(column)})" for column in columns)
            rows = self.duck.sql(f"SELECT DISTINCT unnest([{listed}]) FROM {self.duck.scan(lookup)}")
            self.times[key] = tuple(us for (us,) in rows if us is not None)
        return self.times[key]

    def may_be_negative(self, snapshot: Snapshot, column: str) -> bool:
        """Whether any cell of a cube's version holds a negative value of a column whose quantiles it keeps."""
        version, held = self.signs.get(snapshot.ref.key, (None, {}))
        if version != snapshot.version:
            held = {}
            self.signs[snapshot.ref.key] = (snapshot.version, held)
        if column not in held:
            least = f"min({quoted(f'min_{column}')})"
            [(found,)] = self.duck.sql(f"SELECT coalesce({least} < 0, false) FROM {self.duck.scan(snapshot)}")
            held[column] = bool(found)
        return held[column]

    def cells(self, snapshot: Snapshot) -> Mapping[tuple[str, int], int]:
        """Partial cells of a cube's version by (grain, cuboid): what candidates are weighed by."""
        key = (snapshot.ref.key, snapshot.version)
        if key not in self.counted:
            while len(self.counted) >= 64:
                self.counted.pop(next(iter(self.counted)))
            self.counted[key] = counted_cells(self.duck, snapshot)
        return self.counted[key]


@dataclass
class View:
    """What one statement sees. Facts are pinned when first named, each at its own version.

    `policy` is that of the user who asks, None for the operator; `barred` reads nothing but permitted rows, in such a
    way that not even an expression's error can tell of others (see `cubes.route.policy`). `past` are the versions of
    an earlier moment, None for those of now.
    """

    shelf: Shelf
    now: datetime
    fresh: bool = False
    policy: Policy | None = None
    barred: bool = False
    past: Past | None = None
    pins: dict[str, FactState] = field(default_factory=dict)
    lookups: dict[str, Snapshot] = field(default_factory=dict)

    @property
    def duck(self) -> Duck:
        """The engine that the statement runs on."""
        return self.shelf.duck

    def fact(self, name: str) -> FactState:
        """A fact at the statement's version: that of the cube built last, or the newest when there is none."""
        if name not in self.pins:
            # Before what they tell of is read: should they move on meanwhile, a plan is merely made once more.
            _ = self.heads
            self.pins[name] = self._pin(name)
            # Their version is part of the statement's vector from the first fact on.
            _ = self.aliases
        return self.pins[name]

    def barring(self) -> View:
        """The same, with nothing pinned yet, barred."""
        return View(self.shelf, self.now, self.fresh, self.policy, barred=True, past=self.past)

    def table(self, ref: TableRef) -> Snapshot:
        """A table that is no fact's and no cube's, at its newest version or as it was."""
        return self.shelf.latest(ref) if self.past is None else self.past.table(self.shelf, ref)

    def lookup(self, name: str) -> Snapshot:
        """A lookup at its newest version, or as it was."""
        if name not in self.lookups:
            found = self.table(tables.lookup(name))
            if not found.exists and self.past is not None:
                raise QueryError(f"the lookup {name} had not been loaded by then.", todo="Ask without AS OF.")
            if not found.exists:
                raise LakeError(f"the lookup {name} has not been loaded.", todo="Run `fleetcube land` once.")
            self.lookups[name] = found
        return self.lookups[name]

    def derived(self, fact: str) -> dict[str, Derived]:
        """The derived dimensions of every cube over a fact, by name; a statement may name them like its columns."""
        return {one.name: one for cube in self.shelf.cubes if cube.fact == fact for one in cube.derived}

    def times_of(self, lookup: str, columns: tuple[str, ...]) -> tuple[int, ...]:
        """The times that stand in columns of a lookup, in microseconds since 1970."""
        return self.shelf.times_of(self.lookup(lookup), columns)

    @cached_property
    def heads(self) -> dict[str, int]:
        """Versions of what retention and audits say of cubes, where they say anything: part of the vector."""
        # What was erased since an earlier moment is not shown, and batches say what that is.
        later = () if self.past is None else (tables.BATCHES,)
        found = {ref.key: self.shelf.latest(ref).version for ref in (tables.DELETIONS, tables.SUSPECTS, *later)}
        return {key: version for key, version in found.items() if version >= 0}

    @cached_property
    def aliases(self) -> Aliases:
        """New names by dimension and old name; nothing where no alias is loaded."""
        snapshot = self.lookups.get("aliases") or self.table(tables.lookup("aliases"))
        if not snapshot.rows:
            return {}
        self.lookups["aliases"] = snapshot
        key = ("aliases", snapshot.version)
        if key not in self.shelf.aliases:
            rows = self.duck.sql(f"SELECT dimension, old, new FROM {self.duck.scan(snapshot)} WHERE new IS NOT NULL")
            self.shelf.aliases = {key: resolved(rows)}
        return self.shelf.aliases[key]

    def repin(self, facts: Iterable[str], lookups: Iterable[str]) -> View:
        """This view with these tables pinned, at the versions that it sees."""
        for name in facts:
            self.fact(name)
        for name in lookups:
            self.lookup(name)
        return self

    def vector(self) -> dict[str, int]:
        """The versions pinned so far, by table."""
        found = {f"lookups/{name}": snapshot.version for name, snapshot in self.lookups.items()}
        for name, state in sorted(self.pins.items()):
            found[f"trusted/{name}"] = state.trusted.version
            found.update({held.snapshot.ref.key: held.snapshot.version for held in state.cubes})
        return {**found, **self.heads}

    def _pin(self, name: str) -> FactState:
        fact, ref = load_facts()[name], tables.trusted(name)
        if self.past is not None:
            return self._pin_past(fact, ref, self.past)
        mine = [cube for cube in self.shelf.cubes if cube.fact == name]
        found = [self.shelf.serving(cube) for cube in mine]
        built = [(cube, snapshot) for cube, snapshot in found if snapshot.txn("build") is not None]
        version = max((snapshot.txn("source") or 0 for _, snapshot in built), default=None)
        # The newest trusted version is opened after the cubes, so it can't be older than what they were built of.
        newest = self.shelf.latest(ref)
        if built and not newest.exists:
            todo = "Restore its folder from a copy; the cubes over it are still there."
            raise LakeError(f"The table trusted/{name} is gone.", where=str(newest.root), todo=todo)
        trusted = newest if self.fresh or version is None else self.shelf.at(ref, version)
        states = tuple(self._cube(cube, snapshot, trusted) for cube, snapshot in built)
        unbuilt = tuple(cube.name for cube, snapshot in found if snapshot.txn("build") is None)
        return FactState(fact, trusted, states, unbuilt, expired_days(self.shelf.deletions(name), whole=True))

    def _pin_past(self, fact: Fact, ref: TableRef, past: Past) -> FactState:
        trusted = past.trusted(self.shelf, ref, self.now)
        lost, erased = lost_days(self.shelf, trusted), erased_days(self.shelf, trusted)
        states, unbuilt = [], []
        for cube in (one for one in self.shelf.cubes if one.fact == fact.name):
            found = past.cells(self.shelf, cube, trusted)
            if found is None:
                unbuilt.append(cube.name)
                continue
            states.append(narrowed(self.shelf, self._cube(*found, trusted), lost, erased))
        whole = expired_days(self.shelf.deletions(fact.name), whole=True)
        return FactState(fact, trusted, tuple(states), tuple(unbuilt), whole, lost)

    def _cube(self, cube: Cube, snapshot: Snapshot, trusted: Snapshot) -> CubeState:
        build, watermark, source = (snapshot.txn(one) or 0 for one in ("build", "watermark", "source"))
        lagging = source != trusted.version
        withdrawn = lagging and not _only_grew(self.shelf.at(trusted.ref, source), trusted)
        rows = self.shelf.cells(snapshot)
        stale = frozenset(name for name in lookups_of(cube) if self._is_stale(cube, snapshot, name))
        gone = expired_in(self.shelf.deletions(trusted.ref.name), cube, snapshot)
        bad = self.shelf.suspects(cube, snapshot)
        return CubeState(cube, snapshot, build, watermark, source, rows, lagging, withdrawn, stale, gone, bad)

    def _is_stale(self, cube: Cube, cells: Snapshot, name: str) -> bool:
        version = cells.txn(transaction(name))
        if self.past is not None and not self.table(tables.lookup(name)).exists:
            return True
        newest = self.lookup(name)
        return version != newest.version and self.shelf.differs(cube, newest, version)


def _only_grew(old: Snapshot, new: Snapshot) -> bool:
    """Whether no row was withdrawn between two versions: no file went away, or no batch could have taken it."""
    if old.txn("gate") == new.txn("gate"):
        return True  # no batch between them: files were merged, or their rows have expired
    present = {file.path for file in new.files}
    return all(file.path in present for file in old.files)


def in_days(first: str | None, last: str | None, file: DataFile) -> bool:
    """Whether a file of a table partitioned by day may hold days first..last (inclusive, ISO texts, None unbounded)."""
    day = file.partition.get("day")
    return day is None or ((first is None or day >= first) and (last is None or day <= last))
