"""What the resident loop does: each step as pieces of work over one pipeline, in the order in which they run.

A piece is as small as a lease is (a fact to gate, a cube to build): one that is busy or fails holds up no other.
Every piece is safe to kill and to repeat, and gives a line for the log, empty where there was nothing to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleetcube.cube_state import chosen_cubes
from fleetcube.results import batch_text, build_text, verify_text
from lake.delta import open_snapshot
from lake.errors import LakeError
from lake.facts import load_facts
from lake.tables import trusted

if TYPE_CHECKING:
    from cubes.model import Cube
    from fleetcube.pipeline import Pipeline


@dataclass(frozen=True)
class Done:
    """What a piece of work did, as a line; `blocked` says that a gate stopped a batch."""

    text: str = ""
    blocked: bool = False


@dataclass(frozen=True)
class Piece:
    """A piece of work: what it works on, and the work."""

    subject: str
    work: Callable[[], Done]


def pieces(step: str, pipeline: Pipeline, slot: int) -> Iterator[Piece]:
    """The pieces of a step; `slot` counts its times, so that what takes turns (verify) goes round."""
    yield from _STEPS[step](pipeline, slot)


def _land(pipeline: Pipeline, _: int) -> Iterator[Piece]:
    def work() -> Done:
        landed = pipeline.land()
        return Done("; ".join(f"{one.received:,} rows of {one.fact} as batch {one.batch}" for one in landed))

    yield Piece("inbox", work)


def _gate(pipeline: Pipeline, _: int) -> Iterator[Piece]:
    def work(fact: str) -> Done:
        results = pipeline.gate([fact])
        blocked = any(one.verdict == "blocked" for one in results)
        return Done("; ".join(map(batch_text, results)), blocked)

    for fact in load_facts():
        yield Piece(fact, partial(work, fact))


def _build(pipeline: Pipeline, _: int) -> Iterator[Piece]:
    def work(name: str) -> Done:
        return Done("; ".join(build_text(one) for one in pipeline.build([name]) if one.kind != "none"))

    for cube in chosen_cubes(pipeline.settings):
        if open_snapshot(pipeline.settings.lake, trusted(cube.fact)).exists:
            yield Piece(cube.name, partial(work, cube.name))


def _verify(pipeline: Pipeline, slot: int) -> Iterator[Piece]:
    for cube in chosen_cubes(pipeline.settings):
        yield Piece(cube.name, partial(_verify_day, pipeline, cube, slot))


def _verify_day(pipeline: Pipeline, cube: Cube, slot: int) -> Done:
    """Verify one day of a cube, another one each time; cells that differ are taken out of routing."""
    from cubes.expired import expired
    from cubes.segments import table_of
    from cubes.suspicion import accuse
    from cubes.verify import verify

    settings, duck = pipeline.settings, pipeline.duck
    if open_snapshot(settings.lake, table_of(cube)).txn("build") is None:
        return Done()
    gone = expired(duck, settings.lake, cube).days
    days = sorted({_day(file.partition["day"]) for file in open_snapshot(settings.lake, trusted(cube.fact)).files})
    days = [day for day in days if day not in gone]
    if not days:
        return Done()
    first = days[slot % len(days)]
    after = first + timedelta(days=1)
    with pipeline.timed("verify", cube.name) as done:
        report = verify(settings, duck, cube, since=first, until=after)
        done(report.cells if report.holds else report.differences)
        if not report.holds:
            accuse(settings, duck, cube, (first, after), {"found": "verify"})
            todo = f"Run `fleetcube cube refresh {cube.name} --since {first} --until {after}`."
            raise LakeError(f"{report.differences:,} cells of {first} differ from their rows.", todo=todo)
    return Done(f"{first}: {verify_text(report)}")


def _upkeep(pipeline: Pipeline, _: int) -> Iterator[Piece]:
    from fleetcube.upkeep import compact_cubes, compact_tables

    def work() -> Done:
        with pipeline.timed("upkeep", "lake") as done:
            merged, left = compact_tables(pipeline.settings, pipeline.duck)
            every = [*merged, *(one for _, one in compact_cubes(pipeline.settings, pipeline.duck) if one.rewritten)]
            done(sum(one.rewritten for one in every))
        told = [f"{one.table}: {one.before:,} files became {one.after:,}" for one in every]
        return Done("; ".join([*told, *(f"left: {text}" for text in left)]))

    yield Piece("lake", work)


def _retain(pipeline: Pipeline, _: int) -> Iterator[Piece]:
    from fleetcube.retained import apply_retention, retention_plan
    from lake.audit import Audit
    from lake.audit_keep import keep

    settings = pipeline.settings

    def work() -> Done:
        with pipeline.timed("retain", "lake") as done:
            if settings.run_retain == "plan":
                due = [row for row in retention_plan(settings) if not row.held]
                return Done(f"{len(due)} parts are due; `fleetcube retain --apply` deletes them" if due else "")
            audit = Audit(settings.lake)
            audit.append("verb", "retain", result="begun", detail={"by": "run"})
            gone = [one for one in apply_retention(settings) if not one.kept]
            audit.append("verb", "retain", detail={"by": "run", "parts": len(gone)})
            done(len(gone))
            kept = keep(settings)
        return Done("; ".join([*([f"{len(gone)} parts deleted"] if gone else []), *kept]))

    yield Piece("lake", work)


def _vacuum(pipeline: Pipeline, _: int) -> Iterator[Piece]:
    from fleetcube.retained import vacuum_lake
    from lake.audit import Audit

    def work() -> Done:
        with pipeline.timed("vacuum", "lake") as done:
            audit = Audit(pipeline.settings.lake)
            audit.append("verb", "vacuum", result="begun", detail={"by": "run"})
            files = sum(len(one.files) for one in vacuum_lake(pipeline.settings, apply=True))
            audit.append("verb", "vacuum", detail={"by": "run", "files": files})
            done(files)
        return Done(f"{files:,} files removed" if files else "")

    yield Piece("lake", work)


def _audit(pipeline: Pipeline, _: int) -> Iterator[Piece]:
    from lake.audit_check import add_checkpoint, make_checkpoint, read_checkpoints
    from lake.audit_keep import copy_log

    settings = pipeline.settings
    target, copy = settings.audit_checkpoints, settings.audit_copy

    def work() -> Done:
        with pipeline.timed("audit", "checkpoint") as done:
            told = []
            if copy != Path(""):
                told.append(f"{copy_log(settings.lake, copy)} files copied to {copy}")
            if target != Path(""):
                made = make_checkpoint(settings.lake, known=read_checkpoints(target) if target.exists() else [])
                add_checkpoint(target, made)
                told.append(f"line {made.number} is noted in {target}")
            done(len(told))
        return Done("; ".join(told))

    if (target, copy) != (Path(""), Path("")):
        yield Piece("checkpoint", work)


def _day(text: str | None) -> date:
    assert text is not None
    return date.fromisoformat(text)


_STEPS: Final[Mapping[str, Callable[[Pipeline, int], Iterator[Piece]]]] = {
    "land": _land,
    "gate": _gate,
    "build": _build,
    "verify": _verify,
    "upkeep": _upkeep,
    "retain": _retain,
    "vacuum": _vacuum,
    "audit": _audit,
}
