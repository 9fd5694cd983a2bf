"""The simulated fleet into landing, a batch for each UTC day and fact, by the same way as an agent's rows.

A day is the same whenever and however often it is simulated; the commit that lands it remembers it, so that a second
run adds the days that are new and nothing else. What becomes of the faults is told by `FATES`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from ingestion.land import Landed, Member, land_batch
from ingestion.simulation import chance, gpus, rounds, traffic
from ingestion.simulation.fleet import Fleet
from lake.delta import open_snapshot
from lake.duck import Duck
from lake.tables import landing

# Where the gate must put rows with this fault. Second copies carry no other; a late row may, and then that one counts.
FATES: Final[Mapping[str, str]] = {
    "duplicate": "duplicates",
    "lost": "gaps",
    "late": "trusted",
    "sentinel": "quarantine",
    "nan": "quarantine",
    "out_of_range": "quarantine",
    "unknown_metric": "quarantine",
    "future": "quarantine",
    "bad_number": "quarantine",
    "bad_status": "quarantine",
}
_FACTS: Final = ("samples", "requests", "evaluations", "events")

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Simulated:
    """What one run has landed: batches in order, and injected rows by fact and fault, of the days that were new."""

    landed: tuple[Landed, ...]
    injected: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def received(self, fact: str) -> int:
        """What the run added to the fact's `received`: rows, second copies and lost sequence numbers."""
        return sum(batch.received for batch in self.landed if batch.fact == fact)

    def expected(self, fact: str) -> dict[str, int]:
        """Where the rows must end: counts for duplicates, gaps, quarantine and trusted, whose sum is `received`."""
        found = {"duplicates": 0, "gaps": 0, "quarantine": 0}
        for fault, rows in self.injected.get(fact, {}).items():
            if FATES[fault] in found:
                found[FATES[fault]] += rows
        return found | {"trusted": self.received(fact) - sum(found.values())}


def simulate(duck: Duck, lake: Path, fleet: Fleet, *, progress: Progress | None = None) -> Simulated:
    """Land every day of the fleet that has not landed yet; `progress` gets (days done, days, what is next)."""
    chance.prepare(duck)
    gpus.prepare(duck, fleet)
    landed: list[Landed] = []
    injected: dict[str, Counter[str]] = {fact: Counter() for fact in _FACTS}
    days = fleet.dates()
    for number, day in enumerate(days):
        for fact in _FACTS:
            if progress is not None:
                progress(number, len(days), f"{fact} of {day}")
            name = member_name(fleet, day)
            if open_snapshot(lake, landing(fact)).txn(name) is not None:
                continue
            selects = _selects(duck, fleet, day, fact, injected[fact])
            digest = hashlib.sha256(f"{fleet} {day}".encode()).hexdigest()
            batch = land_batch(duck, lake, fact, selects, members=[Member(name, digest)], txns={name: 1})
            landed += [] if batch is None else [batch]
    if progress is not None:
        progress(len(days), len(days), "")
    return Simulated(tuple(landed), injected)


def member_name(fleet: Fleet, day: date) -> str:
    """The name under which a day is remembered: `simulation/<seed>/<from>/<to>`; a fleet's size is not part of it."""
    return f"simulation/{fleet.seed}/{day}/{day + timedelta(days=1)}"


def fleet_lookups(fleet: Fleet) -> dict[str, list[dict[str, str]]]:
    """Rows for the lookups sites, models, rates, roster and rounds: a text by column; absent columns are empty."""
    return rounds.lookup_rows(fleet)


def _selects(duck: Duck, fleet: Fleet, day: date, fact: str, injected: Counter[str]) -> Iterator[str]:
    if fact == "samples":
        return gpus.samples(duck, fleet, day, injected)
    if fact == "requests":
        return traffic.requests(duck, fleet, day, injected)
    return rounds.evaluations(fleet, day, injected) if fact == "evaluations" else rounds.events(fleet, day)
