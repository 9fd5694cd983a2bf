"""The receiver's journal: a spool that many requests share, with one fsync for all that wait at the same moment."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from ingestion.frames import Frame
from ingestion.spool import Spool
from lake.errors import TransportError
from lake.faults import faultpoint

_Waiting = tuple[Sequence[Frame], "Future[None]"]
_GROUP_MAX = 256
_TICK_S = 0.2


class Journal:
    """Appends from any thread; segments are sealed after `roll_s`, also when nothing more comes, for the lander."""

    def __init__(self, folder: Path, *, max_bytes: int, roll_s: float, report: Callable[[str], None]) -> None:
        """Take the folder; TransportError if another receiver has it. `report` is told of troubles with the disk."""
        self.spool = Spool(folder, max_bytes=max_bytes)
        self._roll_s, self._report = roll_s, report
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="journal", daemon=True)
        self._writer.start()

    def append(self, frames: Sequence[Frame]) -> Future[None]:
        """Done when `frames` are durable; its exception is the one that `Spool.append` raised."""
        done: Future[None] = Future()
        self._waiting.put((frames, done))
        return done

    def close(self) -> None:
        """Write what waits, seal, and give the folder up."""
        if self._writer.is_alive():
            self._waiting.put(None)
            self._writer.join()
        self.spool.close()

    def _write(self) -> None:
        running = True
        while running:
            group = self._next_group()
            running = None not in group
            self._commit([item for item in group if item is not None])
            try:
                self.spool.seal(older_than_s=self._roll_s)
            except TransportError as error:
                self._report(str(error))

    def _next_group(self) -> list[_Waiting | None]:
        """What waits now, or nothing after a tick."""
        group: list[_Waiting | None] = []
        try:
            group.append(self._waiting.get(timeout=_TICK_S))
            while len(group) < _GROUP_MAX:
                group.append(self._waiting.get_nowait())
        except queue.Empty:
            pass
        return group

    def _commit(self, group: Sequence[_Waiting]) -> None:
        if not group:
            return
        faultpoint("receiver.journal.before")
        try:
            self.spool.append([frame for frames, _ in group for frame in frames])
        except Exception as error:  # noqa: BLE001 - an edge: the writer lives on, and every request hears of it
            self._report(str(error))
            for _, done in group:
                done.set_exception(error)
            return
        faultpoint("receiver.journal.after")
        for _, done in group:
            done.set_result(None)
