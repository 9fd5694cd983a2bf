"""The greedy choice against brute force over every subset, on small random lattices."""

from __future__ import annotations

import random
from itertools import combinations
from math import e

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cubes.plan.choose import Query, View, choose, saved

NAMES = "abcdefgh"


@st.composite
def lattices(draw: st.DrawFn) -> tuple[list[View], list[Query], int]:
    """Up to 8 views of random sizes, each answering some of up to 6 queries at a cost of its rows."""
    asked = [
        Query(str(place), draw(st.integers(0, 50)) / 4, float(draw(st.integers(1, 1000))))
        for place in range(draw(st.integers(1, 6)))
    ]
    views = []
    for name in NAMES[: draw(st.integers(1, 8))]:
        rows = float(draw(st.integers(1, 1000)))
        answers = draw(st.sets(st.sampled_from([query.name for query in asked])))
        views.append(View(name, draw(st.integers(1, 100)), dict.fromkeys(sorted(answers), rows)))
    return views, asked, draw(st.integers(0, 300))


def slow_saved(views: list[View], queries: list[Query]) -> float:
    """What the oracle takes a set of views to save: for each query its cost less the least cost of all."""
    total = 0.0
    for query in queries:
        costs = [query.cost]
        for view in views:
            if query.name in view.costs:
                costs.append(view.costs[query.name])
        total += query.weight * (query.cost - sorted(costs)[0])
    return total


def best_saved(views: list[View], queries: list[Query], budget: int) -> float:
    subsets = (list(some) for size in range(len(views) + 1) for some in combinations(views, size))
    return max(slow_saved(some, queries) for some in subsets if sum(view.size_bytes for view in some) <= budget)


@settings(max_examples=150, deadline=None)
@given(lattices())
def test_the_choice_is_within_the_bound_of_the_best(case: tuple[list[View], list[Query], int]) -> None:
    views, queries, budget = case
    found = choose(views, queries, budget)
    chosen = [view for view in views if view.name in found.names]
    assert sum(view.size_bytes for view in chosen) == found.size_bytes <= budget
    assert found.saved == pytest.approx(slow_saved(chosen, queries))
    assert found.saved >= (1 - 1 / e) * best_saved(views, queries, budget) - 1e-9


@settings(max_examples=50, deadline=None)
@given(lattices(), st.randoms(use_true_random=False))
def test_the_choice_depends_on_nothing_but_its_arguments(
    case: tuple[list[View], list[Query], int], rng: random.Random
) -> None:
    views, queries, budget = case
    shuffled = rng.sample(views, len(views)), rng.sample(queries, len(queries))
    assert choose(*shuffled, budget).names == choose(views, queries, budget).names


@settings(max_examples=50, deadline=None)
@given(lattices())
def test_saving_is_monotone_and_submodular(case: tuple[list[View], list[Query], int]) -> None:
    views, queries, _ = case
    *rest, last = views
    assert saved(views, queries) >= saved(rest, queries)
    alone = saved([last], queries)
    assert saved(views, queries) - saved(rest, queries) <= alone + 1e-9


@settings(max_examples=50, deadline=None)
@given(lattices())
def test_with_room_for_all_nothing_useful_is_left_out(case: tuple[list[View], list[Query], int]) -> None:
    views, queries, _ = case
    room = sum(view.size_bytes for view in views)
    assert choose(views, queries, room).saved == pytest.approx(slow_saved(views, queries))


def test_a_small_view_beats_a_large_one_that_saves_little_more() -> None:
    queries = [Query("by model", 10, 1000.0), Query("by site", 1, 1000.0)]
    views = [
        View("large", 90, {"by model": 90.0, "by site": 90.0}),
        View("model", 10, {"by model": 5.0}),
        View("useless", 1, {"by site": 1000.0}),
    ]
    assert choose(views, queries, 90).names == ("large",)  # 10,010 rows saved against 9,950
    assert choose(views, queries, 89).names == ("model",)
    assert choose(views, queries, 100).names == ("large", "model")
    assert choose(views, queries, 5).names == ()


def test_many_candidates_are_quick_and_within_the_budget() -> None:
    rng = random.Random(5)
    queries = [Query(str(place), 1.0, 1e6) for place in range(60)]
    views = [
        View(f"v{place:03d}", rng.randrange(1, 10**6), {str(rng.randrange(60)): rng.random() * 1e6 for _ in range(9)})
        for place in range(80)
    ]
    assert 0 < choose(views, queries, 5 * 10**6).size_bytes <= 5 * 10**6
