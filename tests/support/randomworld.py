"""A random life of a lake, and a model of it in plain Python that says which rows survive, and which only in cells.

What retention took is known from its records; that these say the truth is what the comparison of cells is about.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from landed import land
from pastoracle import Past
from randomcubes import SOURCES, definition_text, lookup_rows, rows
from randomlake import PERSON, POINTS, Identity, Killed, Lake, child, killing, text, used_lookups
from valueoracle import Form, derived

_CORRECTS = ("undo", "release", "erase")
# When a life may have got to, and the ages that its rows may reach.
_CLOCK = ("2026-01-15", "2026-04-20", "2026-06-01", "2027-01-05")
_AGES = ("10d", "45d", "100d", "400d", "100y")


class World:
    """The lake and the model: what was sent under which identity, and which of it must be trusted in the end."""

    def __init__(self, folder: Path, form: Form, *, chunk_rows: int, really: bool) -> None:
        self.form, self.really, self.version = form, really, 0
        self.lake = new_lake(folder, form, chunk_rows)
        self.lake.lookups(form, 0)
        # By identity: every content that came, and whether the first is good. Once aside, identities stay aside.
        self.sent: dict[Identity, list[dict[str, Any]]] = {}
        self.undone: set[Identity] = set()
        self.erased: set[Identity] = set()
        self.there: list[tuple[Any, ...]] = []  # what was trusted before a step
        self.kills = 0
        self.aliases: dict[str, dict[str, str]] = {}
        # Of retention: what it took, the rows that are gone, and the rows of such days that cells go on telling, as
        # the lookups of their time had them.
        self.past, self.clock, self.seen = Past(), "", 0
        self.gone: set[Identity] = set()
        self.frozen: dict[Identity, dict[str, Any]] = {}
        self.built_with = 0
        # How far everything that was sent has come: 0 landed, 1 judged, 2 built.
        self.stage = 2

    def step(self, step: str, seed: int, fault: tuple[int, int] | None = None) -> None:
        """Do a step of the model and the lake; where it is killed, what must be completed is. `take`: land to build."""
        if step == "take":
            self.step("land", seed)
            self.step("gate", seed)
            step = "build"
        if step in ("land", "lookup"):
            getattr(self, f"_{step}")(seed)
            return
        if step in (*_CORRECTS, "retain"):
            self.step("gate", seed)
            self.agrees()
        if step == "retain" and seed % 4:
            # Most of the time there is something that can be proven.
            self.step("build", seed)
        told = self._told(step, seed)
        if told == "none":
            return
        self.there, before = self.lake.trusted(), self.lake.txn("build")
        done = self._run(step, told, fault)
        if not done and step in _CORRECTS:
            # A correction that was planned is completed by the next step of the gate; what was not is asked for again.
            self.lake.run("gate")
            self.lake.run(step, told)
        # A retention that was killed is completed by whatever comes next over the rows.
        self._expire()
        if done or step in _CORRECTS:
            self._believe(step, told)
        if step == "build" and self.lake.txn("build") != before:
            self._built()

    def finish(self) -> None:
        """Complete all that kills left, and build."""
        self.step("gate", 0)
        self.step("build", 0)
        if self.lake.unfinished:
            self.step("retain", 0)
        assert self.settled

    @property
    def settled(self) -> bool:
        """Whether the cube must hold all that was sent, and nothing else."""
        return self.stage == 2 and not self.lake.unfinished

    def agrees(self) -> None:
        """Assert that trusted holds the survivors, when all that was sent has been judged."""
        there, wanted = {tuple(row[:3]) for row in self.lake.trusted()}, set(self.survivors()) - self.gone
        assert len(there) == len(self.lake.trusted())
        # What is on record may still be there, until what was killed is completed.
        assert there - wanted <= (self.gone if self.lake.unfinished else set()), there - wanted
        assert wanted <= there, wanted - there

    def survivors(self) -> dict[Identity, dict[str, Any]]:
        """The rows that must be trusted when everything is judged: one good content, neither undone nor erased."""
        away = self.undone | self.erased
        return {
            identity: contents[0]
            for identity, contents in self.sent.items()
            if len(contents) == 1 and not contents[0].get("bad") and identity not in away
        }

    def held(self) -> list[dict[str, Any]]:
        """The rows that a settled cube's cells tell, with their derived dimensions."""
        live = {identity: row for identity, row in self.survivors().items() if identity not in self.gone}
        return [self._derived(row) for identity, row in live.items() if identity not in self.frozen] + [
            *self.frozen.values()
        ]

    def _derived(self, row: dict[str, Any]) -> dict[str, Any]:
        return derived(self.form, {name: lookup_rows(name, self.built_with) for name in used_lookups(self.form)}, row)

    def _built(self) -> None:
        """The cube has taken in all that is trusted, with the lookups of now."""
        self.built_with = self.version
        self._freeze(tuple(row[:3]) for row in self.lake.trusted() if row[4] in self.past.lasting)

    def _freeze(self, identities: Any) -> None:
        for identity in identities:
            self.frozen.setdefault(identity, self._derived(self.sent[identity][0]))

    def _run(self, step: str, told: Any, fault: tuple[int, int] | None) -> bool:
        """Whether the step came to its end."""
        points = POINTS.get(step, ())
        if fault is None or not points:
            self.lake.run(step, told)
            return True
        point = f"{points[fault[0] % len(points)]}:{fault[1]}"
        if self.really:
            done = child(self.lake, step, told, point) == 0
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
            case "retain":
                self.clock = max(self.clock, rng.choice(_CLOCK))
                return [f"{self.clock}T12:00:00+00:00", rng.choice(_AGES)]
            case "refresh" if self.lake.built:
                days = sorted({row[4] for row in self.lake.trusted()} - self.past.lasting) or ["2026-01-01"]
                return "none" if set(days) <= self.past.lasting else rng.sample(days, rng.randint(1, len(days)))
            case "undo":
                batches = sorted({row[3] for row in self.lake.trusted()})
                return rng.choice(batches) if batches else "none"
            case "erase":
                column = PERSON[self.form.fact]
                people = sorted({row[column] for rows in self.sent.values() for row in rows if row[column]})
                return rng.choice(people) if people else "none"
        return "none" if step == "refresh" or (step == "check" and not self.lake.built) else None

    def _believe(self, step: str, told: Any) -> None:
        """What the model makes of a step that was done; the batch of a row is known from trusted itself."""
        if step in _CORRECTS:
            self.stage = 1
        if step == "gate":
            self.stage = max(self.stage, 1)
        elif step == "build" and self.stage == 1:
            self.stage = 2
        elif step == "release":
            self.undone.clear()
        elif step == "undo":
            # Rows of days that have expired stay, since their cells can't be made anew.
            self.undone |= {tuple(row[:3]) for row in self.there if row[3] == told and row[4] not in self.past.lasting}
        elif step == "erase":
            column = PERSON[self.form.fact]
            self.erased |= {key for key, rows in self.sent.items() if any(row[column] == told for row in rows)}

    def _expire(self) -> None:
        """What is on record since the last time."""
        for one in (one for one in self.lake.deletions() if one.number > self.seen):
            self.seen = one.number
            place = ("1w" if one.grain.startswith("1w") else one.grain, one.segment)
            if one.layer == "trusted":
                rows = {tuple(row[:3]) for row in self.there if row[4] == one.segment} - self.gone
                assert len(rows) == one.rows, (one, rows)
                self.past.days.add(one.segment)
                self.gone |= rows
                self._freeze(rows)
            elif one.layer == "cube":
                self.past.segments.add(place)
                [shown] = one.proof["cubes"].values()
                first, after = map(date.fromisoformat, shown.get("closes", ("2000-01-01", "2000-01-01")))
                self.past.closed |= {str(first + timedelta(days=at)) for at in range((after - first).days)}
            elif one.layer == "dimension":
                [shown] = one.proof["cubes"].values()
                self.past.untold[place] = self.past.untold.get(place, frozenset()) | frozenset(shown["dropped"])

    def _lookup(self, seed: int) -> None:
        """Other lookups, of the definition's and of the names that were changed."""
        self.version, self.stage = seed, min(self.stage, 1)
        self.lake.lookups(self.form, seed)
        self.aliases = _aliases(self.form, seed)
        self.lake.rename(self.aliases)

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
            if rng.random() < 0.2 and identity not in self.undone | self.erased | self.gone:
                again = {**again, "ts": again["ts"] + timedelta(seconds=1)}
            self._send(batch, identity, again)
        rng.shuffle(batch)
        if not batch:
            return
        self.stage = 0
        landed = [_landed(self.form.fact, identity, row) for identity, row in batch]
        land(self.lake.settings, self.lake.duck, self.form.fact, landed)

    def _send(self, batch: list[tuple[Identity, dict[str, Any]]], identity: Identity, row: dict[str, Any]) -> None:
        known = self.sent.setdefault(identity, [])
        if row not in known:
            known.append(row)
        batch.append((identity, row))


def _aliases(form: Form, seed: int) -> dict[str, dict[str, str]]:
    """New names for some values of some dimensions: a value that is there already, or one that no row has."""
    rng = random.Random(seed)
    named = [name for name in SOURCES[form.fact].renamed if rng.random() < 0.5]
    return {
        name: {
            old: rng.choice([one for one in SOURCES[form.fact].renamed[name] if one > old] + [f"{old} anew"])
            for old in SOURCES[form.fact].renamed[name]
            if rng.random() < 0.4
        }
        for name in named
    }


def _landed(fact: str, identity: Identity, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as its sender wrote it; a bad one's number is none."""
    agent, boot, seq = identity
    texts = {name: text(value) for name, value in row.items() if name not in ("bad", "labels", "counts")}
    for name in ("labels", "counts"):
        if row.get(name) is not None:
            texts[name] = json.dumps(row[name], separators=(",", ":"))
    if row.get("bad"):
        texts |= {"value": "nan"} if fact == "samples" else {"e2e_ms": "inf"}
    return {"agent": agent, "boot": boot, "seq": seq, **texts}


def new_lake(folder: Path, form: Form, chunk_rows: int) -> Lake:
    """An empty lake with the form's definition."""
    definitions = folder / "definitions"
    definitions.mkdir(parents=True)
    (definitions / "made.yaml").write_text(definition_text(form), encoding="utf-8")
    return Lake(folder, form.fact, chunk_rows)


def clean_lake(folder: Path, world: World) -> Lake:
    """Another lake that takes the survivors in one batch and builds once."""
    lake = new_lake(folder, world.form, 10**6)
    lake.settings = replace(lake.settings, gate_rows=10**6)
    lake.lookups(world.form, world.version)
    whole = [_landed(lake.fact, identity, row) for identity, row in world.survivors().items()]
    land(lake.settings, lake.duck, lake.fact, whole)
    lake.run("gate")
    lake.run("build")
    return lake
