"""Sessions of a server, lent for one statement at a time: as many as may run at once, so that memory is bounded.

A session holds no state of a client, and opening one costs more than most statements, so all connections share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING, Any, Protocol

from lake.errors import FleetcubeError, QueryError

if TYPE_CHECKING:
    from cubes.access import Policy

_POLL_S = 0.05


class SessionLike(Protocol):
    """What is needed of `cubes.session.Session`."""

    def query(
        self,
        sql: str,
        *,
        raw: bool = False,
        fresh: bool = False,
        explain: bool = False,
        policy: Policy | None = None,
        page_rows: int = 0,
        as_of: str = "",
    ) -> Any:
        """Answer one statement on facts."""

    def interrupt(self) -> None:
        """Stop the running statement, from any thread."""

    def close(self) -> None:
        """Let go of what the session holds."""


class SessionPool:
    """At most `most` sessions of the factory; a statement that finds none idle waits for one."""

    def __init__(self, factory: Callable[[], SessionLike], most: int) -> None:
        """Nothing is opened before the first statement."""
        self._factory, self._most = factory, most
        self._idle: list[SessionLike] = []
        self._lent = 0
        self._closed = False
        self._changed = Condition()

    @contextmanager
    def lend(self, is_stopped: Callable[[], bool]) -> Iterator[SessionLike]:
        """A session for the block. Errors: QueryError 57014 when `is_stopped` turns true while waiting.

        A session that failed in a way nobody foresaw is closed instead of lent again.
        """
        session = self._take(is_stopped)
        healthy = False
        try:
            yield session
            healthy = True
        except FleetcubeError:
            healthy = True
            raise
        finally:
            self._give(session, healthy)

    def close(self) -> None:
        """Close the idle sessions now, and the lent ones as they come back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for session in idle:
            session.close()

    def _take(self, is_stopped: Callable[[], bool]) -> SessionLike:
        with self._changed:
            while not self._idle and self._lent >= self._most:
                self._changed.wait(_POLL_S)
                if is_stopped():
                    raise QueryError("the statement was stopped before it began", code="57014")
            if self._closed:
                raise QueryError("the server is stopping", code="57P01")
            self._lent += 1
            if self._idle:
                return self._idle.pop()
        try:
            return self._factory()
        except BaseException:
            with self._changed:
                self._lent -= 1
                self._changed.notify()
            raise

    def _give(self, session: SessionLike, healthy: bool) -> None:
        with self._changed:
            self._lent -= 1
            keep = healthy and not self._closed
            if keep:
                self._idle.append(session)
            self._changed.notify()
        if not keep:
            session.close()
