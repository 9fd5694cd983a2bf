"""Forecasts, advice and changes of cubes as text for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cubes.plan.changes import compare

if TYPE_CHECKING:
    from cubes.model import Cube
    from cubes.plan.advise import Advice, Proposal
    from cubes.plan.forecast import Forecast
    from cubes.plan.versions import Version

_WAYS = {
    "cells": "from the cells of the old version; no row is read",
    "cells and rows": "from the cells of the old version; rows are read for the new states only",
    "rows": "anew from all trusted rows",
}


def forecast_text(found: Forecast) -> str:
    """A line for each cuboid and grain, then the whole; seconds are an estimate."""
    cube = found.cube
    lines = [
        f"cube {cube.name} over {found.rows:,} trusted rows of {cube.fact} ({found.raw_bytes:,} bytes)",
        f"  {'cells':>12} {'slots, hashes':>14} {'bytes':>14} {'seconds ~':>10}  grain  cuboid",
    ]
    for part in sorted(found.parts, key=lambda one: (cube.grains.index(one.grain), one.cuboid.bit_count(), one.cuboid)):
        numbers = f"  {part.cells:>12,} {part.slots:>14,} {part.size_bytes:>14,} {part.seconds:>10.2f}"
        base = " (base)" if part.cuboid == cube.base else ""
        lines.append(f"{numbers}  {part.grain:<5}  {', '.join(cube.kept(part.cuboid)) or '(total)'}{base}")
    cells, slots = sum(part.cells for part in found.parts), sum(part.slots for part in found.parts)
    lines.append(f"  {cells:>12,} {slots:>14,} {found.size_bytes:>14,} {found.seconds:>10.2f}  in all, with the scan")
    budget = "no budget" if cube.budget_bytes is None else f"budget {cube.budget_bytes}"
    lines.append(f"  {found.bytes_per_raw_byte:.3f} bytes to a byte of trusted rows ({budget}); seconds are estimated")
    return "\n".join(lines)


def advice_text(cube: Cube, advice: Advice) -> str:
    """Additions, drops, what they gain, and what no cuboid can answer."""
    if not advice.queries and not advice.unmet:
        return f"No queries on {cube.fact} are logged yet: ask some, then ask again."
    lines = [f"cube {cube.name}: {advice.queries:,} logged queries that it could answer"]
    lines += [f"  add   {_proposal(one)}: saves {one.rows_saved:,.0f} rows a query" for one in advice.adds]
    lines += [f"  drop  {_proposal(one)}: saved {one.rows_saved:,.0f} rows a query" for one in advice.drops]
    if not advice.adds and not advice.drops:
        lines.append("  nothing to add or drop")
    lines.append(f"  rows read a query: {advice.rows_now:,.0f} now, {advice.rows_then:,.0f} then")
    lines.append(f"  bytes: {advice.size_now:,} now, {advice.size_then:,} then")
    lines += [f"  not answered for want of {what}: {count:,} queries" for what, count in advice.unmet]
    return "\n".join(lines)


def diff_text(cube: Cube, built: bool, older: Sequence[Version]) -> str:
    """What changed since the newest old version, and how the new cells are made; then every version there is."""
    lines = [f"cube {cube.name}, definition {cube.digest}: {'built' if built else 'not built'}"]
    if older and not built:
        change = compare(older[0].cube, cube)
        lines.append(f"against version {older[0].cube.digest}, which answers until this one is built:")
        for kind, names in change.added.items():
            lines += [f"  + {kind}: {name}" for name in names]
            lines += [f"  - {kind}: {name}" for name in change.gone[kind]]
        why = f" ({change.reason})" if change.reason else ""
        lines.append(f"It will be built {_WAYS[change.way]}{why}.")
    for version in older:
        size = version.size_bytes / 2**20
        lines.append(f"old version {version.cube.digest}: {size:.1f} MiB, up to batch {version.watermark}")
    if older and built:
        lines.append(f"Drop old versions by `fleetcube cube drop {cube.name} --old --apply`.")
    return "\n".join(lines)


def _proposal(one: Proposal) -> str:
    return f"[{', '.join(one.dimensions)}] {one.size_bytes:,} bytes"
