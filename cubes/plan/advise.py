"""Which cuboids a cube should gain or lose, by what was asked of it: candidates from the log, sizes by forecast.

A query weighs half as much every `_HALF_LIFE`; a small uniform prior speaks for cuboids that nobody has asked yet. The
base is always kept; what the others may take in bytes is the definition's budget, or what is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Final

from cubes.cuboids import is_within
from cubes.measures import SKETCHED
from cubes.model import Cube, Sketch
from cubes.plan.choose import Query, View, choose, saved
from cubes.plan.forecast import Forecast, forecast
from cubes.plan.querylog import Asked, read_log
from lake import delta, tables

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.settings import Settings

_HALF_LIFE: Final = timedelta(days=14)
_PRIOR: Final = 0.01  # of the history's weight, shared by all candidates
_ASKED: Final = 16  # kinds of dimensions that become candidates, the weightiest first
_UNIONS: Final = 8  # of which pairs are joined to further candidates
_ENOUGH: Final = 20  # queries below which nothing is dropped


@dataclass(frozen=True)
class Proposal:
    """A cuboid to add or to drop: its bytes, and the rows of reading that it saves (or saved) per logged query."""

    dimensions: tuple[str, ...]
    size_bytes: int
    rows_saved: float


@dataclass(frozen=True)
class Advice:
    """What to change. `rows_now` and `rows_then` are rows read per logged query, `size_now` and `size_then` bytes.

    `unmet` says what no cuboid of this cube can answer, with the number of such queries.
    """

    queries: int
    adds: tuple[Proposal, ...]
    drops: tuple[Proposal, ...]
    rows_now: float
    rows_then: float
    size_now: int
    size_then: int
    unmet: tuple[tuple[str, int], ...]


def advise(settings: Settings, duck: Duck, cube: Cube, *, now: datetime, budget_bytes: int | None = None) -> Advice:
    """Additions and drops within `budget_bytes` for all cuboids (default: the definition's, else twice as now).

    Errors: LakeError when the fact has no trusted rows.
    """
    log = read_log(settings.lake, cube.fact)
    usable = [one for one in log if not _against(cube, one)]
    wide = with_cuboids(cube, _candidates(cube, usable, now))
    found = forecast(settings, duck, wide)
    sizes = _sizes(found)
    base = sizes.pop(cube.base)
    if budget_bytes is None:
        now_bytes = base + sum(sizes[cuboid] for cuboid in cube.cuboids if cuboid != cube.base)
        limit = cube.budget_bytes
        budget_bytes = 2 * now_bytes if limit is None else int(limit * found.raw_bytes)
    span_s = _span_s(settings, cube)
    history = _queries(usable, found, span_s, now)
    views = {cuboid: _view(cuboid, size, usable, found, span_s) for cuboid, size in sizes.items()}
    prior = _PRIOR * sum(query.weight for query in history) / max(1, len(views))
    wished = [Query(f"prior {cuboid}", prior, float(_rows(found, cube.base))) for cuboid in views]
    known = [_with_prior(cuboid, view, views, found) for cuboid, view in views.items()]
    room = max(0, budget_bytes - base)
    chosen = set(choose(known, [*history, *wished], room).names) if history else {str(one) for one in cube.cuboids}
    now_views = [views[cuboid] for cuboid in cube.cuboids if cuboid != cube.base]
    keep = _kept(chosen, views, history, cube, enough=len(usable) >= _ENOUGH)
    then = [view for cuboid, view in views.items() if cuboid in keep]
    total, weight = sum(one.weight * one.cost for one in history), sum(one.weight for one in history) or 1.0
    return Advice(
        queries=len(usable),
        adds=_proposals(cube, keep - set(cube.cuboids), then, history, weight),
        drops=_proposals(cube, set(cube.cuboids) - keep - {cube.base}, now_views, history, weight),
        rows_now=(total - saved(now_views, history)) / weight,
        rows_then=(total - saved(then, history)) / weight,
        size_now=base + sum(view.size_bytes for view in now_views),
        size_then=base + sum(view.size_bytes for view in then),
        unmet=_unmet(cube, log),
    )


def with_cuboids(cube: Cube, cuboids: Iterable[int]) -> Cube:
    """The cube with these cuboids and its base; distributions are kept where its measures say."""
    wanted = tuple(sorted({*cuboids, cube.base}))
    sketches = []
    for sketch in cube.sketches:
        left_out = cube.mask(_without(cube, sketch))
        kept = tuple(cuboid for cuboid in wanted if not cuboid & left_out)
        sketches += [replace(sketch, cuboids=kept)] if kept else []
    return replace(cube, cuboids=wanted, sketches=tuple(sketches), digest=f"{cube.digest}-wide")


def _without(cube: Cube, sketch: Sketch) -> set[str]:
    of = [one for one in cube.measures if one.function in SKETCHED and one.column == sketch.column]
    return set().union(*(one.without for one in of if (one.function == "quantiles") == (sketch.kind == "quantiles")))


def _against(cube: Cube, asked: Asked) -> str:
    """Why no cuboid of this cube could answer; empty when one could."""
    lacking = sorted(set(asked.dims) - set(cube.dimensions))
    if lacking:
        return f"dimension {', '.join(lacking)}"
    states = sorted(set(asked.states) - {state.name for state in cube.states})
    if states:
        return f"state {', '.join(states)}"
    slots = sorted(set(asked.sketches) - {sketch.name for sketch in cube.sketches})
    if slots:
        return f"distribution of {', '.join(slots)}"
    return "" if set(asked.grains) & set(cube.grains) else "a finer grain"


def _unmet(cube: Cube, log: Sequence[Asked]) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for asked in log:
        if reason := _against(cube, asked):
            counts[reason] = counts.get(reason, 0) + 1
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def _candidates(cube: Cube, log: Sequence[Asked], now: datetime) -> set[int]:
    """The cuboids of now, those that were asked for, and joins of pairs of them."""
    weights: dict[int, float] = {}
    # Values of different metrics are never added up: where the definition keeps metric everywhere, so do candidates.
    always = cube.base
    for cuboid in cube.cuboids:
        always &= cuboid
    always = always if "metric" in cube.kept(always) else 0
    for asked in log:
        mask = cube.mask(asked.dims) | (always & cube.mask(["metric"]) if always else 0)
        weights[mask] = weights.get(mask, 0.0) + _weight(asked, now)
    first = sorted(weights, key=lambda mask: (-weights[mask], mask))[:_ASKED]
    joined = {one | other for one, other in combinations(first[:_UNIONS], 2)}
    return {*cube.cuboids, *first, *joined}


def _queries(log: Sequence[Asked], found: Forecast, span_s: float, now: datetime) -> list[Query]:
    """Kinds of queries with their weights, and what they cost when asked of the base, or else of rows."""
    merged: dict[str, tuple[float, float]] = {}
    for asked in log:
        weight, _ = merged.get(_kind(asked), (0.0, 0.0))
        cost = _cost(found, found.cube.base, asked, span_s)
        if cost is None:  # distributions that the base doesn't keep come from rows
            cost = found.rows * _share(asked, span_s)
        merged[_kind(asked)] = (weight + _weight(asked, now), cost)
    return [Query(name, weight, cost) for name, (weight, cost) in sorted(merged.items())]


def _view(cuboid: int, size: int, log: Sequence[Asked], found: Forecast, span_s: float) -> View:
    costs = {}
    for asked in log:
        if is_within(found.cube.mask(asked.dims), cuboid):
            cost = _cost(found, cuboid, asked, span_s)
            if cost is not None:
                costs[_kind(asked)] = cost
    return View(str(cuboid), size, costs)


def _with_prior(cuboid: int, view: View, views: Mapping[int, View], found: Forecast) -> View:
    below = {f"prior {other}": float(_rows(found, cuboid)) for other in views if is_within(other, cuboid)}
    return replace(view, costs={**view.costs, **below})


def _cost(found: Forecast, cuboid: int, asked: Asked, span_s: float) -> float | None:
    """Rows read of a cuboid at the coarsest grain that fits, for the query's share of the time; None if it can't."""
    cube = found.cube
    share = _share(asked, span_s)
    sketches = [one for one in cube.sketches if one.name in asked.sketches]
    for grain in reversed(cube.grains):
        kept = all(grain in one.grains and cuboid in one.cuboids for one in sketches)
        if grain in asked.grains and kept:
            parts = [part for part in found.parts if (part.grain, part.cuboid) == (grain, cuboid)]
            return share * sum(part.rows if sketches else part.cells for part in parts)
    return None


def _kept(
    chosen: set[str], views: Mapping[int, View], history: Sequence[Query], cube: Cube, *, enough: bool
) -> set[int]:
    """The chosen cuboids within the number allowed; those of now that the log speaks against only where it is long."""
    keep = {cuboid for cuboid in views if str(cuboid) in chosen}
    whole = saved([views[cuboid] for cuboid in keep], history)
    for cuboid in sorted(keep, key=lambda one: (-views[one].size_bytes, one)):
        rest = [views[other] for other in keep if other != cuboid]
        if saved(rest, history) >= whole and (enough or cuboid not in cube.cuboids):
            keep.discard(cuboid)
    if not enough:
        keep |= {cuboid for cuboid in cube.cuboids if cuboid != cube.base}
    while len(keep) + 1 > cube.budget:
        keep.discard(min(sorted(keep), key=lambda one: _loss(one, keep, views, history)))
    return keep


def _loss(cuboid: int, keep: set[int], views: Mapping[int, View], history: Sequence[Query]) -> float:
    return saved([views[one] for one in keep], history) - saved([views[one] for one in keep - {cuboid}], history)


def _proposals(
    cube: Cube, cuboids: set[int], among: Sequence[View], history: Sequence[Query], weight: float
) -> tuple[Proposal, ...]:
    found = []
    for view in among:
        if int(view.name) in cuboids:
            rest = [other for other in among if other.name != view.name]
            gain = (saved(among, history) - saved(rest, history)) / weight
            found.append(Proposal(cube.kept(int(view.name)), view.size_bytes, gain))
    return tuple(sorted(found, key=lambda one: (-one.rows_saved, one.size_bytes, one.dimensions)))


def _share(asked: Asked, span_s: float) -> float:
    """The part of the fact's time that was asked for."""
    return min(1.0, asked.seconds / span_s) if asked.seconds else 1.0


def _kind(asked: Asked) -> str:
    return f"{' '.join(asked.dims)}|{' '.join(asked.sketches)}|{' '.join(asked.grains)}|{asked.seconds}"


def _weight(asked: Asked, now: datetime) -> float:
    age = max(timedelta(), now - datetime.fromisoformat(asked.at))
    return float(0.5 ** (age / _HALF_LIFE))


def _rows(found: Forecast, cuboid: int) -> int:
    return sum(part.cells for part in found.parts if part.cuboid == cuboid)


def _sizes(found: Forecast) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for part in found.parts:
        sizes[part.cuboid] = sizes.get(part.cuboid, 0) + part.size_bytes
    return sizes


def _span_s(settings: Settings, cube: Cube) -> float:
    """Seconds between the first and the last day of the fact's rows."""
    trusted = delta.open_snapshot(settings.lake, tables.trusted(cube.fact))
    days = sorted(datetime.fromisoformat(str(file.partition["day"])) for file in trusted.files)
    return (days[-1] - days[0]).total_seconds() + 86_400 if days else 86_400.0
