"""A session: SQL on facts in, rows with a receipt out, at one pinned vector of versions a statement."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from cubes import measures
from cubes.load import load_cubes, load_specs
from cubes.model import Cube
from cubes.normal import normalised
from cubes.plan.querylog import QueryLog
from cubes.results import Kept, Key, ResultCache
from cubes.route import route
from cubes.route.asof import read_setting
from cubes.route.explain import explain_lines
from cubes.route.past import Past
from cubes.route.receipt import errors_of, make_receipt, notices, path_of
from cubes.route.statement import Statement
from cubes.route.suggest import suggest
from cubes.route.view import Shelf, View
from cubes.route.widths import beyond
from cubes.shadow import Sample
from lake.duck import connect, text_literal
from lake.errors import LakeError, QueryError
from lake.places import address
from lake.settings import Settings
from lake.shared import has_files
from lake.times import utc_now

if TYPE_CHECKING:
    import pyarrow as pa

    from cubes.access import Policy
    from cubes.selfaudit import SelfAudit

_PLANS_KEPT: Final = 256
# The folders of tables that statements and their receipts read; `_secrets`, `_inbox` and the audit log are no such.
_READ: Final = tuple("trusted cubes lookups deletions suspects batches quarantine gaps builds ledger holds".split())

# Files never change once a version names them, so their footers are read once; the engine looks at their times anyway.
_FOOTERS: Final = "SET parquet_metadata_cache = true"
# The engine never sees a user's text, and could do nothing with one that it may not do for us.
_LOCKS: Final = (
    "SET python_enable_replacements = false",
    "SET autoload_known_extensions = false",
    "SET allow_community_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)
_TYPES: Final = {
    "int64": "BIGINT",
    "int32": "INTEGER",
    "int16": "SMALLINT",
    "int8": "TINYINT",
    "string": "VARCHAR",
    "bool": "BOOLEAN",
    "double": "DOUBLE",
    "float": "FLOAT",
    "date32[day]": "DATE",
    "timestamp[us, tz=UTC]": "TIMESTAMPTZ",
    "timestamp[us]": "TIMESTAMP",
    "month_day_nano_interval": "INTERVAL",
}


@dataclass(frozen=True)
class OutputColumn:
    """A column of an answer: its name as PostgreSQL would give it, and its engine type, such as DECIMAL(38,9).

    `relative_error` bounds how far a value may lie from that of the rows; 0 is exact.
    """

    name: str
    type: str
    relative_error: float = 0.0


@dataclass(frozen=True)
class Answer:
    """Rows of a statement; `table` has the columns in order, their names may repeat.

    `path` is cube, cube+raw, mixed, raw or constant; `notices` say which blocks were pushed down, and why. Where pages
    were asked for, `table` may be the first of several and `rest` gives the others; the session is busy until its end.
    `cached` answers were made before, at the very versions of now.
    """

    columns: tuple[OutputColumn, ...]
    table: pa.Table
    path: str
    notices: tuple[str, ...]
    _make_receipt: Callable[..., dict[str, Any]] = field(repr=False, compare=False)
    rest: Generator[pa.RecordBatch, None, None] | None = field(default=None, repr=False, compare=False)
    cached: bool = False

    @cached_property
    def outline(self) -> dict[str, Any]:
        """The receipt without what must be counted first: it asks no query."""
        return self._make_receipt(counted=False)

    @cached_property
    def receipt(self) -> dict[str, Any]:
        """What the answer rests on, as plain JSON values; made at first use, by small queries at the same versions."""
        return self._make_receipt()


class Session:
    """One reader of a lake. One thread at a time; `interrupt` may come from any thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        cubes: Iterable[Cube] | None = None,
        clock: Callable[[], datetime] = utc_now,
        results: ResultCache | None = None,
        audit: SelfAudit | None = None,
    ) -> None:
        """Open the lake of the settings with every declared cube (or just `cubes`); LakeError where there is none.

        `results` keeps answers for several sessions; without it the session has a store of its own. `audit` asks some
        of them again, of rows.
        """
        if not has_files(settings.lake):
            raise LakeError(
                "there is no lake here.",
                where=address(settings.lake),
                todo="Run `fleetcube up`, or name one by --lake.",
            )
        self._own = settings.definitions if settings.definitions != Path("") else None
        known = tuple(load_cubes(self._own).values() if cubes is None else cubes)
        self._clock = clock
        self._duck = connect(settings)
        measures.install(self._duck)
        # Receipts of an answer that is still being read are made on a connection of their own.
        self._aside = self._duck.cursor()
        # Only files of the tables that answers come from, from here on: no secret, no log, nothing of the network.
        inside = ", ".join(text_literal(address(settings.lake.resolve() / name)) for name in _READ)
        for text in (_FOOTERS, f"SET allowed_directories = [{inside}]", *_LOCKS):
            self._duck.execute(text)
        self._shelf = Shelf(settings.lake.resolve(), self._duck, known)
        self._log = QueryLog(settings.lake.resolve(), clock)
        self._plans: OrderedDict[Key, tuple[Statement, View]] = OrderedDict()
        self._audit = audit
        self.results = ResultCache(settings.result_cache_mib * 2**20) if results is None else results

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
    ) -> Answer:
        """Answer one statement.

        `raw` answers from trusted rows at the same versions, `fresh` also from rows newer than the cubes, `explain`
        gives the plan as lines instead of rows, `policy` is what the user may read (None: the operator, everything).
        With `page_rows` an answer from rows comes page by page (`Answer.rest`), in bounded memory. `as_of` is a moment
        or `fact@version`; an AS OF of the statement's own goes over it.
        Errors: QueryError with what to do.
        """
        started = perf_counter()
        rest: Generator[pa.RecordBatch, None, None] | None = None
        asked = read_setting(as_of)
        view = self.view(fresh=fresh, policy=policy, past=None if asked is None else Past(asked))
        key = (normalised(sql), str(raw), str(fresh), str(asked or ""), "" if policy is None else policy.digest)
        if not explain and (found := self._kept(key, view, started)) is not None:
            return found
        try:
            statement, view = self._planned(sql, raw, view, key)
        except QueryError as error:
            if policy is None or error.code == "57014":
                raise
            # Some passes ask conditions of cells; as in `_run`, no error may tell of a row that is not the user's.
            view = view.barring()
            statement = route(sql, view, raw=raw)
        planned = perf_counter()
        if explain:
            advice = suggest(statement, view, load_specs(self._own)) if policy is None else {}
            lines = explain_lines(statement, whole=policy is None, advice=advice)
            table = self._duck.table("SELECT unnest($1) AS plan", [lines])
            errors = [0.0]
        else:
            paged = page_rows and path_of(statement) in ("raw", "mixed")
            if paged:
                statement, view, table, rest = self._paged(statement, view, page_rows)
            else:
                statement, view, table = self._run(statement, view)
            table = table.rename_columns([name for name, _ in statement.outputs])
            errors = errors_of(statement)
        latency_ms = {"plan": (planned - started) * 1e3, "execute": (perf_counter() - planned) * 1e3}
        told = () if explain else self._log.add(statement, view, sum(latency_ms.values()))
        said = (*notices(statement), *(() if explain else beyond(statement, table)))
        if not explain and rest is None and not statement.volatile:
            kept = (tuple(view.pins), tuple(view.lookups))
            self.results.keep(key, Kept(statement, view.vector(), *kept, view.barred, view.past, table, said))
        if not explain:
            self._offer(statement, view)
        columns = _columns(table, errors)
        behind = view if rest is None else replace(view, shelf=replace(self._shelf, duck=self._aside))
        receipt = partial(make_receipt, statement, behind, latency_ms)
        return Answer(columns, table, path_of(statement), (*said, *told), receipt, rest)

    def view(self, *, fresh: bool = False, policy: Policy | None = None, past: Past | None = None) -> View:
        """The versions that a statement would see now (or then); nothing is pinned until a fact is named."""
        return View(self._shelf, self._clock(), fresh, policy, past=past)

    def recompute(self, sample: Sample, sql: str, *, raw: bool) -> tuple[Statement, pa.Table]:
        """A statement at the versions of an earlier answer; nothing of it is kept."""
        view = View(self._shelf, sample.now, policy=sample.policy, past=Past(versions=sample.versions))
        statement = route(sql, view, raw=raw)
        return statement, self._duck.table(statement.sql)

    def interrupt(self) -> None:
        """Stop the running statement; nothing happens when idle."""
        self._duck.interrupt()

    def close(self) -> None:
        """Let go of the engine, and write what the query log still holds."""
        self._log.flush()
        self._aside.connection.close()
        self._duck.connection.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, statement: Statement, view: View) -> tuple[Statement, View, pa.Table]:
        """The rows of a plan. One that fails under a policy is planned and run once more with its relations barred.

        Else the error of an expression could tell of a row that the user may not see (`cubes.route.policy`).
        """
        try:
            return statement, view, self._duck.table(statement.sql)
        except QueryError as error:
            if view.policy is None or error.code == "57014":
                raise
        barred = view.barring()
        statement = route(statement.text, barred, raw=statement.raw)
        return statement, barred, self._duck.table(statement.sql)

    def _paged(
        self, statement: Statement, view: View, rows: int
    ) -> tuple[Statement, View, pa.Table, Generator[pa.RecordBatch, None, None] | None]:
        """The first page of a plan's rows, and the others where there are any.

        Under a policy the plan is barred from the start: rows that were sent can't be taken back when another fails.
        """
        import pyarrow as pa

        if view.policy is not None:
            view = view.barring()
            statement = route(statement.text, view, raw=statement.raw)
        batches = self._duck.stream(statement.sql, rows)
        held = [batch for _, batch in zip(range(2), batches, strict=False)]
        second = next(batches, None)
        rest = None if second is None else _following(second, batches)
        return statement, view, pa.Table.from_batches(held), rest

    def _offer(self, statement: Statement, view: View) -> None:
        if self._audit is not None and statement.answered:
            self._audit.offer(lambda: Sample(statement.text, view.vector(), view.now, view.policy))

    def _kept(self, key: Key, view: View, started: float) -> Answer | None:
        """An answer that was given before, where every version is still that of now."""
        kept = self.results.find(key)
        hit = False
        if kept is not None:
            view = replace(view, barred=kept.barred, past=kept.past, pins={}, lookups={})
            hit = view.repin(kept.facts, kept.lookups).vector() == kept.versions
        self.results.note(key, hit=hit)
        if kept is None or not hit:
            return None
        self._offer(kept.statement, view)
        latency_ms = {"plan": (perf_counter() - started) * 1e3, "execute": 0.0}
        told = self._log.add(kept.statement, view, latency_ms["plan"])
        columns = _columns(kept.table, errors_of(kept.statement))
        receipt = partial(make_receipt, kept.statement, view, latency_ms, cached=True)
        notes = (*kept.notices, *told)
        return Answer(columns, kept.table, path_of(kept.statement), notes, receipt, cached=True)

    def _planned(self, sql: str, raw: bool, view: View, key: Key) -> tuple[Statement, View]:
        """The plan, from the cache when every version is still the newest."""
        held = self._plans.get(key)
        if held is not None:
            again = replace(view, past=held[1].past, pins={}, lookups={})
            if held[1].vector() == again.repin(held[1].pins, held[1].lookups).vector():
                self._plans.move_to_end(key)
                return held[0], again
        statement = route(sql, view, raw=raw)
        if not statement.volatile:
            self._plans[key] = (statement, view)
            while len(self._plans) > _PLANS_KEPT:
                self._plans.popitem(last=False)
        return statement, view


def _following(second: pa.RecordBatch, batches: Iterator[pa.RecordBatch]) -> Generator[pa.RecordBatch, None, None]:
    """The second batch and all behind it; to close it is to let the engine's result go."""
    yield second
    yield from batches


def _columns(table: pa.Table, errors: Iterable[float]) -> tuple[OutputColumn, ...]:
    return tuple(
        OutputColumn(column.name, _sql_type(str(column.type)), error)
        for column, error in zip(table.schema, errors, strict=True)
    )


def _sql_type(arrow: str) -> str:
    """The engine's name of an Arrow type."""
    if match := re.fullmatch(r"decimal128\((\d+), (\d+)\)", arrow):
        return f"DECIMAL({match[1]},{match[2]})"
    if match := re.fullmatch(r"list<[^:]*: (.*?)(?: not null)?>", arrow):
        return f"{_sql_type(match[1])}[]"
    return _TYPES.get(arrow, arrow.upper())
