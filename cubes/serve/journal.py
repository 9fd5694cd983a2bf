"""The last statements on facts that this server answered: what `fleet.receipts` shows."""

from __future__ import annotations

import json
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

from lake.times import utc_now

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("at", "process", "statement", "path", "rows", "latency_ms", "receipt")


class Journal:
    """A ring of the newest answers, shared by all connections of a server."""

    def __init__(self, keep: int = 1000) -> None:
        """Keep the newest `keep` answers; the ring lives in memory and ends with the server."""
        self._rows: deque[tuple[Any, ...]] = deque(maxlen=keep)
        self._lock = Lock()

    def add(
        self,
        process: int,
        statement: str,
        path: str,
        rows: int,
        latency_ms: float,
        *,
        receipt: dict[str, Any] | None = None,
    ) -> None:
        """Note one answer with its receipt: what had to be counted for it is there where the client asked for one."""
        text = None if receipt is None else json.dumps(receipt, ensure_ascii=False, separators=(",", ":"), default=str)
        with self._lock:
            self._rows.append((utc_now(), process, statement, path, rows, round(latency_ms, 3), text))

    def table(self) -> pa.Table:
        """The answers, oldest first."""
        import pyarrow as pa

        with self._lock:
            rows = list(self._rows)
        texts, whole = pa.string(), pa.int64()
        types = (pa.timestamp("us", "UTC"), whole, texts, texts, whole, pa.float64(), texts)
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(_COLUMNS)
        arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
        return pa.table(dict(zip(_COLUMNS, arrays, strict=True)))
