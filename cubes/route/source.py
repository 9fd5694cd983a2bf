"""What a plan reads: cells of whole buckets and rows of edges and tail, as relations with the fact's column names.

In a cell's relation `ts` is the start of its bucket and dimensions have the fact's types, so one expression serves
both. Files are chosen here: by grain and segment for cells, by day and batch for rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp

from cubes.measures import quoted
from cubes.route.span import Window, moment
from cubes.route.view import in_days
from lake.facts import duck_type
from lake.times import GRAINS, iso

if TYPE_CHECKING:
    from cubes.route.statement import Piece
    from cubes.route.tile import Plan
    from cubes.route.view import FactState, View
    from lake.delta import DataFile


@dataclass(frozen=True)
class Source:
    """A relation in brackets; `cells` tells partial cells from rows; `slots` has a relation per sketched column."""

    sql: str
    cells: bool
    slots: Mapping[str, str] = field(default_factory=dict)


def sources(plan: Plan, view: View) -> list[Source]:
    """The relations that together hold the block's range, each moment once."""
    found = []
    by_grain: dict[str, list[Piece]] = {}
    for piece in plan.pieces:
        by_grain.setdefault(piece.grain, []).append(piece)
    for pieces in by_grain.values():
        found.append(_cells(plan, pieces, view))
    state = view.fact(plan.block.fact)
    if plan.edges:
        found.append(Source(rows_sql(state, plan.edges, view), cells=False))
    if plan.tail is not None:
        newer = f"batch > {plan.cube.watermark}"
        found.append(Source(rows_sql(state, [plan.tail], view, newer, plan.cube.watermark + 1), cells=False))
    return found


def rows_sql(state: FactState, windows: Sequence[Window], view: View, more: str = "", batch: int | None = None) -> str:
    """Trusted rows of some ranges (and with `more`, of batches from `batch` on), in brackets."""

    def keep(file: DataFile) -> bool:
        return file.may_hold("batch", at_least=batch) and any(in_days(*_days(window), file) for window in windows)

    scan = view.duck.scan(state.trusted, state.trusted.paths(keep))
    conditions = [_ranges("ts", windows), more]
    where = " AND ".join(one for one in conditions if one)
    return f"(SELECT * FROM {scan}{f' WHERE {where}' if where else ''})"


def _cells(plan: Plan, pieces: Sequence[Piece], view: View) -> Source:
    cube, snapshot = plan.cube.cube, plan.cube.snapshot
    grain, cuboid = pieces[0].grain, pieces[0].cuboid
    segments = [_segments(grain, piece.window) for piece in pieces]

    def keep(file: DataFile) -> bool:
        segment = file.partition["segment"] or ""
        inside = any((a is None or segment >= a) and (b is None or segment <= b) for a, b in segments)
        return file.partition["grain"] == grain and inside and file.may_hold("cuboid", cuboid, cuboid)

    scan = view.duck.scan(snapshot, snapshot.paths(keep))
    fact = view.fact(cube.fact).fact
    kinds = {name: duck_type(fact.column(name).type) for name in cube.kept(cuboid)}
    used = _used(plan)
    dims = "".join(
        f", {quoted(name)}" if kind == "VARCHAR" else f", CAST({quoted(name)} AS {kind}) AS {quoted(name)}"
        for name, kind in kinds.items()
        if name in used
    )
    states = "".join(f", {quoted(state.name)}" for state in cube.states if state.name in used)
    ranges = _ranges("bucket", [piece.window for piece in pieces])
    where = f"cuboid = {cuboid}{f' AND {ranges}' if ranges else ''}"
    slots = {
        column: f"(SELECT bucket AS ts{dims}, slot, n FROM {scan} WHERE {where} AND sketch = '{column}')"
        for column in sorted(plan.block.sketches)
    }
    cells = f"(SELECT bucket AS ts{dims}{states}, rows FROM {scan} WHERE {where} AND sketch IS NULL)"
    return Source(cells, cells=True, slots=slots)


def _used(plan: Plan) -> frozenset[str]:
    """The columns of cells that the block reads. Every column named costs planning time."""
    block = plan.block
    nodes = [*block.keys.values(), *(part.cell for part in block.parts)]
    nodes += [node for node in (block.where, *(t.quantile.condition for t in block.terms if t.quantile)) if node]
    names = {column.name for node in nodes for column in node.find_all(exp.Column)}
    return frozenset({*names, *plan.kept.values(), "sum_interval_s"})


def _ranges(column: str, windows: Sequence[Window]) -> str:
    """A predicate for any of the ranges; empty when one is everything."""
    found = []
    for window in windows:
        ends = [f"{column} >= TIMESTAMPTZ '{iso(moment(window.start))}'"] if window.start is not None else []
        ends += [f"{column} < TIMESTAMPTZ '{iso(moment(window.end))}'"] if window.end is not None else []
        if not ends:
            return ""
        found.append(" AND ".join(ends))
    return f"({' OR '.join(found)})"


def _segments(grain: str, window: Window) -> tuple[str | None, str | None]:
    """First and last segment of a run of buckets."""
    name = GRAINS[grain].segment_of
    first = None if window.start is None else name(moment(window.start))
    return first, None if window.end is None else name(moment(window.end - 1))


def _days(window: Window) -> tuple[str | None, str | None]:
    first = None if window.start is None else moment(window.start).date().isoformat()
    return first, None if window.end is None else moment(window.end - 1).date().isoformat()
