"""What a lake holds, in a form that two lakes can be compared by: contents without batch numbers and times of work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cubes.load import load_cubes
from cubes.verify import verify
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.settings import Settings
from lake.tables import GAPS, QUARANTINE, TableRef, trusted
from quality.accounts import accounts, unbalanced

# What differs between two runs that did the same: when work was done, and in how many batches.
_OF_THE_RUN = {"batch", "received_at"}


def lake_state(lake: Path) -> dict[str, Any]:
    """Accounts, the rows of trusted, quarantine and gaps, and the digests of every verified cube of this lake.

    Asserts on the way that the accounts add up and that every cube equals its rows.
    """
    settings = Settings(lake=lake)
    duck = connect(settings)
    assert unbalanced(lake, duck) == []
    facts = ("samples", "requests", "evaluations", "events")
    state: dict[str, Any] = {"accounts": accounts(lake, duck)}
    state |= {fact: _rows(duck, lake, trusted(fact)) for fact in facts}
    state |= {"quarantine": _rows(duck, lake, QUARANTINE), "gaps": _rows(duck, lake, GAPS)}
    for cube in load_cubes().values():
        if state[cube.fact]:
            report = verify(settings, duck, cube)
            assert report.holds, report.shown
            state[f"cube {cube.name}"] = report.digests
    duck.connection.close()
    return state


def _rows(duck: Duck, lake: Path, ref: TableRef) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{name}"' for name in ref.schema.names if name not in _OF_THE_RUN)
    return duck.sql(f"SELECT {names} FROM {duck.scan(open_snapshot(lake, ref))} ORDER BY ALL")
