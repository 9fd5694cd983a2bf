"""The rows of an outcome, handed out in pages: whole in memory, or as a stream makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cubes.serve.desk import Outcome
from cubes.serve.pg_types import fields_of
from cubes.serve.pgwire import Field
from cubes.serve.rows import copy_head, copy_rows, copy_tail, data_rows, with_head
from lake.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa

# Rows to a write: enough for numpy to pay, little enough that a slow client holds back little.
_ROWS: Final = 8192
# Bytes of them, about, and of one row.
_BYTES: Final = 8 * 2**20
_WIDEST: Final = 64 * 2**20


class Pages:
    """What is left of an outcome's rows. `sent` counts those handed out."""

    def __init__(self, outcome: Outcome) -> None:
        """Nothing is handed out yet."""
        assert outcome.table is not None, "only outcomes with rows have pages"
        self.outcome, self._table, self._at = outcome, outcome.table, 0
        self.schema = outcome.table.schema
        self.sent = 0

    @property
    def fields(self) -> Sequence[Field]:
        """The row description."""
        return fields_of(self.schema)

    @property
    def has_more(self) -> bool:
        """Whether rows are left; a stream that has not ended may turn out to have none."""
        return self._at < self._table.num_rows or self.outcome.rest is not None

    def rows(self, most: int, formats: Sequence[int]) -> tuple[int, bytes]:
        """Up to `most` rows (0: as many as make a page) as DataRow messages, and how many; (0, b"") at the end."""
        page = self._next(most)
        return page.num_rows, data_rows(page, formats)

    def lines(self) -> tuple[int, bytes]:
        """The same for COPY, with what stands before the first and behind the last row."""
        options = self.outcome.copy
        assert options is not None, "only COPY has lines"
        head = copy_head(self.schema.names, options) if not self.sent else b""
        page = self._next(0)
        data = copy_rows(page, options) if page.num_rows else copy_tail(options)
        return page.num_rows, with_head(head, data, options)

    def close(self) -> None:
        """Let go of what is left."""
        self._at = self._table.num_rows
        rest, self.outcome = self.outcome.rest, _ended(self.outcome)
        if rest is not None:
            rest.close()

    def _next(self, most: int) -> pa.Table:
        while self._at >= self._table.num_rows and self.outcome.rest is not None:
            table = self.outcome.rest.next()
            if table is None:
                self.outcome = _ended(self.outcome)
            else:
                self._table, self._at = table, 0
        page = self._table.slice(self._at, min(most or _ROWS, _ROWS))
        while page.num_rows > 1 and page.nbytes > _BYTES:
            page = page.slice(0, page.num_rows // 2)
        if page.nbytes > _WIDEST:
            what = f"a row of the answer has {page.nbytes // 2**20} MiB, at most {_WIDEST // 2**20} are sent"
            raise QueryError(what, todo="Ask for fewer columns, or a part of the text.", code="54000")
        self._at += page.num_rows
        self.sent += page.num_rows
        return page


def _ended(outcome: Outcome) -> Outcome:
    return replace(outcome, rest=None)
