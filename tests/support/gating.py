"""The gate as tests run it: a small lake, a judge that finds nothing, and what the tables hold afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.settings import Settings
from lake.tables import BATCHES, GAPS, QUARANTINE, SEEN, TableRef, trusted
from quality.gate import BatchResult, run_gate
from quality.verdict import Finding

TS = "2026-11-10T11:00:00Z"


class NoJudge:
    """Stands for Great Expectations, whose import takes seconds: every row rule holds."""

    columns: Sequence[str] = ("ts",)

    def judge(self, chunks: Iterable[pa.Table]) -> list[Finding]:
        """No findings; the chunks are read all the same."""
        assert all(chunk.num_columns == 1 for chunk in chunks)
        return []


def sample(value: str = "1", **more: Any) -> dict[str, Any]:
    """A well-formed row of samples as texts."""
    return {"ts": TS, "metric": "gpu.temperature", "value": value, "site": "oslo", **more}


def gate(settings: Settings, duck: Duck, fact: str = "samples", **more: Any) -> list[BatchResult]:
    """Run the gate on what is landed."""
    options = {"clean": clean, "catalogue": load_catalogue(), "judge": NoJudge(), **more}
    return run_gate(settings, duck, fact, **options)


def rows_of(lake: Path, duck: Duck, ref: TableRef, columns: str, order: str = "ALL") -> list[tuple[Any, ...]]:
    """The table's rows in a fixed order."""
    return duck.sql(f"SELECT {columns} FROM {duck.scan(open_snapshot(lake, ref))} ORDER BY {order}")


def tables(lake: Path, duck: Duck, fact: str = "samples") -> dict[str, list[tuple[Any, ...]]]:
    """All that the gate wrote for a lake, less the times of judging, and the files that trusted names."""
    every = {ref.key: rows_of(lake, duck, ref, "*") for ref in (trusted(fact), QUARANTINE, GAPS, SEEN)}
    every["batches"] = rows_of(lake, duck, BATCHES, "* EXCLUDE (started_at, ended_at)")
    every["files"] = [(file.path,) for file in sorted(open_snapshot(lake, trusted(fact)).files, key=lambda it: it.path)]
    return every


if __name__ == "__main__":
    chosen = Settings(lake=Path(sys.argv[1]), memory_mib=256, threads=1)
    gate(chosen, connect(chosen))
