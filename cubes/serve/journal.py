"""The last statements on facts that this server answered: what `fleet.receipts` shows."""

from __future__ import annotations

import json
from collections import deque
from threading import Lock
from typing import Any

from cubes.serve.running import KEPT, Viewer
from lake.times import utc_now


class Journal:
    """A ring of the newest answers, shared by all connections of a server."""

    def __init__(self, keep: int = KEPT) -> None:
        """Keep the newest `keep` answers; the ring lives in memory and ends with the server."""
        self._rows: deque[tuple[str | None, tuple[Any, ...]]] = deque(maxlen=keep)
        self._lock = Lock()

    def add(
        self,
        process: int,
        viewer: Viewer,
        statement: str,
        path: str,
        *,
        rows: int,
        latency_ms: float,
        receipt: dict[str, Any] | None = None,
    ) -> None:
        """Note one answer with its receipt: what had to be counted for it is there where the client asked for one."""
        text = None if receipt is None else json.dumps(receipt, ensure_ascii=False, separators=(",", ":"), default=str)
        tenant = None if viewer.policy is None else viewer.policy.tenant
        row = (utc_now(), process, viewer.user, statement, path, rows, round(latency_ms, 3), text)
        with self._lock:
            self._rows.append((tenant, row))

    def rows(self, viewer: Viewer) -> list[tuple[Any, ...]]:
        """The answers that a viewer may see, oldest first, in the order of the table's columns."""
        with self._lock:
            held = list(self._rows)
        return [row for tenant, row in held if viewer.over("queries.see", row[2], tenant)]
