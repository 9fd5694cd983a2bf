"""Erasure: the content of one person's rows goes from landing, trusted and quarantine; that there were rows stays.

Each row leaves its identity and a count: landing keeps an empty row of problem `erased`, quarantine one of that check.
So the accounts add up as before, and the same record sent again is a repeat that stays away. Cubes make the touched
days anew at their next build; old versions' files go with `fleetcube vacuum`. Pages of the fact's verdicts quote bad
rows, so they go too. The record of the erasure holds a digest of what was asked for, not the person's name.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date
from typing import TYPE_CHECKING, Final

from lake.delta import DataFile, Snapshot, open_snapshot
from lake.duck import text_literal
from lake.errors import LakeError, QueryError, did_you_mean
from lake.expiry import complete_rows
from lake.facts import Fact, load_facts
from lake.holds import Hold, active_holds, holding
from lake.lease import lease
from lake.tables import QUARANTINE, landing, trusted
from lake.times import iso, utc_now
from quality.candidate import IDENTITY
from quality.correct import Correction, carry_out, correcting, new_record, write_record
from quality.plan import Plan
from quality.verdict_page import remove_pages
from quality.withdraw import CHOSEN, choose, chosen_days, removal, rewrite_trusted, scan_of, write_seen

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.settings import Settings

CHECK: Final = "erased"
_REASON: Final = "the row was erased on request"
_EQUAL: Final = re.compile(r"\s*(\w+)\s*=\s*'((?:[^']|'')+)'\s*", re.ASCII)
_KEPT: Final = ("agent", "boot", "seq", "idx", "received_at", "source", "lost", "landed")
Person = dict[str, str]  # column -> text


def parse_person(text: str) -> Person:
    """`column = 'text' [AND column = 'text' ...]` as a mapping; QueryError says what is wanted otherwise."""
    found: Person = {}
    for part in re.split(r"\bAND\b(?=(?:[^']*'[^']*')*[^']*$)", text, flags=re.IGNORECASE):
        match = _EQUAL.fullmatch(part)
        if match is None:
            raise QueryError(
                f"'{part.strip()}' doesn't name rows to erase.",
                todo="Write column = 'text', several joined by AND; columns of text only.",
                code="42601",
            )
        found[match[1]] = match[2].replace("''", "'")
    return found


def facts_with(person: Person) -> list[str]:
    """The facts that have all these columns as texts; QueryError where there are none."""
    found = [
        name
        for name, fact in load_facts().items()
        if set(person) <= {column.name for column in fact.columns if column.type == "string"}
    ]
    if not found:
        known = {column.name for fact in load_facts().values() for column in fact.columns if column.type == "string"}
        near = " ".join(did_you_mean(name, known) for name in person if name not in known)
        raise QueryError(f"No fact has {', '.join(person)} as columns of text.", todo=near, code="42703")
    return found


def erase(settings: Settings, duck: Duck, fact_name: str, person: Person, *, reason: str) -> Correction:
    """Erase the fact's rows of a person; nothing is done (batch 0) where there are none.

    `rows` of the result count landing, trusted and quarantine. Errors: LakeError when a legal hold covers a row, or
    the fact is judged or landed meanwhile.
    """
    lake = settings.lake
    with correcting(settings, duck, fact_name) as (fact, number), lease(lake, landing(fact_name).key):
        complete_rows(duck, lake, fact_name, ("landing",))
        source = open_snapshot(lake, trusted(fact_name))
        touched = choose(duck, source, _equal(person, '"{}"'))
        days = chosen_days(duck)
        _refuse_held(active_holds(lake, duck), fact_name, days)
        rows = {"trusted": sum(day["rows"] for day in days)}
        aside, rows["quarantine"] = _blank_kept(duck, open_snapshot(lake, QUARANTINE), fact, number, person)
        landed, rows["landing"] = _blank_landed(duck, open_snapshot(lake, landing(fact_name)), number, person)
        if not any(rows.values()):
            return Correction(fact_name, 0, rows)
        if rows["landing"] + rows["quarantine"] and (hold := holding(active_holds(lake, duck), fact_name)):
            raise _held(hold)
        detail = {**rows, "columns": sorted(person), "asked": _digest(person), "reason": reason}
        record = new_record(
            fact_name,
            number,
            CHECK,
            quarantine=rows["trusted"],
            withdrawn=rows["trusted"],
            checks={"erased": detail, "withdrawn": days},
        )
        files = {"landing": landed, "quarantine": aside, "batches": (write_record(duck, lake, record), [])}
        if touched:
            placed = duck.write(
                _placeholders(fact_name, number, CHOSEN),
                lake,
                QUARANTINE,
                f"{fact_name}-{number:08d}",
                stats=("batch", "received_at"),
            )
            files["quarantine"] = ([*aside[0], *placed], aside[1])
            files["seen"] = (write_seen(duck, lake, fact_name, number), [])
            files["trusted"] = rewrite_trusted(duck, lake, fact, number, touched)
        plan = Plan(number, record, files)
        remove_pages(lake, fact_name)
        carry_out(settings, duck, fact_name, plan, step="erase", rows=sum(rows.values()), detail=detail)
        return Correction(fact_name, number, rows, tuple(date.fromisoformat(day["day"]) for day in days))


def _blank_kept(
    duck: Duck, aside: Snapshot, fact: Fact, number: int, person: Person
) -> tuple[tuple[list[DataFile], list[DataFile]], int]:
    """Quarantine's files with the person's rows made empty, and how many these are."""
    typed = _equal(person, "json_extract_string(content, '$.\"{}\"')")
    where = f"\"check\" <> '{CHECK}' AND (({typed}) OR (\"check\" IN ('malformed', 'unknown_column') AND "
    where += f"({_named(person, 'content')})))"
    files = [file for file in aside.files if file.partition.get("fact") == fact.name]
    empty = dict.fromkeys(("ts", "day", "site"), "NULL")
    empty |= {"check": f"'{CHECK}'", "reason": f"'{_REASON}'", "content": "'{}'"}
    stem = f"{fact.name}-{number:08d}-blank"
    return _blank(duck, aside, files, where, empty=empty, stem=stem, stats=("batch", "received_at"))


def _blank_landed(
    duck: Duck, source: Snapshot, number: int, person: Person
) -> tuple[tuple[list[DataFile], list[DataFile]], int]:
    """Landing's files with the person's rows made empty: those that name the person or became rows that do."""
    same = " AND ".join(f"c.{name} = l.{name}" for name in IDENTITY.split(", "))
    where = (
        f"coalesce(problem, '') NOT IN ('{CHECK}', 'gap') AND (({_equal(person, chr(34) + '{}' + chr(34))}) "
        f"OR (problem IS NOT NULL AND ({_named(person, 'raw')})) "
        f"OR EXISTS (SELECT 1 FROM {CHOSEN} AS c WHERE {same}))"
    )
    empty = {name: "NULL" for name in source.ref.schema.names if name not in _KEPT}
    empty |= {"problem": f"'{CHECK}'", "reading": "'{}'"}
    stem = f"erase-{number:08d}"
    return _blank(duck, source, list(source.files), where, empty=empty, stem=stem, stats=("landed", "received_at"))


def _blank(
    duck: Duck,
    source: Snapshot,
    files: list[DataFile],
    where: str,
    *,
    empty: dict[str, str],
    stem: str,
    stats: tuple[str, ...],
) -> tuple[tuple[list[DataFile], list[DataFile]], int]:
    """Write the files that hold rows under `where` again, those rows with the values of `empty`."""
    count = 0
    touched = []
    for file in files:
        [(found,)] = duck.sql(f"SELECT count(*) FROM {scan_of(duck, source, [file])} AS l WHERE {where}")
        count += found
        touched += [file] if found else []
    if not touched:
        return ([], []), 0
    columns = ", ".join(
        f'CASE WHEN fc_hit THEN {empty[name]} ELSE "{name}" END AS "{name}"' if name in empty else f'"{name}"'
        for name in source.ref.schema.names
    )
    marked = f"SELECT *, coalesce({where}, false) AS fc_hit FROM {scan_of(duck, source, touched)} AS l"
    lake = source.root.parents[source.ref.key.count("/")]
    adds = duck.write(f"SELECT {columns} FROM ({marked})", lake, source.ref, stem, stats=stats)
    return (adds, removal(touched)), count


def _placeholders(fact: str, number: int, rows: str) -> str:
    """SQL of what stays of trusted rows: who sent them under which number."""
    return (
        f"SELECT {text_literal(fact)} AS fact, {number} AS batch, {IDENTITY}, NULL AS ts, NULL AS day, NULL AS site, "
        f"'{CHECK}' AS \"check\", '{_REASON}' AS reason, '{{}}' AS content, "
        f"TIMESTAMPTZ '{iso(utc_now())}' AS received_at FROM {rows}"
    )


def _equal(person: Person, column: str) -> str:
    return " AND ".join(f"{column.format(name)} = {text_literal(text)}" for name, text in person.items())


def _named(person: Person, column: str) -> str:
    """Whether a text that could not be split into columns has every value of the person in it."""
    return " AND ".join(f"contains({column}, {text_literal(text)})" for text in person.values())


def _digest(person: Person) -> str:
    told = "\n".join(f"{name}={text}" for name, text in sorted(person.items()))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _refuse_held(holds: list[Hold], fact: str, days: list[dict[str, str]]) -> None:
    for told in days:
        day = date.fromisoformat(told["day"])
        if hold := holding(holds, fact, day, day):
            raise _held(hold)


def _held(hold: Hold) -> LakeError:
    return LakeError(
        f"Rows of {hold.fact} are under {hold}.",
        todo=f"Lift it with `fleetcube hold remove {hold.hold}` when the matter allows, then erase.",
    )
