"""A lake that holds one random cube, its steps, and a model of them in plain Python that says which rows survive.

A step may be killed at a fault point: in this process, by an exception that nothing catches, or truly, by the kernel.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from gating import gate
from landed import land
from randomcubes import definition_text, lookup_rows, rows
from valueoracle import Form

from cubes.build import build, refresh
from cubes.compact import compact_cube
from cubes.load import load_cubes
from cubes.segments import table_of
from cubes.verify import VerifyReport, verify
from fleetcube.upkeep import compact_tables
from ingestion.clean import clean
from lake import faults
from lake.catalogue import load_catalogue
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.lookup_store import publish_lookup
from lake.lookups import load_lookups
from lake.settings import Settings
from lake.tables import QUARANTINE, landing, trusted
from lake.times import utc_now
from lake.vacuum import vacuum
from quality.erase import erase
from quality.release import release
from quality.undo import undo_batch

_CORRECTED = ("correct.intent.after", "gate.quarantine.after", "gate.trusted.before", "gate.trusted.after",
              "gate.progress.before")  # fmt: skip
POINTS = {
    "gate": ("gate.intent.after", "gate.candidate.after", *_CORRECTED[1:]),
    "build": ("builder.scan.after", "builder.cells.after", "builder.commit.before", "builder.commit.after"),
    "refresh": ("builder.cells.after", "builder.commit.before", "builder.commit.after"),
    "compact": ("compact.write.after", "compact.commit.before", "compact.commit.after"),
    "merge": ("compact.write.after", "compact.commit.before", "compact.commit.after"),
    "undo": _CORRECTED,
    "release": _CORRECTED,
    "erase": (*_CORRECTED, "gate.landing.after"),
    "vacuum": ("vacuum.delete.before",),
}
_PERSON = {"samples": "host", "requests": "user_hash"}
Identity = tuple[str, str, int]


class Killed(BaseException):
    """What ends a step in this process at a fault point."""


class Lake:
    """The lake's steps, each a call of what the command line calls; made anew where the process was killed."""

    def __init__(self, folder: Path, fact: str, chunk_rows: int) -> None:
        self.folder, self.fact = folder, fact
        self.settings = Settings(
            lake=folder / "lake", memory_mib=256, threads=1, segment_files=2, table_files=2, gate_rows=25,
            unknown_metrics="accept",
        )  # fmt: skip
        self.settings.lake.mkdir(parents=True, exist_ok=True)
        self.cube = load_cubes(folder / "definitions")["made"]
        self.chunk_rows = chunk_rows
        self.duck: Duck = connect(self.settings)

    def run(self, step: str, told: Any = None) -> None:
        """Do a step; `told` is the days of a refresh, the batch of an undo, the person of an erasure."""
        with patch("cubes.source._CHUNK_ROWS", self.chunk_rows):
            getattr(self, f"_{step}")(*([] if told is None else [told]))

    def _gate(self) -> None:
        gate(self.settings, self.duck, self.fact)

    def _build(self) -> None:
        build(self.settings, self.duck, self.cube)

    def _refresh(self, days: list[str]) -> None:
        refresh(self.settings, self.duck, self.cube, [date.fromisoformat(day) for day in days])

    def _compact(self, whole: bool) -> None:
        compact_cube(self.settings, self.duck, self.cube, whole=whole)

    def _merge(self) -> None:
        compact_tables(self.settings, self.duck)

    def _undo(self, batch: int) -> None:
        undo_batch(self.settings, self.duck, self.fact, batch, reason="wrong")

    def _release(self) -> None:
        release(self.settings, self.duck, self.fact, {}, clean=clean, catalogue=load_catalogue())

    def _erase(self, person: str) -> None:
        erase(self.settings, self.duck, self.fact, {_PERSON[self.fact]: person}, reason="asked")

    def _check(self) -> None:
        self.verified()

    def _vacuum(self) -> None:
        """Without any grace: all goes that nobody may need."""
        stands = open_snapshot(self.settings.lake, table_of(self.cube)).txn("source")
        tables = [(table_of(self.cube), [], []), (landing(self.fact), [], []), (QUARANTINE, [], [])]
        tables += [(trusted(self.fact), [] if stands is None else [stands], [f"gate/{self.fact}"])]
        there = [one for one in tables if (one[0].path(self.settings.lake) / "_delta_log").is_dir()]
        vacuum(self.settings.lake, there, grace=timedelta(0), now=utc_now(), apply=True)

    def lookups(self, form: Form, version: int) -> None:
        """Publish a version of every lookup that the cube may need."""
        for name in used_lookups(form):
            columns = load_lookups()[name].columns
            lines = [tuple(_text(row.get(column.name)) for column in columns) for row in lookup_rows(name, version)]
            publish_lookup(self.settings.lake, self.duck, name, lines)

    @property
    def built(self) -> bool:
        """Whether the cube was ever built."""
        return open_snapshot(self.settings.lake, table_of(self.cube)).txn("build") is not None

    def trusted(self) -> list[tuple[Any, ...]]:
        """(agent, boot, seq, batch, day) of every trusted row."""
        scan = self.duck.scan(open_snapshot(self.settings.lake, trusted(self.fact)))
        return self.duck.sql(f"SELECT agent, boot, seq, batch, CAST(day AS VARCHAR) FROM {scan} ORDER BY ALL")

    def cells(self) -> str:
        """SQL relation of the cube's table."""
        return self.duck.scan(open_snapshot(self.settings.lake, table_of(self.cube)))

    def verified(self) -> VerifyReport:
        """The report of the cube, which must hold."""
        report = verify(self.settings, self.duck, self.cube)
        assert report.holds, report.shown
        return report

    def again(self) -> None:
        """What a new process begins with: nothing of the old one's memory."""
        self.duck.connection.close()
        self.duck = connect(self.settings)


class World:
    """The lake and the model: what was sent under which identity, and which of it must be trusted in the end."""

    def __init__(self, folder: Path, form: Form, *, chunk_rows: int, really: bool) -> None:
        self.form, self.really, self.version = form, really, 0
        self.lake = _new_lake(folder, form, chunk_rows)
        self.lake.lookups(form, 0)
        # By identity: every content that came, and whether the first is good. Once aside, identities stay aside.
        self.sent: dict[Identity, list[dict[str, Any]]] = {}
        self.undone: set[Identity] = set()
        self.erased: set[Identity] = set()
        self.there: list[tuple[Any, ...]] = []  # what was trusted before an undo
        self.kills = 0

    def step(self, step: str, seed: int, fault: tuple[int, int] | None = None) -> None:
        """Do a step of the model and the lake; where it is killed, what must be completed is. `take`: land to build."""
        if step == "take":
            self.step("land", seed)
            self.step("gate", seed)
            step = "build"
        if step in ("land", "lookup"):
            getattr(self, f"_{step}")(seed)
            return
        if step in ("undo", "release", "erase"):
            self.lake.run("gate")
            self.agrees()
        told = self._told(step, seed)
        if told == "none":
            return
        if not self._run(step, told, fault) and step in ("undo", "release", "erase"):
            # A correction that was planned is completed by the next step of the gate; what was not is asked for again.
            self.lake.run("gate")
            self.lake.run(step, told)
        self._believe(step, told)

    def finish(self) -> None:
        """Complete all that kills left, and build."""
        self.lake.run("gate")
        self.lake.run("build")

    def agrees(self) -> None:
        """Assert that trusted holds the survivors, when all that was sent has been judged."""
        assert sorted(tuple(row[:3]) for row in self.lake.trusted()) == sorted(self.survivors())

    def survivors(self) -> dict[Identity, dict[str, Any]]:
        """The rows that must be trusted when everything is judged: one good content, neither undone nor erased."""
        away = self.undone | self.erased
        return {
            identity: contents[0]
            for identity, contents in self.sent.items()
            if len(contents) == 1 and not contents[0].get("bad") and identity not in away
        }

    def _run(self, step: str, told: Any, fault: tuple[int, int] | None) -> bool:
        """Whether the step came to its end."""
        points = POINTS.get(step, ())
        if fault is None or not points:
            self.lake.run(step, told)
            return True
        point = f"{points[fault[0] % len(points)]}:{fault[1]}"
        if self.really:
            done = _child(self.lake, step, told, point) == 0
        else:
            try:
                with killing(point):
                    self.lake.run(step, told)
                done = True
            except Killed:
                done = False
        if not done:
            self.kills += 1
            self.lake.again()
        return done

    def _told(self, step: str, seed: int) -> Any:
        """What a step needs to be told, 'none' where there is nothing to do."""
        rng = random.Random(seed)
        match step:
            case "compact":
                return seed % 2 == 0
            case "refresh" if self.lake.built:
                days = sorted({row[4] for row in self.lake.trusted()}) or ["2026-01-01"]
                return rng.sample(days, rng.randint(1, len(days)))
            case "undo":
                self.there = self.lake.trusted()
                batches = sorted({row[3] for row in self.there})
                return rng.choice(batches) if batches else "none"
            case "erase":
                column = _PERSON[self.form.fact]
                people = sorted({row[column] for rows in self.sent.values() for row in rows if row[column]})
                return rng.choice(people) if people else "none"
        return "none" if step == "refresh" or (step == "check" and not self.lake.built) else None

    def _believe(self, step: str, told: Any) -> None:
        """What the model makes of a step that was done; the batch of a row is known from trusted itself."""
        if step == "release":
            self.undone.clear()
        elif step == "undo":
            self.undone |= {(agent, boot, seq) for agent, boot, seq, batch, _ in self.there if batch == told}
        elif step == "erase":
            column = _PERSON[self.form.fact]
            self.erased |= {key for key, rows in self.sent.items() if any(row[column] == told for row in rows)}

    def _lookup(self, seed: int) -> None:
        self.version = seed
        self.lake.lookups(self.form, seed)

    def _land(self, seed: int) -> None:
        """New rows, bad rows, the same again, and other content under an identity that was used."""
        rng = random.Random(seed)
        batch: list[tuple[Identity, dict[str, Any]]] = []
        for row in rows(seed, rng.choice((0, 1, 5, 20, 60)), self.form.fact):
            identity = (rng.choice(("a", "b")), f"boot-{len(self.sent)}", len(self.sent) + 1)
            if rng.random() < 0.05:
                row = {**row, "bad": True}
            self._send(batch, identity, row)
        for identity in rng.sample(sorted(self.sent), min(len(self.sent), rng.choice((0, 3, 10)))):
            again = self.sent[identity][0]
            if rng.random() < 0.2 and identity not in self.undone | self.erased:
                again = {**again, "ts": again["ts"] + timedelta(seconds=1)}
            self._send(batch, identity, again)
        rng.shuffle(batch)
        if not batch:
            return
        landed = [_landed(self.form.fact, identity, row) for identity, row in batch]
        land(self.lake.settings, self.lake.duck, self.form.fact, landed)

    def _send(self, batch: list[tuple[Identity, dict[str, Any]]], identity: Identity, row: dict[str, Any]) -> None:
        known = self.sent.setdefault(identity, [])
        if row not in known:
            known.append(row)
        batch.append((identity, row))


def used_lookups(form: Form) -> list[str]:
    """The lookups that a definition's derived dimensions come from."""
    banded = {column.partition(".")[0] for _, column, _ in form.bands if "." in column} - {"labels"}
    return sorted({lookup for lookup, _, _ in form.joins} | banded)


@contextmanager
def killing(point: str) -> Iterator[None]:
    """Arm a fault point in this process: passing it raises Killed in place of the kernel's signal."""

    def kill(*_: int) -> None:
        raise Killed(point)

    with (
        patch.object(faults, "_ARMED", point),
        patch.dict(faults._passes, clear=True),
        patch.object(faults, "os", SimpleNamespace(kill=kill, getpid=os.getpid)),
    ):
        yield


def _child(lake: Lake, step: str, told: Any, point: str) -> int:
    """The step in a process of its own that the kernel kills at the point; its exit code, which must be one of two."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2]), *sys.path]
    environ = {**os.environ, "FLEETCUBE_FAULT": point, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, __file__, str(lake.folder), lake.fact, str(lake.chunk_rows), step, json.dumps(told)]
    code = subprocess.run(command, env=environ, timeout=120).returncode
    assert code in (0, -9), f"{step} ended with {code}"
    return code


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _landed(fact: str, identity: Identity, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as its sender wrote it; a bad one's number is none."""
    agent, boot, seq = identity
    texts = {name: _text(value) for name, value in row.items() if name not in ("bad", "labels", "counts")}
    for name in ("labels", "counts"):
        if row.get(name) is not None:
            texts[name] = json.dumps(row[name], separators=(",", ":"))
    if row.get("bad"):
        texts |= {"value": "nan"} if fact == "samples" else {"e2e_ms": "inf"}
    return {"agent": agent, "boot": boot, "seq": seq, **texts}


def _new_lake(folder: Path, form: Form, chunk_rows: int) -> Lake:
    definitions = folder / "definitions"
    definitions.mkdir(parents=True)
    (definitions / "made.yaml").write_text(definition_text(form), encoding="utf-8")
    return Lake(folder, form.fact, chunk_rows)


def clean_lake(folder: Path, world: World) -> Lake:
    """Another lake that takes the survivors in one batch and builds once."""
    lake = _new_lake(folder, world.form, 10**6)
    lake.settings = replace(lake.settings, gate_rows=10**6)
    lake.lookups(world.form, world.version)
    whole = [_landed(lake.fact, identity, row) for identity, row in world.survivors().items()]
    land(lake.settings, lake.duck, lake.fact, whole)
    lake.run("gate")
    lake.run("build")
    return lake


if __name__ == "__main__":
    Lake(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])).run(sys.argv[4], json.loads(sys.argv[5]))
