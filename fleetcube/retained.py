"""Retention and vacuum over a whole lake, as the command line asks for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cubes.plan.versions import built_digests, version_of
from fleetcube.cube_state import chosen_cubes
from fleetcube.retire import Retired, life_of, retire
from lake import tables
from lake.deletions import read_deletions
from lake.delta import open_snapshot
from lake.duck import connect
from lake.facts import load_facts
from lake.lookups import load_lookups
from lake.retention import PlanRow, plan_retention
from lake.retention_rules import load_rules
from lake.shared import folder_names, has_table
from lake.tables import TableRef
from lake.times import utc_now
from lake.vacuum import Waste, vacuum

if TYPE_CHECKING:
    from lake.settings import Settings


def retention_plan(settings: Settings) -> list[PlanRow]:
    """What retention would remove now, over every layer."""
    own = settings.definitions if settings.definitions != Path("") else None
    lives = [life_of(cube) for cube in chosen_cubes(settings)]
    return plan_retention(settings.lake, connect(settings), load_rules(own), lives, utc_now())


def apply_retention(settings: Settings, now: datetime | None = None) -> list[Retired]:
    """Carry out the retention rules in force, at `now` or the present."""
    own = settings.definitions if settings.definitions != Path("") else None
    return retire(settings, connect(settings), load_rules(own), chosen_cubes(settings), now or utc_now())


def proof_lines(settings: Settings) -> Iterator[str]:
    """One JSON line for each recorded deletion."""
    duck = connect(settings)
    for one in read_deletions(duck, open_snapshot(settings.lake, tables.DELETIONS)):
        yield json.dumps(vars(one), ensure_ascii=False)


def vacuum_lake(settings: Settings, *, apply: bool, now: datetime | None = None) -> list[Waste]:
    """Vacuum every table of the lake; the versions of trusted that its cubes stand on stay."""
    grace = timedelta(hours=settings.vacuum_grace_h)
    every = (one for one in _tables(settings) if has_table(one[0].path(settings.lake)))
    return vacuum(settings.lake, every, grace=grace, now=now or utc_now(), apply=apply)


def _tables(settings: Settings) -> Iterator[tuple[TableRef, list[int], list[str]]]:
    """Every table that a lake may have, the versions that must stay beside the newest, and its writers' leases."""
    stands: dict[str, list[int]] = {}
    # Old versions too: each may answer, and be built on, until it is dropped.
    for name in folder_names(settings.lake / "cubes"):
        found = (version_of(settings.lake, name, digest) for digest in built_digests(settings.lake, name))
        for version in (one for one in found if one is not None):
            yield version.snapshot.ref, [], [version.snapshot.ref.key]
            source = version.snapshot.txn("source")
            stands.setdefault(version.cube.fact, []).extend([] if source is None else [source])
    for fact in load_facts():
        yield tables.landing(fact), [], [tables.landing(fact).key, f"gate/{fact}"]
        yield tables.trusted(fact), sorted(set(stands.get(fact, []))), [f"gate/{fact}"]
    for ref in (tables.QUARANTINE, tables.GAPS, tables.SEEN, tables.BATCHES):
        yield ref, [], [f"gate/{fact}" for fact in load_facts()]
    for ref in (tables.BUILDS, tables.LEDGER, tables.DELETIONS, tables.HOLDS, tables.SUSPECTS, tables.ALERTS):
        yield ref, [], ["upkeep"]
    for name in load_lookups():
        yield tables.lookup(name), [], [tables.lookup(name).key]
