"""Who may run a statement now: a bounded number at once, a bounded line before them, and turns that are fair by user.

A free place goes to the user with the fewest statements running, among equals to the one who was served longest ago;
so a hundred statements of one user never stand before the first one of another. Users and tenants at the bound of
their quota are passed over until one of theirs ends. Where the line is full, the user with most in it gives way.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Final

from lake.errors import QueryError

_POLL_S: Final = 0.05


@dataclass(frozen=True)
class Share:
    """Whose a statement is: the user, the tenant if there is one, the connection, and how many each may have running.

    None is no bound.
    """

    user: str
    tenant: str | None = None
    process: int = 0
    running: int | None = None
    tenant_running: int | None = None


@dataclass(eq=False)
class _Place:
    """A statement that runs, or stands in line."""

    share: Share
    decided: Event = field(default_factory=Event)
    runs: bool = False


class Admission:
    """The places of one server. From any thread."""

    def __init__(self, running: int, waiting: int) -> None:
        """At most `running` statements at once, and `waiting` that stand in line."""
        self._most_running, self._most_waiting = running, waiting
        self._lock = Lock()
        self._running: list[_Place] = []
        self._lines: dict[str, deque[_Place]] = {}
        # When each user of the line or of the places was last served, as a growing number.
        self._served: dict[str, int] = {}
        self._turn = 0

    @property
    def running(self) -> int:
        """How many statements run."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return sum(map(len, self._lines.values()))

    @contextmanager
    def enter(
        self, share: Share, is_stopped: Callable[[], bool], on_wait: Callable[[], None] = lambda: None
    ) -> Iterator[None]:
        """A place for the block; `on_wait` is called where it isn't free at once.

        Errors: QueryError 57014 when `is_stopped` turns true in line; 53300 where the line is full, or has become so
        for others' sake; 53400 for a place that only the same connection could free.
        """
        place = _Place(share)
        with self._lock:
            self._refuse_own_block(share)
            self._lines.setdefault(share.user, deque()).append(place)
            self._fill()
            if not place.runs:
                self._bound_line(share.user)
        try:
            if not place.decided.is_set():
                on_wait()
                self._await(place, is_stopped)
            if not place.runs:
                raise _full(self._most_waiting)
            yield
        finally:
            self._leave(place)

    def _await(self, place: _Place, is_stopped: Callable[[], bool]) -> None:
        while not place.decided.wait(_POLL_S):
            if is_stopped():
                raise QueryError("the statement was stopped before it began", code="57014")

    def _leave(self, place: _Place) -> None:
        with self._lock:
            if place.runs:
                self._running.remove(place)
            elif place in self._lines.get(place.share.user, ()):
                self._lines[place.share.user].remove(place)
            self._fill()
            here = {one.share.user for one in self._running} | {user for user, line in self._lines.items() if line}
            self._lines = {user: line for user, line in self._lines.items() if line}
            self._served = {user: turn for user, turn in self._served.items() if user in here}

    def _fill(self) -> None:
        """Hand out the free places."""
        while len(self._running) < self._most_running:
            busy = Counter(one.share.user for one in self._running)
            able = [user for user, line in self._lines.items() if line and not self._is_bound(line[0].share)]
            if not able:
                return
            user = min(able, key=lambda name: (busy[name], self._served.get(name, 0)))
            place = self._lines[user].popleft()
            self._turn += 1
            self._served[user] = self._turn
            self._running.append(place)
            place.runs = True
            place.decided.set()

    def _is_bound(self, share: Share) -> bool:
        """Whether the user or the tenant has as many running as the quota allows."""
        return any(most is not None and len(those) >= most for those, most in self._bounds(share))

    def _bounds(self, share: Share) -> list[tuple[list[_Place], int | None]]:
        """What runs of the user and of the tenant, each with its bound."""
        of_user = [one for one in self._running if one.share.user == share.user]
        of_tenant = [one for one in self._running if share.tenant is not None and one.share.tenant == share.tenant]
        return [(of_user, share.running), (of_tenant, share.tenant_running)]

    def _refuse_own_block(self, share: Share) -> None:
        """A connection that keeps large answers open would wait for itself."""
        bounds = [*self._bounds(share), (self._running, self._most_running)]
        for those, most in bounds:
            if most is not None and len(those) >= most and all(one.share.process == share.process for one in those):
                what = f"this connection's open answers take all of the {most} statements that may run"
                todo = "Read or close the open cursor first, or use another connection."
                raise QueryError(what, todo=todo, code="53400")

    def _bound_line(self, newcomer: str) -> None:
        """Where the line has become too long, the newest statement of the user with most of them is refused."""
        if self.waiting <= self._most_waiting:
            return
        longest = max(self._lines, key=lambda name: (len(self._lines[name]), name == newcomer))
        self._lines[longest].pop().decided.set()


def _full(most: int) -> QueryError:
    what = f"too many statements are waiting: the line holds {most} (serve_waiting)"
    todo = "Try again shortly, with fewer at once. `SELECT * FROM fleet.queries` shows yours."
    return QueryError(what, todo=todo, code="53300")
