"""A session whose statements wait to be let go: what a server does meanwhile is then no matter of time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from lake.errors import QueryError


class Gated:
    """Statements that name `held` end when the gate opens or they are interrupted; `rows_5` gives five rows.

    `paged_3` gives three pages, of ten rows each.
    """

    def __init__(self, gate: Event) -> None:
        self.gate, self._stopped = gate, Event()

    def query(self, sql: str, **more: Any) -> Any:
        self._stopped.clear()
        while "held" in sql and not self.gate.is_set():
            if self._stopped.wait(0.01):
                raise QueryError("The statement was cancelled.", code="57014")
        rows, pages = (
            int(found[1]) if (found := re.search(word, sql)) else 1 for word in (r"rows_(\d+)", r"paged_(\d+)")
        )
        table = pa.table({"n": list(range(10 if pages > 1 else rows))})
        rest = (batch for _ in range(pages - 1) for batch in table.to_batches()) if pages > 1 else None
        columns = [SimpleNamespace(relative_error=0.0)]
        return SimpleNamespace(table=table, rest=rest, path="cube", notices=(), receipt={}, outline={}, columns=columns)

    def interrupt(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        return None


def until(holds: Callable[[], bool], what: str = "it", deadline_s: float = 60.0) -> None:
    """Wait until a condition holds; fails after the deadline."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, f"{what} did not come within {deadline_s} s"
        time.sleep(0.01)
