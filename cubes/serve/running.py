"""What runs now on a server and what ran last, connection by connection: the truth behind `fleet.queries`,
`pg_stat_activity` and the ending of queries.

Each connection's thread writes its own activity; readers copy what they see. Nobody sees more than their own without
the power to (`Viewer`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from lake.times import utc_now

if TYPE_CHECKING:
    from cubes.access import Policy

KEPT: Final = 1000
_MS: Final = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Viewer:
    """Who asks a system table; `policy` None is the operator, or anybody where no user is declared."""

    user: str = ""
    policy: Policy | None = None

    def may(self, power: str) -> bool:
        """Whether the user has a power over others at all, such as queries.see."""
        return self.policy is None or power in self.policy.may

    def over(self, power: str, user: str, tenant: str | None) -> bool:
        """Whether that holds for what is a user's: always for one's own; a tenant's user only within the tenant."""
        if self.policy is None or user == self.user:
            return True
        return self.may(power) and self.policy.tenant in (None, tenant)

    def everyone(self) -> bool:
        """Whether the user may see what others do, of whatever tenant."""
        return self.may("queries.see") and (self.policy is None or self.policy.tenant is None)

    def reads(self, fact: str) -> bool:
        """Whether the fact exists for the user."""
        return self.policy is None or self.policy.reads(fact)

    def whole(self, fact: str) -> bool:
        """Whether the user reads every row of the fact, so that counts over all of them tell nothing new."""
        return self.policy is None or (self.policy.reads(fact) and self.policy.tables[fact].predicate is None)

    def unsaid(self, fact: str, text: str) -> str | None:
        """A text about a fact, or None where it names a column that is hidden from the user."""
        hidden = () if self.policy is None or not self.reads(fact) else self.policy.tables[fact].hidden
        return None if any(name in text for name in hidden) else text


@dataclass
class Query:
    """One statement. `state` is waiting, running or sending; done or failed (then with `error`, a SQLSTATE)."""

    process: int
    user: str
    tenant: str | None
    address: str
    statement: str
    at: datetime = field(default_factory=utc_now)
    state: str = "running"
    kept: bool = True
    path: str | None = None
    rows: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    error: str | None = None

    def row(self) -> tuple[Any, ...]:
        """As `fleet.queries` shows it; times go on while it runs."""
        now = self.ended or utc_now()
        began = self.started or now
        latency, waited = ((moment - self.at) / _MS for moment in (now, began))
        head = (self.process, self.user, self.tenant, self.address, self.at, self.state, self.statement)
        return (*head, self.path, self.rows, round(waited, 3), round(latency, 3), self.error)


@dataclass
class Activity:
    """What one connection does."""

    process: int
    user: str
    address: str = ""
    port: int = 0
    since: datetime = field(default_factory=utc_now)
    changed: datetime = field(default_factory=utc_now)
    application: Callable[[], str] = field(default=lambda: "")
    status: Callable[[], str] = field(default=lambda: "I")
    tenant: str | None = None
    query: Query | None = None
    last: str = ""
    began: datetime | None = None
    _ended: Callable[[Query], None] = field(default=lambda query: None)

    def begin(self, statement: str, tenant: str | None, *, kept: bool) -> None:
        """A statement has arrived; without `kept` it is forgotten when it ends."""
        self.end()
        self.tenant, self.last = tenant, statement
        self.query = Query(self.process, self.user, tenant, self.address, statement, kept=kept)
        self.began = self.changed = self.query.at

    def waits(self) -> None:
        """It stands in line."""
        self._to("waiting")

    def runs(self) -> None:
        """It has a place."""
        if self.query is not None:
            self.query.started = utc_now()
        self._to("running")

    def answered(self, path: str) -> None:
        """It is known what it is answered from."""
        if self.query is not None:
            self.query.path = path

    def sends(self) -> None:
        """Its rows go to the client."""
        self._to("sending")

    def sent(self, rows: int) -> None:
        """So many rows have gone, all in all."""
        if self.query is not None:
            self.query.rows = rows

    def end(self, error: str = "") -> None:
        """It is over; nothing happens where none runs."""
        query, self.query = self.query, None
        if query is None:
            return
        query.ended = self.changed = utc_now()
        query.state, query.error = ("failed", error) if error else ("done", None)
        if query.kept:
            self._ended(query)

    def _to(self, state: str) -> None:
        if self.query is not None:
            self.query.state = state
            self.changed = utc_now()


class Running:
    """The connections of a server, and the statements that ended last."""

    def __init__(self) -> None:
        """Nobody is connected yet."""
        self._lock = Lock()
        self._connections: dict[int, Activity] = {}
        self._recent: deque[Query] = deque(maxlen=KEPT)
        self.counts: dict[str, int] = {"done": 0, "failed": 0}

    def arrive(self, activity: Activity) -> None:
        """A connection is there."""
        activity._ended = self._note
        with self._lock:
            self._connections[activity.process] = activity

    def leave(self, process: int) -> None:
        """It is gone, with what it ran."""
        with self._lock:
            gone = self._connections.pop(process, None)
        if gone is not None:
            gone.end("08006")

    def connection(self, process: int) -> Activity | None:
        """What the connection of that number does; None where there is none."""
        return self._connections.get(process)

    def connections(self, viewer: Viewer) -> list[Activity]:
        """The connections that a viewer may see, by number."""
        with self._lock:
            found = sorted(self._connections.values(), key=lambda one: one.process)
        return [one for one in found if viewer.over("queries.see", one.user, one.tenant)]

    def queries(self, viewer: Viewer) -> list[Query]:
        """The statements that ended last, oldest first, and behind them those that run, as the viewer may see them."""
        with self._lock:
            recent = list(self._recent)
            now = [one.query for one in self._connections.values() if one.query is not None]
        return [one for one in (*recent, *now) if viewer.over("queries.see", one.user, one.tenant)]

    def latencies_ms(self) -> list[float]:
        """Milliseconds of the statements that ended last without an error, ascending."""
        with self._lock:
            recent = list(self._recent)
        return sorted((one.ended - one.at) / _MS for one in recent if one.ended is not None and one.error is None)

    def _note(self, query: Query) -> None:
        with self._lock:
            self._recent.append(query)
            self.counts[query.state] += 1
