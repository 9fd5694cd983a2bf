"""Results of steps as one line of text each, for the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cubes.build import BuildResult
    from cubes.verify import VerifyReport
    from quality.gate import BatchResult


def batch_text(result: BatchResult) -> str:
    """A judged batch: verdict, and where its rows went; failed expectations by name."""
    parts = ("trusted", "quarantine", "duplicates", "gaps", "blocked", "withdrawn")
    counts = ", ".join(f"{getattr(result, name):,} {name}" for name in parts if getattr(result, name))
    failed = [check["name"] for check in result.checks.get("expectations", []) if not check["success"]]
    why = f" (failed: {', '.join(failed)})" if failed else ""
    return f"{result.fact} batch {result.batch} {result.verdict}: {result.received:,} received; {counts}{why}"


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
