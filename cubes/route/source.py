"""What a plan reads: cells of whole buckets and rows of edges and tail, as relations with the fact's column names.

In a cell's relation `ts` is the start of its bucket and dimensions have the fact's types, so one expression serves
both. Files are chosen here: by grain and segment for cells, by day and batch for rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp

from cubes.histograms import BESIDE, COUNTS
from cubes.measures import quoted
from cubes.route.aliases import aliased
from cubes.route.beside import inputs_of, is_kept, with_derived
from cubes.route.policy import barred
from cubes.route.span import Window, moment
from cubes.route.view import in_days
from lake.facts import duck_type
from lake.times import GRAINS, iso

if TYPE_CHECKING:
    from cubes.route.statement import Block, Piece
    from cubes.route.tile import Plan
    from cubes.route.view import FactState, View
    from lake.delta import DataFile

_ALWAYS = ("cuboid", "bucket", "rows", "sketch", "slot", "n")


@dataclass(frozen=True)
class Source:
    """A relation in brackets; `cells` tells partial cells from rows; `slots` has a relation per sketched column."""

    sql: str
    cells: bool
    slots: Mapping[str, str] = field(default_factory=dict)


def sources(plan: Plan, view: View) -> list[Source]:
    """The relations that together hold the block's range, each moment once."""
    found = []
    alike: dict[tuple[str, int], list[Piece]] = {}
    for piece in plan.pieces:
        alike.setdefault((piece.grain, piece.cuboid), []).append(piece)
    for pieces in alike.values():
        found.append(_cells(plan, pieces, view))
    state = view.fact(plan.block.fact)
    columns = _fact_columns(plan.block)
    if plan.edges:
        found.append(Source(rows_sql(state, plan.edges, view, columns), cells=False))
    if plan.tail:
        found.append(Source(rows_sql(state, plan.tail, view, columns, plan.cube.watermark), cells=False))
    return found


def rows_sql(
    state: FactState, windows: Sequence[Window], view: View, columns: Collection[str], newer_than: int | None = None
) -> str:
    """These columns (at least) of trusted rows of some ranges, in brackets; only of batches after `newer_than`.

    Every column of a scan costs planning time, so only those are read that the statement can mean.
    """
    batch = None if newer_than is None else newer_than + 1

    def keep(file: DataFile) -> bool:
        return file.may_hold("batch", at_least=batch) and any(in_days(*_days(window), file) for window in windows)

    name = state.fact.name
    needed = {"ts", *columns, *inputs_of(name, columns, view)}
    wanted = needed if batch is None else {"batch", *needed}
    scan = view.duck.scan(state.trusted, state.trusted.paths(keep), wanted)
    conditions = [_ranges("ts", windows), "" if batch is None else f"batch >= {batch}"]
    where = " AND ".join(one for one in conditions if one)
    found = with_derived(f"(SELECT * FROM {scan}{f' WHERE {where}' if where else ''})", name, columns, view)
    return barred(aliased(found, needed & _texts(state), view), name, view)


def _cells(plan: Plan, pieces: Sequence[Piece], view: View) -> Source:
    cube, snapshot = plan.cube.cube, plan.cube.snapshot
    grain, cuboid = pieces[0].grain, pieces[0].cuboid
    segments = [_segments(grain, piece.window) for piece in pieces]

    def keep(file: DataFile) -> bool:
        segment = file.partition["segment"] or ""
        inside = any((a is None or segment >= a) and (b is None or segment <= b) for a, b in segments)
        return file.partition["grain"] == grain and inside and file.may_hold("cuboid", cuboid, cuboid)

    fact = view.fact(cube.fact).fact
    derived = view.derived(cube.fact)
    own = [name for name in cube.kept(cuboid) if name not in derived or is_kept(derived[name], plan.cube, cuboid)]
    types = {name: derived[name].type if name in derived else fact.column(name).type for name in own}
    kinds = {name: duck_type(kind) for name, kind in types.items()}
    used = _cell_columns(plan)
    # Dimensions that this cuboid doesn't hold, or not as their lookup says now, are looked up by its keys.
    joined = [name for name in derived if name in used and name not in own]
    used |= inputs_of(cube.fact, joined, view)
    scan = view.duck.scan(snapshot, snapshot.paths(keep), {*used, *_ALWAYS})
    dims = "".join(
        f", {quoted(name)}" if kind == "VARCHAR" else f", CAST({quoted(name)} AS {kind}) AS {quoted(name)}"
        for name, kind in kinds.items()
        if name in used
    )
    states = "".join(f", {quoted(state.name)}" for state in cube.states if state.name in used)
    ranges = _ranges("bucket", [piece.window for piece in pieces])
    where = f"cuboid = {cuboid}{f' AND {ranges}' if ranges else ''}"
    renamed = used & set(own) & _texts(view.fact(cube.fact))

    def finished(relation: str) -> str:
        return barred(aliased(with_derived(relation, cube.fact, joined, view), renamed, view), cube.fact, view)

    slots = {
        column: finished(f"(SELECT bucket AS ts{dims}, slot, n FROM {scan} WHERE {where} AND sketch = '{column}')")
        for column in sorted(plan.block.sketches)
    }
    cells = f"(SELECT bucket AS ts{dims}{states}, rows FROM {scan} WHERE {where} AND sketch IS NULL)"
    return Source(finished(cells), cells=True, slots=slots)


def _texts(state: FactState) -> set[str]:
    """The fact's own text dimensions: those that may have aliases."""
    return {column.name for column in state.fact.dimensions if column.type == "string"}


def _cell_columns(plan: Plan) -> frozenset[str]:
    """The columns of cells that the block reads."""
    nodes = [*_conditions(plan.block), *(part.cell for part in plan.block.parts)]
    return frozenset({*_named(nodes), *plan.kept.values(), "sum_interval_s"})


def _fact_columns(block: Block) -> frozenset[str]:
    """The columns of the fact's rows that the block reads; interval_s is for the receipt."""
    nodes = [*_conditions(block), *(part.row for part in block.parts)]
    beside = BESIDE if COUNTS in block.sketched else ()
    return frozenset({*_named(nodes), *block.sketched, *beside, "interval_s"})


def _conditions(block: Block) -> list[exp.Expr]:
    joined = [join.args.get("on") for join in block.beside[1:]]
    sketched = (one for term in block.terms for one in (term.quantile, term.distinct) if one)
    conditions = [block.where, *joined, *(one.condition for one in sketched)]
    return [*block.keys.values(), *(node for node in conditions if node is not None)]


def _named(nodes: Iterable[exp.Expr]) -> Iterator[str]:
    return (column.name for node in nodes for column in node.find_all(exp.Column))


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
