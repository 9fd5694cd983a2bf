"""Refusals of the receiver on record: the first of each kind from an address at once, then their number once a minute.

Anybody can be refused as often as they like, so a line for each would let them fill the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from lake.audit import Audit
from lake.errors import LakeError

_PAUSE_S = 60.0
_MOST = 1000


class Refusals:
    """Tells the audit log of refused requests; any thread."""

    def __init__(
        self, audit: Audit, report: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`report` hears of a log that can't be written: what is refused stays refused all the same."""
        self._audit, self._report, self._clock = audit, report, clock
        self._held: dict[tuple[str, int, str], tuple[float, int]] = {}
        self._lock = Lock()

    def add(self, address: str, status: int, agent: str) -> None:
        """Note one refusal by its status; `agent` is empty where no valid token was shown."""
        key, now = (address, status, agent), self._clock()
        with self._lock:
            since, waiting = self._held.get(key, (now - _PAUSE_S, 0))
            if now - since < _PAUSE_S:
                self._held[key] = (since, waiting + 1)
                return
            self._held[key] = (now, 0)
            old = [] if len(self._held) <= _MOST else [self._held_first()]
        self._tell(key, waiting + 1)
        for other, (_, left) in old:
            self._tell(other, left)

    def close(self) -> None:
        """Tell of what was only counted."""
        with self._lock:
            held, self._held = self._held, {}
        for key, (_, waiting) in held.items():
            self._tell(key, waiting)
        try:
            self._audit.close()
        except LakeError as error:
            self._report(str(error))

    def _held_first(self) -> tuple[tuple[str, int, str], tuple[float, int]]:
        key = next(iter(self._held))
        return key, self._held.pop(key)

    def _tell(self, key: tuple[str, int, str], times: int) -> None:
        address, status, agent = key
        if not times:
            return
        try:
            self._audit.append(
                "receiver.refused",
                "push",
                who=agent or "unknown",
                origin=address,
                result=str(status),
                detail={"times": times},
                durable=False,
            )
        except LakeError as error:
            self._report(str(error))
