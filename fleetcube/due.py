"""What waits to be done, by transaction numbers alone: facts with rows to judge, and cubes that a build would change.

Whoever decides when (Airflow, a person) asks this first, so that no process is started for a step with nothing to do,
and a step that another process has done meanwhile is seen as done.
"""

from __future__ import annotations

from dataclasses import dataclass

from cubes.build import is_due
from fleetcube.cube_state import chosen_cubes
from lake.delta import open_snapshot
from lake.duck import connect
from lake.facts import load_facts
from lake.intents import read_intents
from lake.settings import Settings
from lake.tables import BATCHES, landing


@dataclass(frozen=True)
class Due:
    """`gate`: facts with landed rows that no gate has judged, or a gate that was killed; `build`: cubes by fact.

    `blocked`: facts of which the gate holds a batch back; they wait for a person.
    """

    gate: tuple[str, ...]
    build: dict[str, tuple[str, ...]]
    blocked: tuple[str, ...] = ()


def due(settings: Settings) -> Due:
    """What waits in the lake now."""
    judged = _judged(settings)
    killed = read_intents(settings.lake, "gate")
    newest = {fact: open_snapshot(settings.lake, landing(fact)).txn("land") or 0 for fact in load_facts()}
    gate = tuple(fact for fact, last in newest.items() if last > judged.get(fact, (0, 0))[0] or fact in killed)
    blocked = tuple(fact for fact in newest if judged.get(fact, (0, 0))[1])
    build: dict[str, tuple[str, ...]] = {}
    for cube in chosen_cubes(settings):
        if is_due(settings.lake, cube):
            build[cube.fact] = (*build.get(cube.fact, ()), cube.name)
    return Due(gate, build, blocked)


def _judged(settings: Settings) -> dict[str, tuple[int, int]]:
    """By fact: the newest landing batch that the gate has judged, and rows that it holds back."""
    snapshot = open_snapshot(settings.lake, BATCHES)
    if not snapshot.files:
        return {}
    duck = connect(settings)
    of_fact = f"SELECT fact, max(landed_to)::BIGINT, sum(blocked)::BIGINT FROM {duck.scan(snapshot)} GROUP BY fact"
    return {fact: (last, blocked) for fact, last, blocked in duck.sql(of_fact)}
