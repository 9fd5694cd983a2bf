"""The tables of schema `fleet`: what each of their columns means, in which unit, and how rows become a table.

`system_lake` reads those that stand in the lake, `system_server` those of this server. Rows obey the viewer: of a fact
that a user may not read there is nothing, of one whose rows are restricted there are no counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cubes.serve.pg_catalog import Relation, RelationColumn
from cubes.serve.running import Viewer
from lake.errors import DefinitionError

if TYPE_CHECKING:
    import pyarrow as pa

_KINDS: Final = {"t": "text", "n": "int8", "f": "float8", "z": "timestamptz", "b": "bool"}


@dataclass(frozen=True)
class SystemTable:
    """A table as it is declared: a line a column, of name, kind (a letter of `_KINDS`), and comment with its unit."""

    name: str
    comment: str
    lines: str
    schema: str = "fleet"

    @property
    def columns(self) -> tuple[RelationColumn, ...]:
        """Its columns."""
        rows = [line.split(None, 2) for line in self.lines.strip().splitlines()]
        return tuple(RelationColumn(name, _KINDS[kind], comment) for name, kind, comment in rows)

    def relation(self, read: Callable[[Viewer], pa.Table]) -> Relation:
        """The table as the catalogue shows it, with what gives its rows."""
        return Relation(self.schema, self.name, "v", self.comment, self.columns, read)

    def of_rows(self, rows: Iterable[Sequence[Any]]) -> pa.Table:
        """A table of rows of Python values in the order of the columns."""
        import pyarrow as pa

        kinds = {"text": pa.string(), "int8": pa.int64(), "float8": pa.float64(), "bool": pa.bool_()}
        kinds["timestamptz"] = pa.timestamp("us", "UTC")
        columns, listed = self.columns, list(rows)
        values = list(zip(*listed, strict=True)) if listed else [()] * len(columns)
        arrays = [pa.array(found, kinds[one.type]) for found, one in zip(values, columns, strict=True)]
        return pa.table(dict(zip([one.name for one in columns], arrays, strict=True)))


_TABLES: Final = (
    SystemTable(
        "receipts",
        "The last statements on facts that this server answered, oldest first; of others' only who may see them",
        """
        answered_at z  When the answer was given
        process     n  Connection that asked, as pg_backend_pid() names it
        who         t  User who asked
        statement   t  The statement as it was sent
        path        t  What answered: cube, cube+raw, mixed or raw
        rows        n  Rows of the answer, of a large one those of its first page [1]
        latency_ms  f  Time to the answer, before rows were sent [ms]
        receipt     t  The receipt as JSON, where fleetcube.receipt was on
        """,
    ),
    SystemTable(
        "queries",
        "Statements that run now, and the last that ended; of others' only who may see them",
        """
        process     n  Connection, as pg_backend_pid() names it; what pg_cancel_backend() takes
        who         t  User of the connection
        tenant      t  The user's tenant, if there is one
        client      t  Address of the client
        since       z  When the statement arrived
        state       t  waiting (in line), running, sending (its rows), done or failed
        statement   t  The statement as it was sent
        path        t  What answers it: cube, cube+raw, mixed or raw; catalogue for system tables
        rows        n  Rows that were sent so far [1]
        waited_ms   f  Time in line [ms]
        latency_ms  f  Time since it arrived, or until its last row was sent [ms]
        error       t  SQLSTATE of a failed one
        """,
    ),
    SystemTable(
        "cubes",
        "Every declared cube and the version that answers",
        """
        cube            t  Name of the cube
        fact            t  Fact that it is made of
        description     t  What it is for
        grains          t  Lengths of its time buckets, from fine to coarse
        dimensions      t  Its dimensions
        measures        t  What MEASURE(name) can ask
        cuboids         n  Combinations of dimensions that are kept [1]
        definition      t  Digest of the definition that answers
        declared        t  Digest of the declared definition; another one until it is built
        build           n  Number of the last build; null where there was none
        watermark       n  Trusted batch up to which its cells stand
        behind_batches  n  Trusted batches that its cells don't hold yet [1]
        table_version   n  Version of its table
        cells           n  Partial cells, sketches' rows included [1]
        size_bytes      n  Bytes of its files [By]
        """,
    ),
    SystemTable(
        "cuboids",
        "The cuboids of every built cube, at each grain",
        """
        cube        t  Name of the cube
        fact        t  Fact that it is made of
        grain       t  Length of the time bucket
        cuboid      n  Number of the cuboid: bit i stands for the i-th dimension
        dimensions  t  Dimensions that it keeps
        cells       n  Partial cells [1]
        """,
    ),
    SystemTable(
        "segments",
        "The time segments of every built cube, at each grain",
        """
        cube        t  Name of the cube
        fact        t  Fact that it is made of
        grain       t  Length of the time bucket
        segment     t  Name of the segment: a day, a month or a year
        from_ts     z  First moment of its buckets
        until_ts    z  First moment after them
        cells       n  Partial cells, sketches' rows included [1]
        files       n  Files [1]
        size_bytes  n  Bytes of its files [By]
        """,
    ),
    SystemTable(
        "quality",
        "What the gate found: a row for each batch that it judged",
        """
        fact        t  Fact of the batch
        batch       n  Number of the batch
        verdict     t  passed, warned or blocked; released, undone or erased for a correction
        received    n  Rows received [1]
        duplicates  n  Rows dropped as repeats [1]
        trusted     n  Rows published [1]
        quarantine  n  Rows kept aside with a reason [1]
        gaps        n  Sequence numbers lost [1]
        blocked     n  Rows held back by a blocked verdict [1]
        withdrawn   n  Rows of earlier batches taken out again [1]
        first_ts    z  Oldest event time published
        last_ts     z  Newest event time published
        started_at  z  Start of the judgement
        ended_at    z  End of the judgement
        checks      t  What each check found, as JSON
        """,
    ),
    SystemTable(
        "gaps",
        "Sequence numbers that were sent and are lost for good; of facts that the user reads whole",
        """
        fact         t  Fact of the lost rows
        batch        n  Batch that recorded it
        agent        t  Sender
        boot         t  Start of the sender
        seq_from     n  First lost sequence number
        seq_to       n  Last lost sequence number
        rows         n  Lost sequence numbers [1]
        reason       t  Why they are lost
        received_at  z  When the loss was noticed
        """,
    ),
    SystemTable(
        "jobs",
        "Steps that ran on the lake: landings, gates, builds, refreshes, upkeep",
        """
        ended_at z  End of the step
        step     t  What ran: land, gate, build, refresh, replay, simulate, release, undo, erase, retain
        subject  t  Fact, cube or file
        outcome  t  done, blocked or failed
        rows     n  Rows handled [1]
        seconds  f  Time taken [s]
        detail   t  More, as JSON
        """,
    ),
    SystemTable(
        "metrics",
        "Figures of this server and of the freshness of the lake, as they are now",
        """
        metric   t  Name of the figure, its unit last
        subject  t  Fact, cube or share that it is about; empty for the whole server
        value    f  Its value
        unit     t  UCUM unit of the value
        comment  t  What it says
        """,
    ),
    SystemTable(
        "alerts",
        "What needs a person: verdicts, failed steps, losses, wrong cells, refusals of the last 4 MiB of the audit log",
        """
        raised_at z  When
        kind      t  verdict, job, gap, selfaudit, refusal; gate, host, fact, step, verify, cells, answers, late, watch
        severity  t  critical, warning, or info where it is over
        subject   t  Fact, cube, file, or what was refused
        who       t  Who was refused
        message   t  What happened
        detail    t  More, as JSON
        """,
    ),
    SystemTable(
        "asked",
        "Parts of statements that aggregate a fact, of the newest 4 MiB of the lake's query log; of facts read whole",
        """
        at          z  When it was answered, by any server of this lake's folder; written 10 s later, or after idling
        fact        t  Fact that was asked
        dims        t  Dimensions that it needed
        path        t  cube, or raw where rows answered
        cube        t  Cube that answered
        grain       t  Coarsest grain that answered
        range_s     n  Length of its time range; null where it is open [s]
        rows        n  Cells or rows that were to be read, about [1]
        raw_rows    n  Rows that rows alone would have had to read: those of the days in its range [1]
        saved_rows  n  Of these, what a cube spared; 0 where rows answered [1]
        reason      t  Why no cube answered
        latency_ms  f  Time to the answer of the whole statement [ms]
        """,
    ),
    SystemTable(
        "audit",
        "Events of the newest 4 MiB of the audit log; a user's own, or all for who may see queries and has no tenant",
        """
        number     n  Number of the event in the log
        at         z  When
        who        t  Who did it
        via        t  Service that acted for them
        origin     t  Address, or process of this host
        operation  t  What was done, such as login, login.failed, query, verb
        resource   t  What it was about: a statement, a verb, an agent
        result     t  ok, or what became of it: a SQLSTATE, refused, failed
        policy     t  Digest of the policy in force
        detail     t  More, as JSON
        """,
    ),
    SystemTable(
        "checks",
        "What the gate's checks found: a row for each check of each batch; of facts that the user reads whole",
        """
        judged_at   z  End of the judgement
        fact        t  Fact of the batch
        batch       n  Number of the batch
        check_name  t  Name of the check, or of a notice
        kind        t  row (rows were kept aside), batch (an expectation), or notice (rows were changed or noted)
        severity    t  critical, warning or info, of an expectation
        outcome     t  passed, failed, quarantined or noted
        rows        n  Rows that were kept aside, noted, or against the expectation; null where it counts none [1]
        found       t  What an expectation measured, where that is no number of rows
        """,
    ),
    SystemTable(
        "quarantine",
        "Rows that are kept aside now, counted by what is wrong with them; of facts that the user reads whole",
        """
        fact         t  Fact of the rows
        check_name   t  Check that failed
        reason       t  What is wrong, quoted words and numbers as dots
        site         t  Site, where the rows name one
        arrived_day  z  UTC day on which they were accepted
        batch        n  Gate batch that judged them
        rows         n  Rows [1]
        """,
    ),
    SystemTable(
        "freshness",
        "How late each fact and site is, of the last 7 days that hold rows; of facts that the user reads whole",
        """
        fact       t  Fact
        site       t  Site; null for rows without one
        newest_ts  z  Newest event time in trusted rows
        lag_s      f  Its age [s]
        rows       n  Trusted rows of these days [1]
        """,
    ),
    SystemTable(
        "pg_stat_activity",
        "The connections of this server",
        """
        datid             n  Number of the database
        datname           t  Database
        pid               n  Number of the connection
        leader_pid        n  Null: a statement has one connection
        usesysid          n  Null: users have no numbers
        usename           t  User
        application_name  t  What the client calls itself
        client_addr       t  Address of the client
        client_hostname   t  Null: names are not looked up
        client_port       n  Port of the client
        backend_start     z  When the client connected
        xact_start        z  When the statement that runs began
        query_start       z  When the last statement began
        state_change      z  When the state changed last
        wait_event_type   t  Client while rows are sent, IPC in line for admission
        wait_event        t  ClientWrite, or Admission
        state             t  active, idle, idle in transaction, idle in transaction (aborted)
        backend_xid       n  Null: nothing writes
        backend_xmin      n  Null: nothing writes
        query_id          n  Null
        query             t  The last statement
        backend_type      t  client backend
        """,
        "pg_catalog",
    ),
)
SYSTEM: Final = {one.name: one for one in _TABLES}


def system_table(name: str) -> SystemTable:
    """The table of that name. Errors: DefinitionError for one that there is not."""
    if name not in SYSTEM:
        raise DefinitionError(f"There is no system table '{name}'.")
    return SYSTEM[name]


def system_markdown() -> str:
    """docs/system-tables.md: every table with its columns."""
    lines = ["# System tables", "", *_HEAD.strip().splitlines()]
    for one in sorted(_TABLES, key=lambda table: (table.schema == "pg_catalog", table.name)):
        lines += [
            "",
            f"## {one.schema}.{one.name}",
            "",
            f"{one.comment}.",
            "",
            "| column | type | meaning |",
            "|---|---|---|",
        ]
        lines += [f"| `{column.name}` | {column.type} | {column.comment} |" for column in one.columns]
    return "\n".join(lines) + "\n"


_HEAD: Final = """
The SQL endpoint's own tables, in schema `fleet`. A role lists those that exist for its users (`system`, see
[access.md](access.md)); rows obey the user's policy: of a fact that they may not read there is nothing, of one whose
rows are restricted for them counts are null. Lists of dimensions leave hidden columns out. Tables of the lake are read
anew by each query, so they hold what any process has published; `queries`, `receipts` and the `endpoint_` metrics are
those of the server that is asked, the last 1,000 of them. Units stand in brackets, as in the columns' comments.
"""
