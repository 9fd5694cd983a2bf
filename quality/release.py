"""Release: rows kept aside are judged again by the checks now in force, as a new batch; those that pass go to trusted.

Texts are read again as they came; rows of an undone batch come back with the values that they had. What fails again
stays in quarantine, under what it fails now. Sides of a conflict can't be released: no check can tell which is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from lake.catalogue import Catalogue
from lake.delta import DataFile, Snapshot, open_snapshot
from lake.duck import duck_type, text_literal
from lake.errors import QueryError, did_you_mean
from lake.intents import work_folder
from lake.tables import QUARANTINE, SEEN, landing, trusted
from quality.audit import count_batch
from quality.candidate import IDENTITY, write_candidate
from quality.correct import Correction, carry_out, correcting, new_record
from quality.gate import make_gate
from quality.job import Clean, Gate, Job
from quality.plan import Plan, lay_out
from quality.repeats import Published, judge_repeats
from quality.undo import CHECK as UNDONE
from quality.withdraw import removal

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.settings import Settings

_FILTERS: Final = ("check", "batch", "site", "day", "agent")
_NEVER: Final = "('conflict', 'erased')"


def release(
    settings: Settings,
    duck: Duck,
    fact_name: str,
    filters: Mapping[str, str],
    *,
    clean: Clean,
    catalogue: Catalogue,
) -> list[Correction]:
    """Judge the kept rows of a fact under `filters` (column = text) again: one batch of texts, one of undone rows.

    `rows` of a result: released, trusted (passed), quarantine (failed again), duplicates. No rows, no batch.
    """
    for name in filters:
        if name not in _FILTERS:
            raise QueryError(f"quarantine has no filter '{name}'.", todo=did_you_mean(name, _FILTERS), code="42703")
    if filters.get("check") in ("conflict", "erased"):
        raise QueryError(
            f"Rows of the check '{filters['check']}' can't be released.",
            todo="Undo one side's batch and send it again; what was erased is gone.",
        )
    where = [f"fact = {text_literal(fact_name)}", f'"check" NOT IN {_NEVER}']
    where += [f'CAST("{name}" AS VARCHAR) = {text_literal(text)}' for name, text in filters.items()]
    done = []
    for undone in (False, True):
        chosen = " AND ".join([*where, f"\"check\" {'=' if undone else '<>'} '{UNDONE}'"])
        with correcting(settings, duck, fact_name) as (_, number):
            gate = make_gate(settings, duck, fact_name, clean=clean, catalogue=catalogue, suite=None, judge=None)
            done += _release(gate, Job(number, 0, 0), chosen, undone)
    return done


def _release(gate: Gate, job: Job, chosen: str, undone: bool) -> list[Correction]:
    lake, duck, fact = gate.settings.lake, gate.duck, gate.fact
    aside = open_snapshot(lake, QUARANTINE)
    touched = [file for file in aside.files if _holds(duck, aside, file, chosen)]
    if not touched:
        return []
    kept = _rest(gate, job, aside, touched, chosen)
    rows = f"(SELECT * FROM {duck.scan(aside, _paths(aside, touched))} WHERE {chosen})"
    parts = duck.sql(f'SELECT "check", site, CAST(day AS VARCHAR), count(*) FROM {rows} GROUP BY ALL ORDER BY ALL')
    by_check = [dict(zip(("check", "site", "day", "rows"), part, strict=True)) for part in parts]
    released = sum(part[3] for part in parts)
    cleaned = _typed(gate, rows) if undone else gate.clean(duck, fact, _landed(gate, rows), catalogue=gate.catalogue)
    path = work_folder(lake, "gate") / f"{fact.name}-{job.batch}.parquet"
    write_candidate(duck, fact, cleaned, catalogue=gate.catalogue, policy=gate.policy, suite=gate.suite, path=path)
    # Quarantine as it will be; and nothing seen, or each row would be a repeat of itself. Identities are its own.
    there = tuple(file for file in aside.files if file not in touched)
    seen = replace(open_snapshot(lake, SEEN), files=())
    before = Published(open_snapshot(lake, trusted(fact.name)), replace(aside, files=(*there, *kept)), seen)
    judge_repeats(duck, fact, before)
    counted = count_batch(gate, job, f"(SELECT *, 1 AS lost FROM {rows})", [], 0)
    record = new_record(
        fact.name,
        job.batch,
        "released",
        **{name: counted[name] for name in ("trusted", "duplicates", "withdrawn", "first_ts", "last_ts")},
        quarantine=counted["quarantine"] - released,
        suite=gate.suite.digest,
        checks={**counted["checks"], "released": {"rows": released, "filter": chosen, "by_check": by_check}},
    )
    files = lay_out(gate, job, record, before, [], seen=False).files
    files["quarantine"] = ([*files["quarantine"][0], *kept], removal(touched))
    told = {"released": released, **{name: record[name] for name in ("trusted", "duplicates", "withdrawn")}}
    told["quarantine"] = counted["quarantine"]
    plan, detail = Plan(job.batch, record, files), {**told, "filter": chosen}
    carry_out(gate.settings, duck, fact.name, plan, step="release", rows=released, detail=detail)
    return [Correction(fact.name, job.batch, told)]


def _holds(duck: Duck, aside: Snapshot, file: DataFile, chosen: str) -> bool:
    return bool(duck.sql(f"SELECT 1 FROM {duck.scan(aside, _paths(aside, [file]))} WHERE {chosen} LIMIT 1"))


def _rest(gate: Gate, job: Job, aside: Snapshot, touched: list[DataFile], chosen: str) -> list[DataFile]:
    """The touched files' rows that stay, in files of their own."""
    others = f"SELECT * FROM {gate.duck.scan(aside, _paths(aside, touched))} WHERE NOT coalesce({chosen}, false)"
    stem = f"{gate.fact.name}-{job.batch:08d}-kept"
    return gate.duck.write(others, gate.settings.lake, QUARANTINE, stem, stats=("batch", "received_at"))


def _landed(gate: Gate, rows: str) -> str:
    """The rows as they lay in landing, out of their content."""
    absent: dict[str, Any] = {"source": "NULL", "lost": "1", "landed": "0"}
    own = {"agent", "boot", "seq", "idx", "received_at"}
    columns = (
        f'{absent[name]} AS "{name}"'
        if name in absent
        else f'"{name}"'
        if name in own
        else f'{_text(name)} AS "{name}"'
        for name in landing(gate.fact.name).schema.names
    )
    return f"(SELECT {', '.join(columns)} FROM {rows})"


def _typed(gate: Gate, rows: str) -> str:
    """The rows with the values that their content holds, in the form of cleaned ones."""
    types = {column.name: duck_type(column.type) for column in trusted(gate.fact.name).schema}
    columns = ", ".join(f'CAST({_text(one.name)} AS {types[one.name]}) AS "{one.name}"' for one in gate.fact.columns)
    return (
        f"SELECT {IDENTITY}, {_text('row_key')} AS row_key, received_at, CAST(NULL AS VARCHAR) AS source, {columns}, "
        "CAST(NULL AS VARCHAR) AS _problem, CAST(NULL AS VARCHAR) AS _reason, CAST(content AS JSON) AS _texts, "
        f"CAST(0 AS TINYINT) AS _rounded, false AS _truncated_ts, false AS _converted_unit "
        f"FROM (SELECT * RENAME (ts AS _kept_ts, site AS _kept_site) FROM {rows})"
    )


def _text(name: str) -> str:
    return f"json_extract_string(content, '$.\"{name}\"')"


def _paths(source: Snapshot, files: list[DataFile]) -> list[str]:
    return [str(source.root / file.path) for file in files]
