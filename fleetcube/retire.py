"""Retention carried out: what is due goes once its successor is proven, and what isn't proven or is held stays.

A part goes in three steps: an intent with its files, its row in `deletions` with the proof, the commit that removes
the files. A kill between them is completed by the next run, so nothing is ever gone that is not on record. The files
themselves go with `vacuum`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from cubes.expired import expired
from cubes.model import Cube
from cubes.reconcile import Proof, prove_days, prove_segment
from cubes.segments import table_of
from cubes.untell import Untold, untell
from lake.deletions import Deletion, next_number, read_deletions
from lake.delta import DataFile, open_snapshot
from lake.errors import LakeError
from lake.expiry import COMPONENT, complete, table_of_rows
from lake.faults import faultpoint
from lake.intents import read_intents, write_intent
from lake.lease import lease
from lake.ledger import record
from lake.retention import CubeLife, Due, PlanRow, due_parts
from lake.retention_rules import RetentionRules
from lake.tables import DELETIONS, landing, trusted
from quality.plan import SORT

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.settings import Settings


@dataclass(frozen=True)
class Retired:
    """One part of the plan and its fate: `kept` says why it stays, '' when it went."""

    row: PlanRow
    kept: str = ""


def life_of(cube: Cube) -> CubeLife:
    """What retention must know of a cube."""
    places = {name: place for place, name in enumerate(cube.dimensions)}
    keep, ages = dict(cube.keep), dict(cube.age_out)
    return CubeLife(cube.name, cube.fact, table_of(cube), keep, cube.grains, ages, places)


def retire(
    settings: Settings, duck: Duck, rules: RetentionRules, cubes: Sequence[Cube], now: datetime
) -> list[Retired]:
    """Delete what is due at `now` and proven; first completes what a killed run left.

    Errors: LakeError while another process retains, or a fact's gate is busy or unfinished.
    """
    lives = [life_of(cube) for cube in cubes]
    done: list[Retired] = []
    with lease(settings.lake, COMPONENT):
        _resume(settings, duck, cubes)
        facts = sorted({due.fact for due in due_parts(settings.lake, duck, rules, lives, now)})
        for fact in facts:
            over = [cube for cube in cubes if cube.fact == fact]
            with ExitStack() as held:
                for name in (f"gate/{fact}", landing(fact).key):
                    held.enter_context(lease(settings.lake, name))
                _refuse_unfinished(settings, fact)
                # Looked up again: what was due may have changed before the leases were held.
                parts = [due for due in due_parts(settings.lake, duck, rules, lives, now) if due.fact == fact]
                done += _rows(settings, duck, [due for due in parts if not due.cube], over)
            # Cells first, in the plan's order: what goes need not be told without a dimension before.
            done += _segments(settings, duck, [due for due in parts if due.cube], over)
    gone = sum(one.row.rows for one in done if not one.kept)
    if gone:
        detail = {"parts": sum(not one.kept for one in done), "kept": sum(bool(one.kept) for one in done)}
        record(settings, duck, "retain", "lake", rows=gone, detail=detail)
    return done


def _refuse_unfinished(settings: Settings, fact: str) -> None:
    if any(fact in read_intents(settings.lake, component) for component in ("gate", "land")):
        raise LakeError(
            f"A batch of {fact} is unfinished, and names files that retention may not touch.",
            where=str(settings.lake),
            todo="Run `fleetcube land` and `fleetcube gate`, then try again.",
        )


def _rows(settings: Settings, duck: Duck, parts: Sequence[Due], cubes: Sequence[Cube]) -> list[Retired]:
    """Rows of one fact: of landing and quarantine as they are, of trusted once every cube over it holds them."""
    done = [Retired(due.row, f"held by {due.row.held}") for due in parts if due.row.held]
    parts = [due for due in parts if not due.row.held]
    for due in parts:
        if due.layer != "trusted":
            _delete(settings, duck, due, [_deletion(due)])
            done.append(Retired(due.row))
    days = [due for due in parts if due.layer == "trusted"]
    if not days:
        return done
    proofs, against = _prove(settings, duck, days, cubes)
    batch = open_snapshot(settings.lake, trusted(days[0].fact)).txn("gate") or 0
    for due in days:
        why = against.get(due.segment) or against.get("", "")
        if not why:
            proof = {"cubes": proofs[due.segment]}
            _delete(settings, duck, due, [replace(_deletion(due), batch=batch, proof=proof, partial=bool(due.old))])
        done.append(Retired(due.row, why))
    return done


def _prove(
    settings: Settings, duck: Duck, days: Sequence[Due], cubes: Sequence[Cube]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """By day, what proves it by each definition, and what speaks against it ('' for all)."""
    against: dict[str, str] = {}
    if not any(not cube.where for cube in cubes):
        return {}, {"": f"no cube over {days[0].fact} holds all of its rows; they would be lost for good"}
    fact = days[0].fact
    recorded = read_deletions(duck, open_snapshot(settings.lake, DELETIONS), fact=fact)
    proofs: dict[str, dict[str, Any]] = {due.segment: {} for due in days}
    dates = [date.fromisoformat(due.segment) for due in days]
    for cube in cubes:
        proof: Proof = prove_days(settings, duck, cube, dates, recorded, old=days[0].old or "true")
        against = {**proof.against, **against}
        for day, shown in proof.shown.items():
            proofs[day][cube.digest] = {"cube": cube.name, **shown}
    return proofs, against


def _segments(settings: Settings, duck: Duck, parts: Sequence[Due], cubes: Sequence[Cube]) -> list[Retired]:
    """Segments of cubes, each proven while nobody writes its table, and gone if nothing speaks against that."""
    by_name = {cube.name: cube for cube in cubes}
    done = []
    for due in parts:
        if due.row.held:
            done.append(Retired(due.row, f"held by {due.row.held}"))
            continue
        cube = by_name[due.cube]
        with lease(settings.lake, due.ref.key):
            against, shown, made = _proven(settings, duck, cube, due)
            if not against:
                _delete(settings, duck, due, [_of_cube(due, cube, shown)], made)
        done.append(Retired(due.row, against))
    return done


def _proven(settings: Settings, duck: Duck, cube: Cube, due: Due) -> tuple[str, Mapping[str, Any], Untold | None]:
    """What speaks against it, the proof, and what takes the place of cells that are to tell less.

    Cells go once the next coarser grain holds the same, dimensions once the cells without them do.
    """
    if due.layer == "dimension":
        made = _without(settings, duck, cube, (due.grain, due.segment), due.dropped)
        return made.against, made.shown, made
    gone = expired(duck, settings.lake, cube)
    proof = prove_segment(settings, duck, cube, due.grain, segment=due.segment, gone=gone)
    return "; ".join(proof.against.values()), proof.shown.get(due.segment, {}), None


def _without(
    settings: Settings, duck: Duck, cube: Cube, place: tuple[str, str], dropped: Sequence[str], *, number: int = 0
) -> Untold:
    """A segment's cells without some dimensions, under the number of their deletion (0: the next one)."""
    stem = f"retain-{number or next_number(settings.lake):08d}"
    gone = expired(duck, settings.lake, cube)
    return untell(settings, duck, cube, gone, grain=place[0], segment=place[1], dropped=dropped, stem=stem)


def _deletion(due: Due) -> Deletion:
    return Deletion(due.layer, due.fact, due.row.rows, due.row.why, segment=due.segment, size_bytes=due.row.size_bytes)


def _of_cube(due: Due, cube: Cube, shown: Mapping[str, Any]) -> Deletion:
    proof = {"cubes": {cube.digest: dict(shown)}}
    return replace(_deletion(due), cube=cube.name, definition=cube.digest, grain=due.grain, proof=proof)


def _delete(settings: Settings, duck: Duck, due: Due, deletions: list[Deletion], made: Untold | None = None) -> None:
    """Intent, record, removal; `made` are the cells that take the place of those which told more."""
    lake = settings.lake
    number = next_number(lake)
    snapshot = open_snapshot(lake, due.ref)
    paths = {file.path for file in due.files}
    files = [file for file in snapshot.files if file.path in paths]
    if due.layer == "landing":
        # A gap's row stands for many numbers: the accounts count those.
        scan = duck.scan(snapshot, [str(snapshot.root / file.path) for file in files])
        [(lost,)] = duck.sql(f"SELECT CAST(sum(lost) AS BIGINT) FROM {scan}")
        deletions = [replace(one, rows=int(lost)) for one in deletions]
    adds = _others(duck, settings, due, files, number) if due.old else []
    intent = {
        "number": number,
        "layer": due.layer,
        "fact": due.fact,
        "definition": deletions[0].definition,
        "paths": sorted(paths),
        "adds": [asdict(file) for file in adds],
        "deletions": [asdict(one) for one in deletions],
    }
    write_intent(lake, COMPONENT, f"{number:08d}", intent)
    faultpoint("retain.intent.after")
    complete(duck, lake, due.ref, intent, None if made is None else (made.adds, made.removes))


def _others(duck: Duck, settings: Settings, due: Due, files: Sequence[DataFile], number: int) -> list[DataFile]:
    """The rows of a day that stay, in a file of their own."""
    snapshot = open_snapshot(settings.lake, due.ref)
    scan = duck.scan(snapshot, [str(snapshot.root / file.path) for file in files])
    select = f"SELECT * FROM {scan} AS r WHERE NOT coalesce({due.old}, false)"
    order, stem = SORT.get(due.fact, "ts"), f"retain-{number:08d}"
    day = {"day": due.segment}
    return duck.write(select, settings.lake, due.ref, stem, stats=("batch", "ts"), order=order, partition=day)


def _resume(settings: Settings, duck: Duck, cubes: Sequence[Cube]) -> None:
    """Complete what killed runs left."""
    by_digest = {cube.digest: cube for cube in cubes}
    for intent in read_intents(settings.lake, COMPONENT).values():
        layer, fact, digest = intent["layer"], intent["fact"], intent["definition"]
        if layer in ("cube", "dimension") and digest not in by_digest:
            raise LakeError(
                f"A deletion of cells of definition {digest} is unfinished, and no cube has that definition now.",
                where=str(settings.lake),
                todo="Bring the definition back, run `fleetcube retain --apply`, then change it again.",
            )
        ref = table_of_rows(layer, fact)
        with ExitStack() as held:
            for name in [table_of(by_digest[digest]).key] if ref is None else [f"gate/{fact}", landing(fact).key]:
                held.enter_context(lease(settings.lake, name))
            made = _made_again(settings, duck, by_digest[digest], intent) if layer == "dimension" else None
            swap = None if made is None else (made.adds, made.removes)
            complete(duck, settings.lake, ref or table_of(by_digest[digest]), intent, swap)


def _made_again(settings: Settings, duck: Duck, cube: Cube, intent: dict[str, Any]) -> Untold | None:
    """What a killed age-out had made, anew, as cells may have come since; None where it was committed."""
    if (open_snapshot(settings.lake, table_of(cube)).txn("retain") or 0) >= intent["number"]:
        return None
    [one] = intent["deletions"]
    dropped = one["proof"]["cubes"][cube.digest]["dropped"]
    made = _without(settings, duck, cube, (one["grain"], one["segment"]), dropped, number=intent["number"])
    if made.against:
        raise LakeError(
            f"Cells of {cube.name} at {one['grain']} of {one['segment']} do not reconcile any more: {made.against}.",
            where=str(settings.lake),
            todo=f"Nothing was deleted. Run `fleetcube cube refresh {cube.name}` over these days, then try again.",
        )
    return made
