"""A collector with a deadline: a driver or a network disk that hangs must not stop the readings of everything else."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol

from ingestion.sample import Reading


class _Collector(Protocol):
    def collect(self, now: datetime) -> Iterable[Reading]: ...


class Deadline:
    """Runs each pass of a collector in a thread of its own and waits for it `limit_s` at most.

    While a pass hangs no other is begun; each `collect` then raises TimeoutError at once. What a late pass still gives
    is dropped: its time has gone.
    """

    def __init__(self, collector: _Collector, limit_s: float) -> None:
        self._collector, self._limit_s = collector, limit_s
        self._running: _Pass | None = None

    def collect(self, now: datetime) -> Iterator[Reading]:
        """The readings of the pass, or what it gave until it failed and then its error."""
        if self._running is not None and self._running.is_alive():
            raise TimeoutError(f"its pass of {self._running.began:%H:%M:%S} UTC has not come back")
        one = self._running = _Pass(self._collector, now)
        one.start()
        one.join(self._limit_s)
        late = one.is_alive()
        yield from list(one.found)
        if late:
            raise TimeoutError(f"no end within {self._limit_s:g} s")
        if one.error is not None:
            raise one.error


class _Pass(threading.Thread):
    def __init__(self, collector: _Collector, began: datetime) -> None:
        super().__init__(name="collector", daemon=True)
        self.collector, self.began = collector, began
        self.found: list[Reading] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            for reading in self.collector.collect(self.began):
                self.found.append(reading)
        except Exception as error:  # noqa: BLE001 - an edge: it is raised in the agent's own thread
            self.error = error
