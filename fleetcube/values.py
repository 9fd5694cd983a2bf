"""Results of steps as plain values, one JSON object each: for programs, as `--format json` prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetcube.results import batch_text, build_text, verdict_place

if TYPE_CHECKING:
    from cubes.build import BuildResult
    from lake.settings import Settings
    from quality.gate import BatchResult


def batch_values(settings: Settings, result: BatchResult) -> dict[str, Any]:
    """A judged batch: its accounts, its line of text, and the page of a verdict that is blocked or warned."""
    values = {name: value for name, value in vars(result).items() if name not in ("checks", "reasons")}
    page = verdict_place(settings, result) if result.verdict in ("warned", "blocked") else None
    return {**values, "text": batch_text(result), "page": page}


def build_values(result: BuildResult) -> dict[str, Any]:
    """A build, with its line of text."""
    names = ("cube", "kind", "build", "watermark_from", "watermark_to", "rows", "cells", "seconds")
    return {**{name: getattr(result, name) for name in names}, "text": build_text(result)}
