"""The plan of a batch: what publishing will commit. Its files are written and synced, but no commit names them yet.

So publishing is commits only, and a plan that is kept as an intent can be carried out by whoever comes next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from lake.delta import DataFile, Snapshot
from lake.duck import text_literal
from lake.facts import Fact
from lake.tables import BATCHES, GAPS, QUARANTINE, SEEN, TableRef, trusted
from lake.times import iso
from quality.candidate import IDENTITY, VIEW, typed_content
from quality.gaps import Gap
from quality.job import Gate, Job
from quality.reasons import Reason
from quality.repeats import Published

# The candidate with what became of repeats, and which of its rows are published where.
FATED: Final = f"{VIEW} LEFT JOIN fc_fate USING (rid)"
GOOD: Final = "(_check IS NULL AND fate IS NULL)"
BAD: Final = "(fate IS DISTINCT FROM 'duplicate' AND (_check IS NOT NULL OR fate = 'conflict'))"
# Rows that are asked for together lie together.
SORT: Final = {"samples": "metric, site, host, device, ts"}
Files = dict[str, tuple[list[DataFile], list[DataFile]]]


@dataclass(frozen=True)
class Plan:
    """What publishing commits: files by table (adds, removes), and the batch's row as it will stand in `batches`.

    `reasons` is for the page of the verdict alone: it quotes rows, which must be erasable, and `batches` is for ever.
    """

    batch: int
    record: dict[str, Any]
    files: dict[str, tuple[list[DataFile], list[DataFile]]]
    reasons: tuple[Reason, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The plan for an intent file."""
        files = {
            name: [[asdict(file) for file in side] for side in (adds, removes)]
            for name, (adds, removes) in self.files.items()
        }
        reasons = [asdict(reason) for reason in self.reasons]
        return {"batch": self.batch, "record": self.record, "files": files, "reasons": reasons}

    @staticmethod
    def from_json(content: dict[str, Any]) -> Plan:
        """The plan out of an intent file."""
        files = {
            name: ([DataFile(**file) for file in adds], [DataFile(**file) for file in removes])
            for name, (adds, removes) in content["files"].items()
        }
        # An intent of an earlier version has no reasons.
        reasons = tuple(Reason.from_json(reason) for reason in content.get("reasons", ()))
        return Plan(content["batch"], content["record"], files, reasons)


def lay_out(
    gate: Gate, job: Job, record: dict[str, Any], before: Published | None, gaps: Sequence[Gap], *, seen: bool = True
) -> Plan:
    """Write every file that publishing will name, in the order of publishing; only the record if `before` is None.

    `seen` is false where the records were seen before. Names are made of the batch number, so that a repeat overwrites
    its own files.
    """
    files: Files = {}
    if before is not None:
        touched = _touched(gate, before.trusted)
        files["quarantine"] = (_write(gate, QUARANTINE, job, _quarantine(gate, job, before.trusted, touched)), [])
        files["gaps"] = (_write(gate, GAPS, job, _gaps(gate.fact, job, gaps)) if gaps else [], [])
        if seen:
            files["seen"] = (_write(gate, SEEN, job, _seen(gate.fact, job)), [])
        # A removal needs no bounds, and those that the log gives (times) are not JSON.
        removes = [replace(file, minimum={}, maximum={}) for file in touched]
        files["trusted"] = (_write_trusted(gate, job, before.trusted, touched), removes)
    files["batches"] = (_write(gate, BATCHES, job, values_sql(record)), [])
    return Plan(job.batch, record, files)


def _write(gate: Gate, ref: TableRef, job: Job, select: str) -> list[DataFile]:
    stem = f"{gate.fact.name}-{job.batch:08d}"
    # Retention goes by the time of receipt.
    stats = [name for name in ("batch", "received_at") if name in ref.schema.names]
    return gate.duck.write(select, gate.settings.lake, ref, stem, stats=stats)


def _write_trusted(gate: Gate, job: Job, before: Snapshot, touched: Sequence[DataFile]) -> list[DataFile]:
    """The good rows; and the files that lose withdrawn rows, written again without them."""
    lake, ref = gate.settings.lake, trusted(gate.fact.name)
    columns = ", ".join(f'"{column.name}"' for column in gate.fact.columns)
    typed = f"{columns}, {IDENTITY}, row_key, {job.batch} AS batch, CAST(ts AS DATE) AS day"
    good = f"SELECT {typed} FROM {FATED} WHERE {GOOD}"
    order = f"day, {SORT.get(gate.fact.name, 'ts')}"
    stem = f"gate-{job.batch:08d}"
    adds = gate.duck.write(good, lake, ref, stem, stats=("batch", "ts"), order=order)
    if touched:
        kept = f"SELECT * FROM {_scan(gate, before, touched)} ANTI JOIN fc_withdrawn USING ({IDENTITY})"
        adds += gate.duck.write(kept, lake, ref, f"{stem}-kept", stats=("batch", "ts"), order=order)
    return adds


def _touched(gate: Gate, before: Snapshot) -> list[DataFile]:
    """The trusted files that hold a row to withdraw."""
    places = gate.duck.sql("SELECT DISTINCT CAST(day AS VARCHAR), batch FROM fc_withdrawn")
    maybe = [
        file
        for file in before.files
        if any(file.partition.get("day") == day and file.may_hold("batch", batch, batch) for day, batch in places)
    ]
    return [file for file in maybe if _holds_withdrawn(gate, before, file)]


def _holds_withdrawn(gate: Gate, before: Snapshot, file: DataFile) -> bool:
    found = gate.duck.sql(
        f"SELECT 1 FROM {_scan(gate, before, [file])} SEMI JOIN fc_withdrawn USING ({IDENTITY}) LIMIT 1"
    )
    return bool(found)


def _scan(gate: Gate, before: Snapshot, files: Sequence[DataFile]) -> str:
    return gate.duck.scan(before, [str(before.root / file.path) for file in files])


def _quarantine(gate: Gate, job: Job, before: Snapshot, touched: Sequence[DataFile]) -> str:
    """SQL of the rows to keep aside: bad ones with their texts, conflicting ones as they were read."""
    fact = gate.fact
    site = "site" if any(column.name == "site" for column in fact.columns) else "CAST(NULL AS VARCHAR)"
    head = f"SELECT {text_literal(fact.name)} AS fact, {job.batch} AS batch, {IDENTITY}"
    head += f", ts, CAST(ts AS DATE) AS day, {site} AS site"
    select = (
        f"{head}, coalesce(_check, 'conflict') AS \"check\", coalesce(_reason, reason) AS reason, "
        f"if(_check IS NULL, {typed_content(fact)}, CAST(_content AS VARCHAR)) AS content, received_at "
        f"FROM (SELECT * FROM {FATED}) WHERE {BAD}"
    )
    if touched:
        withdrawn = f"(SELECT {IDENTITY}, reason AS why FROM fc_withdrawn)"
        select += (
            f" UNION ALL {head}, 'conflict', why, {typed_content(fact)}, CAST(NULL AS TIMESTAMPTZ) "
            f"FROM {_scan(gate, before, touched)} JOIN {withdrawn} USING ({IDENTITY})"
        )
    return select


def _gaps(fact: Fact, job: Job, gaps: Sequence[Gap]) -> str:
    """SQL of the gaps' rows."""
    rows = ", ".join(
        f"({text_literal(gap.agent)}, {text_literal(gap.boot)}, {gap.seq_from}, {gap.seq_to}, {gap.rows}, "
        f"{text_literal(gap.reason)}, TIMESTAMPTZ '{iso(gap.received_at)}')"
        for gap in gaps
    )
    return (
        f"SELECT {text_literal(fact.name)} AS fact, {job.batch} AS batch, * FROM (VALUES {rows}) "
        "AS g (agent, boot, seq_from, seq_to, rows, reason, received_at)"
    )


def _seen(fact: Fact, job: Job) -> str:
    return f"SELECT *, {text_literal(fact.name)} AS fact, {job.batch} AS batch FROM fc_ranges"


def values_sql(record: dict[str, Any]) -> str:
    """SQL of one row with the values of a record of `batches`; mappings become JSON."""
    cells = []
    for name, value in record.items():
        if isinstance(value, dict):
            value = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        told = "NULL" if value is None else str(value) if isinstance(value, int) else text_literal(str(value))
        cells.append(f"{told} AS {name}")
    return f"SELECT {', '.join(cells)}"
