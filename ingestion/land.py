"""The one way into landing: a numbered batch of rows, committed once, whatever is killed on the way.

Order of a batch, under the lease of its landing table: intent file (number, exact members), Parquet files named by the
number, one Delta commit whose `land` is the number and whose `received` is the running total of rows received. A batch
whose number the log does not show never was; the next one removes its left-over files and takes the same number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lake.delta import DataFile, Snapshot, commit, open_snapshot
from lake.duck import Duck, text_literal
from lake.faults import faultpoint
from lake.intents import clear_intent, read_intents, write_intent
from lake.lease import lease
from lake.places import address, is_remote
from lake.tables import TableRef, landing

COMPONENT: Final = "land"
_ABSENT: Final = {"boot": "''", "idx": "0", "lost": "1", "reading": "'{}'"}


@dataclass(frozen=True)
class Member:
    """What a batch is made of: a segment, a file, a simulated day; `digest` is that of its content."""

    name: str
    digest: str


@dataclass(frozen=True)
class Landed:
    """A committed landing batch: its rows, what they count for in `received`, and rows by problem (gaps, malformed)."""

    fact: str
    batch: int
    rows: int
    received: int
    problems: Mapping[str, int] = field(default_factory=dict)


def landing_select(fact: str, columns: Mapping[str, str], source: str) -> str:
    """SELECT of a fact's landing columns from the SQL relation `source`.

    `columns` gives a SQL expression by column; the others are absent (NULL; `lost` 1, `idx` 0, `boot` and `reading`
    empty). A name that landing does not have is a programmer's error.
    """
    names = [name for name in landing(fact).schema.names if name != "landed"]
    unknown = set(columns) - set(names)
    assert not unknown, f"landing/{fact} has no column {sorted(unknown)}"
    listed = (f'{columns.get(name, _ABSENT.get(name, "NULL"))} AS "{name}"' for name in names)
    return f"SELECT {', '.join(listed)} FROM {source}"


def land_batch(
    duck: Duck,
    lake: Path,
    fact: str,
    selects: Iterable[str],
    *,
    members: Sequence[Member],
    txns: Mapping[str, int] | None = None,
) -> Landed | None:
    """Land the rows of `selects` (made by `landing_select`; a file each) as one batch; None if there are no rows.

    `txns` are further transaction numbers of the commit, by which the caller will know that its members have landed.
    Errors: LakeError if another process lands into the same fact, or if one of `txns` has been committed before.
    """
    ref = landing(fact)
    with lease(lake, ref.key):
        snapshot = open_snapshot(lake, ref)
        _settle(lake, ref, snapshot)
        number = (snapshot.txn("land") or 0) + 1
        told = [{"name": member.name, "digest": member.digest} for member in members]
        write_intent(lake, COMPONENT, fact, {"batch": number, "members": told, "txns": dict(txns or {})})
        faultpoint("lander.intent.after")
        files: list[DataFile] = []
        for part, select in enumerate(selects):
            rows = f"SELECT *, {number} AS landed FROM ({select})"
            files += duck.write(rows, lake, ref, f"{_stem(number)}{part:04d}", stats=("landed", "received_at"))
        faultpoint("lander.parquet.after")
        if not files:
            clear_intent(lake, COMPONENT, fact)
            return None
        landed = _counted(duck, fact, number, [ref.path(lake) / file.path for file in files])
        received = (snapshot.txn("received") or 0) + landed.received
        faultpoint("lander.commit.before")
        commit(lake, ref, snapshot, adds=files, txns={"land": number, "received": received, **(txns or {})})
        faultpoint("lander.commit.after")
        clear_intent(lake, COMPONENT, fact)
        return landed


def _stem(number: int) -> str:
    return f"{number:010d}-"


def _settle(lake: Path, ref: TableRef, snapshot: Snapshot) -> None:
    """Close an intent that a killed process left: if the log shows its number it is done, else it never was."""
    intent = read_intents(lake, COMPONENT).get(ref.name)
    if intent is None:
        return
    number = int(intent["batch"])
    # In an object store no name is used twice, so what is left over is in nobody's way; `vacuum` has it.
    if (snapshot.txn("land") or 0) < number and not is_remote(lake):
        for path in ref.path(lake).glob(f"*{_stem(number)}*.parquet"):
            path.unlink()
    clear_intent(lake, COMPONENT, ref.name)


def _counted(duck: Duck, fact: str, number: int, paths: Sequence[Path]) -> Landed:
    """What the written files hold, read back from them: the numbers that the commit will state."""
    listed = ", ".join(text_literal(address(path)) for path in paths)
    found = duck.sql(
        f"SELECT problem, count(*), sum(lost)::BIGINT FROM read_parquet([{listed}]) GROUP BY problem ORDER BY problem"
    )
    problems = {name: rows for name, rows, _ in found if name is not None}
    return Landed(fact, number, sum(row[1] for row in found), sum(row[2] for row in found), problems)
