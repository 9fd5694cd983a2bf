"""Self-audit: a sampled share of answers from cubes is asked of trusted rows again, at the same versions.

It runs in one thread of low priority with a session of its own, beside those that answer; its queue is short, and what
finds it full is dropped and counted. A difference is handed on to `cubes.suspicion`.
"""

from __future__ import annotations

import logging
import os
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from threading import Condition, Thread, Timer, get_native_id
from typing import TYPE_CHECKING, Any, Final, Protocol

from cubes.route.receipt import errors_of
from cubes.route.span import Window
from cubes.shadow import Sample, comparable, difference
from cubes.suspicion import accuse
from lake.duck import connect
from lake.errors import FleetcubeError

if TYPE_CHECKING:
    import pyarrow as pa

    from cubes.route.statement import Statement
    from lake.settings import Settings

_LOG = logging.getLogger(__name__)
_WAITING: Final = 16
_MOST_ROWS: Final = 200_000
_LONGEST_S: Final = 120.0
_NICE: Final = 15
_CLOSING_S: Final = 10.0


class Recomputes(Protocol):
    """What is needed of `cubes.session.Session`."""

    def recompute(self, sample: Sample, sql: str, *, raw: bool) -> tuple[Statement, pa.Table]:
        """A statement at given versions."""

    def interrupt(self) -> None:
        """Stop it."""

    def close(self) -> None:
        """Let go of the engine."""


@dataclass
class AuditCounts:
    """`dropped` found the queue full; `skipped` can't be compared (ties, size, time, rows that have expired)."""

    sampled: int = 0
    dropped: int = 0
    audited: int = 0
    skipped: int = 0
    differing: int = 0


class SelfAudit:
    """Takes samples from any thread; a thread of its own begins with the first one and ends with `close`."""

    def __init__(self, settings: Settings, open_session: Callable[[Settings], Recomputes]) -> None:
        """Nothing is opened before the first sample; `open_session` makes the session that asks again."""
        self._settings = replace(settings, threads=1, memory_mib=max(256, settings.memory_mib // 2))
        self._open = open_session
        self._random = random.Random(settings.selfaudit_seed)
        self._share = settings.selfaudit_permille / 1000
        self._waiting: deque[Sample] = deque()
        self._busy = self._closed = False
        self._changed = Condition()
        self._thread: Thread | None = None
        self._session: Recomputes | None = None
        self.counts = AuditCounts()

    def offer(self, make: Callable[[], Sample]) -> None:
        """Perhaps take an answer as a sample; `make` is called only then."""
        with self._changed:
            if self._closed or self._random.random() >= self._share:
                return
            self.counts.sampled += 1
            if len(self._waiting) >= _WAITING:
                self.counts.dropped += 1
                return
            self._waiting.append(make())
            if self._thread is None:
                self._thread = Thread(target=self._run, name="selfaudit", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Until nothing is waiting or under way; False when that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def close(self) -> None:
        """Take no more samples, stop what runs, and end the thread."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            if self._session is not None:
                # Under the lock: the thread lets go of it there before it closes it.
                self._session.interrupt()
            self._changed.notify_all()
        if self._thread is not None:
            # What verifies a cube at that moment is left to end with the process.
            self._thread.join(_CLOSING_S)

    def _run(self) -> None:
        if sys.platform == "linux":
            # A thread has a priority of its own there, and the engine works in this very thread.
            os.setpriority(os.PRIO_PROCESS, get_native_id(), _NICE)
        try:
            while (sample := self._next()) is not None:
                try:
                    self._audit(sample)
                except FleetcubeError as error:
                    self.counts.skipped += 1
                    _LOG.info("an answer was not asked again: %s", error)
                except Exception:  # noqa: BLE001
                    # The edge of a thread that nobody waits for: it goes on with the next one.
                    self.counts.skipped += 1
                    _LOG.exception("an answer was not asked again")
        finally:
            with self._changed:
                session, self._session = self._session, None
            if session is not None:
                session.close()

    def _next(self) -> Sample | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return None
            self._busy = True
            return self._waiting.popleft()

    def _audit(self, sample: Sample) -> None:
        sql = comparable(sample.sql)
        if sql is None:
            self.counts.skipped += 1
            return
        if self._session is None:
            self._session = self._open(self._settings)
        deadline = Timer(_LONGEST_S, self._session.interrupt)
        deadline.start()
        try:
            statement, routed = self._session.recompute(sample, sql, raw=False)
            raw = self._session.recompute(sample, sql, raw=True)[1] if routed.num_rows <= _MOST_ROWS else None
        finally:
            deadline.cancel()
        if raw is None or raw.num_rows > _MOST_ROWS:
            self.counts.skipped += 1
            return
        found = difference(routed, raw, errors_of(statement))
        self.counts.audited += 1
        if found:
            self.counts.differing += 1
            self._accuse(sample, statement, found)

    def _accuse(self, sample: Sample, statement: Statement, found: str) -> None:
        data: dict[str, Any] = {"statement": sample.sql, "versions": dict(sample.versions), "difference": found}
        duck = connect(self._settings)
        try:
            for one in statement.answered:
                accuse(self._settings, duck, one.plan.cube.cube, _days(one.plan.block.window), data)
        finally:
            duck.connection.close()


def _days(window: Window) -> tuple[date | None, date | None]:
    """First day, and the day after the last, of a range."""
    start, end = window.moments()
    until = None if end is None else (end - timedelta(microseconds=1)).date() + timedelta(days=1)
    return None if start is None else start.date(), until
