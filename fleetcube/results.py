"""Results of steps as one line of text each, for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cubes.build import BuildResult
    from cubes.verify import VerifyReport
    from lake.retention import PlanRow
    from lake.settings import Settings
    from quality.gate import BatchResult


def batch_text(result: BatchResult) -> str:
    """A judged batch: verdict, and where its rows went; failed expectations by name, and what most bad rows failed."""
    from quality.reasons import mostly

    parts = ("trusted", "quarantine", "duplicates", "gaps", "blocked", "withdrawn")
    counts = ", ".join(f"{getattr(result, name):,} {name}" for name in parts if getattr(result, name))
    failed = [check["name"] for check in result.checks.get("expectations", []) if not check["success"]]
    if failed and result.verdict != "passed" and (most := mostly(result.checks)):
        failed.append(most)
    # What fails without blocking is a remark: old logs, for one, never hold a new event.
    why = f" ({'failed' if result.verdict == 'blocked' else 'remarks'}: {', '.join(failed)})" if failed else ""
    return f"{result.fact} batch {result.batch} {result.verdict}: {result.received:,} received; {counts}{why}"


def verdict_place(settings: Settings, result: BatchResult) -> str:
    """Where the page of a verdict is: an address, if the setting verdict_link says how pages are served, or a path."""
    from quality.verdict_page import page_place

    return page_place(settings.lake, result.fact, result.batch, settings.verdict_link)


def build_text(result: BuildResult) -> str:
    """A build: what was read and written, or that nothing was new."""
    if result.kind == "none":
        return f"{result.cube}: nothing new since batch {result.watermark_to}."
    days = f", {len(result.refreshed)} days made anew" if result.refreshed else ""
    return (
        f"{result.cube}: build {result.build} of {result.rows:,} rows, {result.cells:,} cells written, "
        f"up to batch {result.watermark_to}{days} [{result.seconds:.1f} s]"
    )


def verify_text(report: VerifyReport) -> str:
    """A verification: what was compared, then each difference that is shown."""
    head = (
        f"{report.cube}: {report.cells:,} cells and {report.slots:,} slots recomputed from trusted version "
        f"{report.source}: {'all equal' if report.holds else f'{report.differences:,} DIFFER'} [{report.seconds:.1f} s]"
    )
    return "\n".join([head, *(f"  {text}" for text in report.shown)])


def retain_text(rows: Sequence[PlanRow], kept: Sequence[str], *, applied: bool) -> str:
    """A retention plan, or what became of it: a line for each part, and below it what it waits for or why it stayed."""
    lines = []
    for row, why in zip(rows, kept, strict=True):
        size = row.size_bytes / 2**20
        lines.append(f"{row.layer:<10} {row.subject:<34} {row.rows:>12,} rows  {size:>9.1f} MiB  {row.why}")
        if why:
            lines.append(f"{'':<10} KEPT: {why}")
        elif row.first and not applied:
            lines.append(f"{'':<10} first: {row.first}")
    stay = sum(bool(why) for why in kept)
    if applied:
        lines.append(f"{len(rows) - stay} parts are deleted, {stay} kept. `fleetcube vacuum --apply` frees the space.")
    else:
        lines.append(f"{len(rows) - stay} parts would go. This is a plan; --apply carries it out.")
    return "\n".join(lines)
