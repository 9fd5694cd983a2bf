"""Upkeep: the tables to which every round appends a file are merged before opening them takes long.

A day of rounds of 10 s makes 8,640 versions and as many files of some tables. A table whose writers are busy, or have
left work unfinished, is left for the next time: its files are named in plans that must stay true.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import date
from typing import TYPE_CHECKING, Final

from cubes.compact import compact_cube
from fleetcube.cube_state import chosen_cubes
from lake.compact import Compacted, Layout, compact
from lake.errors import LakeError
from lake.facts import load_facts
from lake.intents import read_intents
from lake.lease import lease
from lake.tables import (
    ALERTS,
    BATCHES,
    BUILDS,
    DELETIONS,
    GAPS,
    LEDGER,
    QUARANTINE,
    SEEN,
    SUSPECTS,
    TableRef,
    landing,
    trusted,
)
from quality.plan import SORT

if TYPE_CHECKING:
    from lake.delta import DataFile
    from lake.duck import Duck
    from lake.settings import Settings

_PLAIN: Final = Layout()
_BATCHED: Final = Layout(stats=("batch",))


def _received_on(file: DataFile) -> date | None:
    """Landed rows expire by the file, so those of different days stay apart."""
    most = file.maximum.get("received_at")
    return None if most is None else most.date()


def compact_cubes(
    settings: Settings, duck: Duck, names: Sequence[str] = (), *, whole: bool = False
) -> list[tuple[str, Compacted]]:
    """Compact the named cubes, or all: each with its name."""
    return [(cube.name, compact_cube(settings, duck, cube, whole=whole)) for cube in chosen_cubes(settings, names)]


def compact_tables(settings: Settings, duck: Duck) -> tuple[list[Compacted], list[str]]:
    """Merge what has too many files; gives what was done, and in words what was left as its writers are busy."""
    done: list[Compacted] = []
    left: list[str] = []
    for leases, tables in _work(settings):
        try:
            with ExitStack() as held:
                for name in leases:
                    held.enter_context(lease(settings.lake, name))
                open_steps = [step for part in ("gate", "land", "retain") for step in read_intents(settings.lake, part)]
                if open_steps:
                    left.append(f"{tables[0][0].key}: a step over {', '.join(open_steps)} is unfinished")
                    continue
                for ref, layout in tables:
                    done.append(compact(duck, settings.lake, ref, layout, most=settings.table_files))
        except LakeError as error:
            left.append(f"{tables[0][0].key}: {error}")
    return [one for one in done if one.rewritten], left


def _work(settings: Settings) -> Iterator[tuple[list[str], list[tuple[TableRef, Layout]]]]:
    """Leases to hold, and the tables that may be rewritten under them."""
    for fact in load_facts():
        landed = Layout(stats=("landed", "received_at"), order="landed, received_at", group=_received_on)
        rows = Layout(stats=("batch", "ts"), order=SORT.get(fact, "ts"))
        yield [f"gate/{fact}", landing(fact).key], [(landing(fact), landed), (trusted(fact), rows)]
    kept = Layout(stats=("batch", "received_at"), group=_received_on)
    shared = [(QUARANTINE, kept), (GAPS, kept), (SEEN, _BATCHED), (BATCHES, _BATCHED)]
    yield [f"gate/{fact}" for fact in load_facts()], shared
    yield ["upkeep"], [(ref, _PLAIN) for ref in (LEDGER, BUILDS, DELETIONS, SUSPECTS, ALERTS)]
