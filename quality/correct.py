"""What the corrections share: a batch of its own number that takes rows out of trusted, and says where they went.

A correction is published as any batch is (`quality.publish`): quarantine first, then trusted, then its row in
`batches`, whose `withdrawn` makes every cube refresh the days that lost rows at its next build.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lake.delta import DataFile
from lake.errors import DefinitionError, LakeError, did_you_mean
from lake.expiry import complete_rows
from lake.facts import Fact, load_facts
from lake.faults import faultpoint
from lake.intents import read_intents
from lake.lease import lease
from lake.ledger import record
from lake.tables import BATCHES
from lake.times import iso, utc_now
from quality.plan import Plan, values_sql
from quality.publish import COMPONENT, intend, next_batch, publish, resume

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.settings import Settings


@dataclass(frozen=True)
class Correction:
    """What a correction did: its batch (0 when nothing was to be done), rows by table, and days that lost rows."""

    fact: str
    batch: int
    rows: dict[str, int]
    days: tuple[date, ...] = ()


@contextmanager
def correcting(settings: Settings, duck: Duck, fact_name: str) -> Iterator[tuple[Fact, int]]:
    """Hold the gate of the fact, after completing what a killed step left: the fact and the next batch's number.

    Errors: DefinitionError for an unknown fact; LakeError while the fact is judged, or when its gate was killed
    before its plan stood.
    """
    if fact_name not in load_facts():
        raise DefinitionError(f"There is no fact '{fact_name}'.", todo=did_you_mean(fact_name, load_facts()))
    lake = settings.lake
    with lease(lake, f"gate/{fact_name}"):
        complete_rows(duck, lake, fact_name, ("trusted", "quarantine"))
        resume(lake, fact_name)
        if fact_name in read_intents(lake, COMPONENT):
            raise LakeError(
                f"The gate of {fact_name} was ended in the middle of a batch.",
                where=str(lake),
                todo=f"Run `fleetcube gate {fact_name}`, then try again.",
            )
        yield load_facts()[fact_name], next_batch(lake, fact_name)


def carry_out(
    settings: Settings, duck: Duck, fact: str, plan: Plan, *, step: str, rows: int, detail: dict[str, Any]
) -> None:
    """Make the plan durable, publish it, and tell the ledger: `step`, the rows that it moved and what else to know.

    A kill before the last of these loses the ledger's row; what was done is in `batches`, which decides.
    """
    started = time.monotonic()
    lake = settings.lake
    intend(lake, fact, plan, "")
    faultpoint("correct.intent.after")
    publish(lake, fact, plan)
    seconds = time.monotonic() - started
    record(settings, duck, step, fact, rows=rows, seconds=seconds, detail={"batch": plan.batch, **detail})


def new_record(fact: str, batch: int, verdict: str, **counts: Any) -> dict[str, Any]:
    """A row of `batches` for a correction: it judges no landing batch and receives nothing."""
    now = iso(utc_now())
    zeros = dict.fromkeys(("received", "duplicates", "trusted", "quarantine", "gaps", "blocked", "withdrawn"), 0)
    head = {"fact": fact, "batch": batch, "landed_from": 0, "landed_to": 0, **zeros, "verdict": verdict, "suite": ""}
    tail: dict[str, Any] = {"checks": {}, "first_ts": None, "last_ts": None, "started_at": now, "ended_at": now}
    return {**head, **tail, **counts}


def write_record(duck: Duck, lake: Path, told: dict[str, Any]) -> list[DataFile]:
    """The file of a row of `batches`, not yet visible."""
    stem = f"{told['fact']}-{told['batch']:08d}"
    return duck.write(values_sql(told), lake, BATCHES, stem, stats=("batch",))
