"""Accounts: what became of every received row. received = duplicates + trusted + quarantine + gaps + pending + blocked.

`accounts` adds up what the gate recorded, batch by batch, so retention lowers nothing; `recount` counts the tables
themselves. Each can be wrong without the other, and that is what makes comparing them a check.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lake.deletions import deleted_rows
from lake.delta import Snapshot, open_snapshot
from lake.duck import Duck, text_literal
from lake.facts import load_facts
from lake.tables import BATCHES, GAPS, QUARANTINE, landing, trusted

FIELDS: Final = ("received", "duplicates", "trusted", "quarantine", "gaps", "pending", "blocked")
Accounts = dict[str, dict[str, int]]


def accounts(lake: Path, duck: Duck) -> Accounts:
    """{fact: {received, duplicates, trusted, quarantine, gaps, pending, blocked}} from commit numbers and `batches`.

    A row withdrawn from trusted by a later conflict is counted where it lies now, in quarantine.
    """
    rows = duck.sql(
        "SELECT fact, sum(received)::BIGINT, sum(duplicates)::BIGINT, sum(trusted - withdrawn)::BIGINT, "
        "sum(quarantine)::BIGINT, sum(gaps)::BIGINT, sum(blocked)::BIGINT "
        f"FROM {duck.scan(open_snapshot(lake, BATCHES))} GROUP BY fact"
    )
    judged = {row[0]: row[1:] for row in rows}
    found: Accounts = {}
    for fact in load_facts():
        received = open_snapshot(lake, landing(fact)).txn("received") or 0
        settled, duplicates, good, aside, gaps, blocked = judged.get(fact, (0, 0, 0, 0, 0, 0))
        figures = (received, duplicates, good, aside, gaps, received - settled, blocked)
        found[fact] = dict(zip(FIELDS, figures, strict=True))
    return found


def recount(lake: Path, duck: Duck) -> Accounts:
    """The same figures by counting rows: trusted, quarantine, gaps and landing as they lie there.

    What retention deleted is counted by its records. Duplicates are what landing holds beyond the rest; blocked rows
    are counted in landing by their ranges.
    """
    gone = deleted_rows(lake, duck)
    aside, gaps = open_snapshot(lake, QUARANTINE), open_snapshot(lake, GAPS)
    found: Accounts = {}
    for fact in load_facts():
        name = text_literal(fact)
        batches = f"(SELECT * FROM {duck.scan(open_snapshot(lake, BATCHES))} WHERE fact = {name})"
        source = open_snapshot(lake, landing(fact))
        [(last,)] = duck.sql(f"SELECT coalesce(max(landed_to), 0) FROM {batches}")
        ranges = f"(SELECT landed_from, landed_to FROM {batches} GROUP BY ALL HAVING sum(blocked) > 0)"
        good = open_snapshot(lake, trusted(fact)).rows + gone.get(("trusted", fact), 0)
        kept = sum(file.rows for file in aside.files if file.partition.get("fact") == fact)
        kept += gone.get(("quarantine", fact), 0)
        [(lost,)] = duck.sql(f"SELECT coalesce(sum(rows), 0)::BIGINT FROM {duck.scan(gaps)} WHERE fact = {name}")
        received = _lost(duck, source, "true") + gone.get(("landing", fact), 0)
        pending = _lost(duck, source, f"landed > {last}")
        blocked = _lost(
            duck, source, f"EXISTS (SELECT 1 FROM {ranges} AS b WHERE landed BETWEEN b.landed_from AND b.landed_to)"
        )
        duplicates = received - good - kept - lost - pending - blocked
        figures = (received, duplicates, good, kept, lost, pending, blocked)
        found[fact] = dict(zip(FIELDS, figures, strict=True))
    return found


def unbalanced(lake: Path, duck: Duck) -> list[str]:
    """What does not add up, in words: the identity itself, and accounts against recount; empty when all is well."""
    return differences(accounts(lake, duck), recount(lake, duck))


def differences(told: Accounts, counted: Accounts) -> list[str]:
    """The same of accounts and of a recount that were read one after the other."""
    problems = []
    for fact, figures in told.items():
        rest = sum(figures[name] for name in FIELDS[1:])
        if rest != figures["received"]:
            problems.append(f"{fact}: {figures['received']} rows received, but {rest} are accounted for")
        problems += [
            f"{fact}: {name} is {figures[name]} by the records, {counted[fact][name]} by counting"
            for name in FIELDS
            if figures[name] != counted[fact][name]
        ]
        problems += [f"{fact}: {name} is below zero" for name in FIELDS if figures[name] < 0]
    return problems


def _lost(duck: Duck, source: Snapshot, condition: str) -> int:
    """Received rows of landing under a condition; a gap counts the numbers that it stands for."""
    [(rows,)] = duck.sql(f"SELECT coalesce(sum(lost), 0)::BIGINT FROM {duck.scan(source)} WHERE {condition}")
    return int(rows)
