"""System tables of the lake: cubes, cuboids, segments, quality, gaps, jobs, alerts; read anew by each query.

A small engine of its own reads them at the tables' newest versions, so that they hold what another process published a
moment ago. Of a fact that a user may not read there is nothing; where rows are restricted, counts are null: they would
tell of others' rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from cubes.model import Cube, Measure
from cubes.route.policy import shows_derived
from cubes.route.view import Shelf
from cubes.segments import segment_range
from cubes.serve.refused import refusals
from cubes.serve.running import Viewer
from cubes.serve.system_records import RecordTables
from cubes.serve.system_tables import SYSTEM
from lake import tables
from lake.duck import Duck, connect, text_literal
from lake.facts import load_facts
from lake.settings import Settings
from lake.times import utc_now

if TYPE_CHECKING:
    import pyarrow as pa

    from lake.delta import Snapshot

MEMORY_MIB: Final = 128
# Figures over all rows of a fact, which are for those who read all of them.
_COUNTED: Final = "received duplicates trusted quarantine gaps blocked withdrawn first_ts last_ts".split()


class LakeTables:
    """The system tables of one lake, over its declared cubes. From any thread, one reading at a time."""

    def __init__(self, settings: Settings, cubes: Sequence[Cube]) -> None:
        """Nothing is opened before the first query."""
        self._settings, self._cubes = settings, tuple(cubes)
        self._lock = Lock()
        self._held: Shelf | None = None
        self._records = RecordTables(lambda: self._shelf)

    def readers(self) -> dict[str, Callable[[Viewer], pa.Table]]:
        """What gives the rows of each table."""
        makers = {
            "cubes": self._cubes_rows,
            "cuboids": self._cuboid_rows,
            "segments": self._segment_rows,
            "quality": self._quality_rows,
            "gaps": self._gap_rows,
            "jobs": self._job_rows,
            "alerts": self._alert_rows,
            **self._records.makers(),
        }

        def reader(name: str) -> Callable[[Viewer], pa.Table]:
            def read(viewer: Viewer) -> pa.Table:
                with self._lock:
                    return SYSTEM[name].of_rows(makers[name](viewer))

            return read

        return {name: reader(name) for name in makers}

    def freshness(self, viewer: Viewer) -> list[tuple[Any, ...]]:
        """Rows of `fleet.metrics` about the lake: age of the newest row of each fact, and how far each cube stands."""
        with self._lock:
            return [*self._ages(viewer), *self._lags(viewer)]

    def close(self) -> None:
        """Let go of the engine."""
        with self._lock:
            if self._held is not None:
                self._held.duck.connection.close()
            self._held = None

    @property
    def _shelf(self) -> Shelf:
        if self._held is None:
            duck = connect(replace(self._settings, memory_mib=MEMORY_MIB, threads=1))
            self._held = Shelf(self._settings.lake.resolve(), duck, self._cubes)
        return self._held

    @property
    def _duck(self) -> Duck:
        return self._shelf.duck

    def _ages(self, viewer: Viewer) -> Iterator[tuple[Any, ...]]:
        for fact in filter(viewer.whole, load_facts()):
            found = [file.maximum["ts"] for file in self._newest(fact).files if "ts" in file.maximum]
            if found:
                age_s = (utc_now() - max(found)).total_seconds()
                yield "fleet_newest_age_s", fact, age_s, "s", "Age of the newest trusted row"

    def _lags(self, viewer: Viewer) -> Iterator[tuple[Any, ...]]:
        for cube, _, snapshot in self._built(viewer):
            behind = self._gated(cube.fact) - (snapshot.txn("watermark") or 0)
            told = "Trusted batches that the cube's cells don't hold yet"
            yield "fleet_cube_behind_batches", cube.name, float(behind), "1", told

    def _newest(self, fact: str) -> Snapshot:
        return self._shelf.latest(tables.trusted(fact))

    def _gated(self, fact: str) -> int:
        return self._newest(fact).txn("gate") or 0

    def _built(self, viewer: Viewer, *, whole: bool = True) -> Iterator[tuple[Cube, Cube, Snapshot]]:
        """The cubes of facts that a viewer reads (whole), as declared and as they answer, with their versions."""
        for declared in self._cubes:
            if viewer.whole(declared.fact) if whole else viewer.reads(declared.fact):
                answering, snapshot = self._shelf.serving(declared)
                if snapshot.txn("build") is not None:
                    yield declared, answering, snapshot

    def _cubes_rows(self, viewer: Viewer) -> Iterator[tuple[Any, ...]]:
        for declared in self._cubes:
            if not viewer.reads(declared.fact):
                continue
            cube, snapshot = self._shelf.serving(declared)
            built, mark = snapshot.txn("build"), snapshot.txn("watermark")
            behind = None if built is None else self._gated(cube.fact) - (mark or 0)
            counts: tuple[int | None, ...] = (snapshot.rows, sum(file.size_bytes for file in snapshot.files))
            yield (
                *(cube.name, cube.fact, cube.description, ", ".join(cube.grains)),
                ", ".join(name for name in cube.dimensions if _shows(viewer, cube, name)),
                ", ".join(one.name for one in cube.measures if _shows_measure(viewer, cube, one)),
                sum(_visible(viewer, cube, cuboid) for cuboid in cube.cuboids),
                *(cube.digest, declared.digest, built, mark, behind),
                None if built is None else snapshot.version,
                *(counts if viewer.whole(cube.fact) else (None, None)),
            )

    def _cuboid_rows(self, viewer: Viewer) -> Iterator[tuple[Any, ...]]:
        for _, cube, snapshot in self._built(viewer, whole=False):
            counted = self._shelf.cells(snapshot) if viewer.whole(cube.fact) else {}
            for grain in cube.grains:
                for cuboid in cube.cuboids:
                    if _visible(viewer, cube, cuboid):
                        cells = counted.get((grain, cuboid), 0) if viewer.whole(cube.fact) else None
                        yield cube.name, cube.fact, grain, cuboid, ", ".join(cube.kept(cuboid)), cells

    def _segment_rows(self, viewer: Viewer) -> Iterator[tuple[Any, ...]]:
        for _, cube, snapshot in self._built(viewer, whole=False):
            found: dict[tuple[str, str], list[int]] = {}
            for file in snapshot.files:
                place = (file.partition["grain"] or "", file.partition["segment"] or "")
                counts = found.setdefault(place, [0, 0, 0])
                for at, value in enumerate((file.rows, 1, file.size_bytes)):
                    counts[at] += value
            for (grain, segment), counts in sorted(found.items()):
                told = counts if viewer.whole(cube.fact) else (None, None, None)
                yield cube.name, cube.fact, grain, segment, *segment_range(grain, segment), *told

    def _quality_rows(self, viewer: Viewer) -> list[tuple[Any, ...]]:
        snapshot = self._shelf.latest(tables.BATCHES)
        whole = _listed(filter(viewer.whole, load_facts()))
        counted = ", ".join(f"CASE WHEN fact IN ({whole}) THEN {name} END" for name in _COUNTED)
        return self._duck.sql(
            f"SELECT fact, batch, verdict, {counted}, started_at, ended_at, CASE WHEN fact IN ({whole}) THEN checks END"
            f" FROM {self._duck.scan(snapshot)} WHERE fact IN ({_listed(filter(viewer.reads, load_facts()))})"
            " ORDER BY fact, batch"
        )

    def _gap_rows(self, viewer: Viewer) -> list[tuple[Any, ...]]:
        scan = self._duck.scan(self._shelf.latest(tables.GAPS))
        names = ", ".join(column.name for column in SYSTEM["gaps"].columns)
        whole = _listed(filter(viewer.whole, load_facts()))
        return self._duck.sql(f"SELECT {names} FROM {scan} WHERE fact IN ({whole}) ORDER BY fact, batch, seq_from")

    def _job_rows(self, viewer: Viewer) -> list[tuple[Any, ...]]:
        """Of facts and cubes those that a user reads whole; files and seeds are for who reads every fact whole."""
        scan = self._duck.scan(self._shelf.latest(tables.LEDGER))
        cubes = [cube.name for cube in self._cubes if viewer.whole(cube.fact)]
        seen = _listed([*filter(viewer.whole, load_facts()), *cubes])
        where = "" if all(map(viewer.whole, load_facts())) else f" WHERE subject IN ({seen})"
        names = '"at", step, subject, outcome, rows, seconds, detail'
        return self._duck.sql(f'SELECT {names} FROM {scan}{where} ORDER BY "at"')

    def _alert_rows(self, viewer: Viewer) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        names = [one.name for one in SYSTEM["quality"].columns]
        for row in self._quality_rows(viewer):
            one = dict(zip(names, row, strict=True))
            if one["verdict"] in ("warned", "blocked"):
                severity = "critical" if one["verdict"] == "blocked" else "warning"
                message = f"batch {one['batch']} was {one['verdict']} by the gate"
                found.append((one["ended_at"], "verdict", severity, one["fact"], None, message, one["checks"]))
        for at, step, subject, outcome, _, _, detail in self._job_rows(viewer):
            if outcome in ("failed", "blocked"):
                found.append((at, "job", "critical", subject, None, f"{step} of {subject} {outcome}", detail))
        for fact, _, agent, _, _, _, rows, reason, at in self._gap_rows(viewer):
            message = f"{rows} sequence numbers of {agent} are lost: {reason}"
            found.append((at, "gap", "warning", fact, None, message, None))
        found += self._raised(viewer)
        return sorted([*found, *refusals(self._settings.lake, viewer)], key=lambda row: (row[0], row[1], row[5]))

    def _raised(self, viewer: Viewer) -> Iterator[tuple[Any, ...]]:
        """Of a fact or its cubes to those who read all of it, of anything else to those who read all of everything."""
        names = "since, kind, severity, entity, state, text"
        scan = self._duck.scan(self._shelf.latest(tables.ALERTS))
        facts = {f"fact/{fact}": fact for fact in load_facts()}
        reads_all = all(map(viewer.whole, load_facts()))
        facts |= {f"cube/{cube.name}": cube.fact for cube in self._cubes}
        for since, kind, severity, entity, state, text in self._duck.sql(f"SELECT {names} FROM {scan}"):
            if reads_all or (entity in facts and viewer.whole(facts[entity])):
                message = text if state == "raised" else f"{state}: {text}"
                # Without its data, which may hold another user's statement.
                yield since, kind, severity, entity, None, message, None


def _shows(viewer: Viewer, cube: Cube, name: str) -> bool:
    """Whether a dimension exists for the viewer."""
    policy = viewer.policy
    derived = next((one for one in cube.derived if one.name == name), None)
    if policy is None:
        return True
    return policy.shows(cube.fact, name) if derived is None else shows_derived(policy, cube.fact, derived)


def _visible(viewer: Viewer, cube: Cube, cuboid: int) -> bool:
    return all(_shows(viewer, cube, name) for name in cube.kept(cuboid))


def _shows_measure(viewer: Viewer, cube: Cube, measure: Measure) -> bool:
    """Whether a measure is of columns that exist for the viewer; a condition's columns can't be told by its name."""
    policy = viewer.policy
    if policy is None:
        return True
    hidden = policy.tables[cube.fact].hidden
    return measure.column not in hidden and not any(name in measure.where for name in hidden)


def _listed(names: Iterator[str] | Sequence[str]) -> str:
    """Names as a list of SQL literals; NULL, which nothing is in, for none."""
    return ", ".join(map(text_literal, names)) or "NULL"
