"""Undo: the rows of a bad batch leave trusted and lie in quarantine, from where they may be released again.

They count there, under the check `undone`. The same record sent again stays a duplicate; the same natural key in a new
record is news, since mending a source and sending its log again is what an undo is for.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Final

from lake.deletions import expired_days, read_deletions
from lake.delta import open_snapshot
from lake.duck import text_literal
from lake.errors import LakeError
from lake.expiry import closed_days
from lake.facts import Fact
from lake.tables import BATCHES, DELETIONS, QUARANTINE, trusted
from lake.times import iso, utc_now
from quality.candidate import IDENTITY, typed_content
from quality.correct import Correction, carry_out, correcting, new_record, write_record
from quality.plan import Plan
from quality.withdraw import CHOSEN, choose, chosen_days, rewrite_trusted, scan_of, write_seen

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.settings import Settings

CHECK: Final = "undone"


def undo_batch(settings: Settings, duck: Duck, fact_name: str, batch: int, *, reason: str) -> Correction:
    """Take what is left of a batch's rows out of trusted; nothing is done (batch 0) when nothing is left.

    `rows` counts trusted, and `stayed`: late rows of days that have expired, whose cells can't be made anew.
    Errors: LakeError for a batch that was never judged, or without a reason; DefinitionError for an unknown fact.
    """
    if not reason.strip():
        raise LakeError("An undo needs a reason.", todo="Say what was wrong with the batch, with --reason.")
    lake = settings.lake
    with correcting(settings, duck, fact_name) as (fact, number):
        known = duck.sql(
            f"SELECT verdict FROM {duck.scan(open_snapshot(lake, BATCHES))} "
            f"WHERE fact = {text_literal(fact_name)} AND batch = {batch}"
        )
        if not known:
            raise LakeError(
                f"There is no batch {batch} of {fact_name}.",
                where=str(lake),
                todo=f"Batches 1 to {number - 1} were judged; `fleetcube sql` on trusted rows shows `batch`.",
            )
        source = open_snapshot(lake, trusted(fact_name))
        maybe = [file for file in source.files if file.may_hold("batch", batch, batch)]
        # Cells of expired days can't be made anew, so what they count must stay where it counts.
        deletions = read_deletions(duck, open_snapshot(lake, DELETIONS), fact=fact_name)
        gone = expired_days(deletions) | closed_days(deletions)
        listed = ", ".join(f"DATE '{day}'" for day in sorted(gone))
        lasting = f"day IN ({listed})" if gone else "false"
        [(stay,)] = duck.sql(f"SELECT count(*) FROM {scan_of(duck, source, maybe)} WHERE batch = {batch} AND {lasting}")
        touched = choose(duck, source, f"batch = {batch} AND NOT {lasting}", maybe)
        if not touched:
            return Correction(fact_name, 0, {"trusted": 0, "stayed": stay})
        days = chosen_days(duck)
        count = sum(day["rows"] for day in days)
        told = f"batch {batch} was undone: {reason}"
        select = _kept_aside(fact, number, told, scan_of(duck, source, touched))
        stem = f"{fact_name}-{number:08d}"
        aside = duck.write(select, lake, QUARANTINE, stem, stats=("batch", "received_at"))
        checks = {"undone": {"batch": batch, "reason": reason}, "withdrawn": days}
        record = new_record(fact_name, number, CHECK, quarantine=count, withdrawn=count, checks=checks)
        files = {
            "quarantine": (aside, []),
            "seen": (write_seen(duck, lake, fact_name, number), []),
            "trusted": rewrite_trusted(duck, lake, fact, number, touched),
            "batches": (write_record(duck, lake, record), []),
        }
        rows = {"trusted": count, "stayed": stay}
        detail = {"undone": batch, "reason": reason, "stayed": stay, "days": [day["day"] for day in days]}
        plan = Plan(number, record, files)
        carry_out(settings, duck, fact_name, plan, step="undo", rows=count, detail=detail)
        return Correction(fact_name, number, rows, tuple(date.fromisoformat(day["day"]) for day in days))


def _kept_aside(fact: Fact, number: int, reason: str, rows: str) -> str:
    """SQL of the undone rows as quarantine keeps them; they are kept from today on."""
    site = "site" if any(column.name == "site" for column in fact.columns) else "CAST(NULL AS VARCHAR)"
    return (
        f"SELECT {text_literal(fact.name)} AS fact, {number} AS batch, {IDENTITY}, ts, CAST(ts AS DATE) AS day, "
        f"{site} AS site, '{CHECK}' AS \"check\", {text_literal(reason)} AS reason, {typed_content(fact)} AS content, "
        f"TIMESTAMPTZ '{iso(utc_now())}' AS received_at "
        f"FROM {rows} SEMI JOIN {CHOSEN} USING ({IDENTITY})"
    )
