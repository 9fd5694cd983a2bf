"""An answer that comes page by page: the session that makes it stays lent until its last row, or until it is closed.

Few may be open at once: one session must always be left for short statements. The deadline of each Execute bounds how
long a client may take, the idle time of its transaction how long it may wait in between.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from threading import Semaphore
from typing import TYPE_CHECKING

from cubes.serve.pg_types import conform
from cubes.serve.pgwire import Field
from lake.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa


class Slots:
    """How many answers may be open at once, over all connections of a server."""

    def __init__(self, running: int) -> None:
        """All but one of the `running` statements at once; the only one, where it is one."""
        self._free = Semaphore(max(1, running - 1))

    def take(self, held: ExitStack) -> None:
        """Take a place until `held` is closed. Errors: QueryError 53400 where none is free."""
        if not self._free.acquire(blocking=False):
            todo = "Try again shortly, or ask for fewer rows: LIMIT, a shorter range, an aggregate."
            raise QueryError("too many large answers are being read at once", todo=todo, code="53400")
        held.callback(self._free.release)


class Stream:
    """The pages of an answer after its first one."""

    def __init__(
        self,
        batches: Generator[pa.RecordBatch, None, None],
        names: Sequence[str],
        held: ExitStack,
        *,
        hold: Callable[[bool], None],
        check: Callable[[int], None],
        rows: int,
        wanted: Sequence[Field] | None = None,
    ) -> None:
        """`held` gives everything back when closed; `hold` tells that the session works, and that it stopped.

        `rows` were in the first page; `check` is asked with the number of all that came, before each page goes out.
        """
        self._batches, self._names, self._held, self._hold, self._wanted = batches, names, held, hold, wanted
        self._check, self.rows = check, rows

    def next(self) -> pa.Table | None:
        """The next page, None behind the last one, after which the session is free again."""
        import pyarrow as pa

        self._hold(True)
        try:
            batch = next(self._batches, None)
        finally:
            self._hold(False)
        if batch is None:
            self.close()
            return None
        self.rows += batch.num_rows
        try:
            self._check(self.rows)
        except QueryError:
            self.close()
            raise
        table = pa.Table.from_batches([batch]).rename_columns(list(self._names))
        return table if self._wanted is None else conform(table, self._wanted)

    def close(self) -> None:
        """Give the session back, whatever is left unread."""
        self._batches.close()
        self._held.close()
