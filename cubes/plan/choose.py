"""Which views to keep: the greedy choice of Harinarayan, Rajaraman and Ullman, by benefit per byte. Pure.

Asking a view costs its rows. A set of views answers each query from the cheapest of them that can, else from what is
kept anyway. What a set saves, weighted by the queries, is a monotone submodular function: a further view never hurts,
and the more there are the less it helps. So a bound computed once stays a bound (the lazy queue relies on it), and
greedy by benefit per byte, begun from every affordable pair of views and carried on, saves at least 1 - 1/e = 63 % of
what any set within the budget could save (Sviridenko 2004; pairs suffice: Feldman, Nutov, Shoham 2020). Above
`_PAIRS` candidates it is begun from single views only: at least 61 %. Ties go to the smaller name, so that the choice
depends on nothing but its arguments.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

_PAIRS: Final = 24


@dataclass(frozen=True)
class View:
    """A candidate: its bytes, and what each query that it can answer would cost when asked of it (in rows)."""

    name: str
    size_bytes: int
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """A kind of query: its weight, and its cost (in rows) where none of the chosen views answers it."""

    name: str
    weight: float
    cost: float


@dataclass(frozen=True)
class Choice:
    """Names of the chosen views, what they cost, and how many weighted rows of reading they save."""

    names: tuple[str, ...]
    size_bytes: int
    saved: float


def choose(views: Sequence[View], queries: Sequence[Query], budget_bytes: int) -> Choice:
    """The views to keep within the budget; a view that saves nothing is never taken."""
    known = {view.name: view for view in sorted(views, key=lambda view: view.name)}
    useful = [view for view in known.values() if 0 <= view.size_bytes <= budget_bytes and _gain(view, {}, queries) > 0]
    sizes = range(3) if len(useful) <= _PAIRS else range(2)
    best = Choice((), 0, 0.0)
    for size in sizes:
        for seed in combinations(useful, size):
            if sum(view.size_bytes for view in seed) <= budget_bytes:
                found = _greedy(seed, useful, queries, budget_bytes)
                if (-found.saved, found.size_bytes, found.names) < (-best.saved, best.size_bytes, best.names):
                    best = found
    return best


def saved(views: Iterable[View], queries: Sequence[Query]) -> float:
    """Weighted rows that these views save against having none of them."""
    costs = _costs(views)
    return sum(query.weight * max(0.0, query.cost - costs.get(query.name, query.cost)) for query in queries)


def _greedy(seed: Sequence[View], views: Sequence[View], queries: Sequence[Query], budget_bytes: int) -> Choice:
    """The seed, then again and again the affordable view that saves most for its bytes."""
    chosen = list(seed)
    room = budget_bytes - sum(view.size_bytes for view in seed)
    costs = _costs(chosen)
    places = {view.name: view for view in views if view not in chosen}
    queue = [(-_rate(view, costs, queries), view.name) for view in places.values()]
    heapq.heapify(queue)
    while queue:
        _, name = heapq.heappop(queue)
        view = places[name]
        # What it saves has only shrunk since it was queued: still the best if it beats the next one's old bound.
        now = (-_rate(view, costs, queries), name)
        if view.size_bytes > room or now[0] >= 0:
            continue
        if queue and queue[0] < now:
            heapq.heappush(queue, now)
            continue
        chosen.append(view)
        room -= view.size_bytes
        costs = _costs([view], costs)
    names = tuple(sorted(view.name for view in chosen))
    return Choice(names, sum(view.size_bytes for view in chosen), saved(chosen, queries))


def _rate(view: View, costs: Mapping[str, float], queries: Sequence[Query]) -> float:
    return _gain(view, costs, queries) / max(1, view.size_bytes)


def _gain(view: View, costs: Mapping[str, float], queries: Sequence[Query]) -> float:
    """What one more view saves where queries cost `costs` already."""
    return sum(
        query.weight * max(0.0, min(query.cost, costs.get(query.name, query.cost)) - view.costs[query.name])
        for query in queries
        if query.name in view.costs
    )


def _costs(views: Iterable[View], costs: Mapping[str, float] | None = None) -> dict[str, float]:
    """The least cost of each query that some view answers."""
    found = dict(costs or {})
    for view in views:
        for name, cost in view.costs.items():
            found[name] = min(cost, found.get(name, cost))
    return found
