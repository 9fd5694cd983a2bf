"""Random queries over random cubes over random lakes: the router's answer is what the rows say.

A failure names the seeds of the fleet and of the query, and its SQL; `fleet(seed, folder)` and `random_query(seed,
fleet)` make them again. `make bench-queries` asks twenty times as many.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from metamorphic import children, partitioned
from randomcheck import compare, difference
from randomfleet import Fleet, fleet
from randomparts import PRODUCTIONS
from randomqueries import Query, normalised, queries

from cubes.session import Answer, Session
from lake.errors import QueryError

TOLD = "SELECT count(*) AS n, CAST('{}' AS text) AS t FROM requests GROUP BY site ORDER BY n {}"
Check = Callable[[Fleet, int], tuple[str, list[str]]]
FLEETS, PER_FLEET = 5, 200
QUICK = 25  # of the first fleet, in the fast tier
SHARE_FROM_CUBES = 0.6


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """The first fleet, which many tests ask."""
    with fleet(0, tmp_path_factory.mktemp("first") / "fleet") as made:
        yield made


def ask(made: Fleet, count: int, seen: set[str]) -> Iterator[tuple[Query, str]]:
    """So many answered queries that are new, each with its path; both doors say the same."""
    for query in queries(made, made.seed * 100_000):
        form = normalised(query.sql)
        if form in seen:
            continue
        seen.add(form)
        outcome = compare(made, query)
        assert not outcome.difference, outcome.difference
        if not outcome.refused:
            yield query, outcome.path
            count -= 1
        if not count:
            return


def test_a_few_queries(first: Fleet) -> None:
    seen: set[str] = set()
    paths = Counter(path for _, path in ask(first, QUICK, seen))
    assert paths["cube"] + paths["cube+raw"] >= QUICK / 2, paths


@pytest.mark.timeout(1800)
def test_a_thousand_queries(tmp_path: Path) -> None:
    """Over five fleets: all distinct without their constants, most from cubes, and every production among them."""
    seen: set[str] = set()
    paths, found = Counter[str](), Counter[str]()
    for seed in range(FLEETS):
        with fleet(seed, tmp_path / str(seed)) as made:
            for query, path in ask(made, PER_FLEET, seen):
                paths[path] += 1
                found.update(query.productions)
    assert paths.total() == FLEETS * PER_FLEET
    assert paths["cube"] + paths["cube+raw"] >= SHARE_FROM_CUBES * paths.total(), paths
    assert set(found) == PRODUCTIONS, PRODUCTIONS - set(found)


def test_a_query_comes_from_its_seed(first: Fleet) -> None:
    a, b = (list(itertools.islice(queries(first, 7), 30)) for _ in range(2))
    assert a == b
    assert len({normalised(one.sql) for one in a}) > 25


def test_what_differs_is_told(first: Fleet) -> None:
    """Another value, another order, another name or another number of rows is no equal answer."""
    a, b, c = (first.routed(TOLD.format(*one)) for one in (("a", ""), ("b", ""), ("a", "DESC")))
    assert difference(a, a, ordered=True) == ""
    assert "'a', not 'b'" in difference(a, b)
    assert difference(a, c) == "" != difference(a, c, ordered=True)
    assert "columns" in difference(a, first.routed("SELECT count(*) AS m, 'a' AS t FROM requests"))
    assert "rows" in difference(a, first.routed("SELECT count(*) AS n, CAST('a' AS text) AS t FROM requests"))


@pytest.mark.parametrize("check", [partitioned, children])
def test_parts_add_up(first: Fleet, check: Check) -> None:
    _mostly_cubes(_add_up(first, check, 8))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("check", [partitioned, children])
def test_parts_add_up_in_every_fleet(tmp_path: Path, check: Check) -> None:
    paths = Counter[str]()
    for seed in range(100, 103):
        with fleet(seed, tmp_path / str(seed)) as made:
            paths += _add_up(made, check, 30)
    _mostly_cubes(paths)


def _add_up(made: Fleet, check: Check, count: int) -> Counter[str]:
    """The check holds for so many seeds; the paths of what it asked."""
    paths = Counter[str]()
    for seed in range(count):
        try:
            wrong, asked = check(made, seed)
        except QueryError:
            if made.expired:
                continue  # refused: the rows that it needs are gone
            raise
        assert not wrong, wrong
        paths.update(asked)
    return paths


def _mostly_cubes(paths: Counter[str]) -> None:
    """Of raw rows alone a check would show nothing about cubes."""
    assert paths["cube"] + paths["cube+raw"] >= SHARE_FROM_CUBES * paths.total(), paths


def alike(one: Session, other: Session, made: Fleet, count: int) -> int:
    """Ask two sessions the same; every value is the same, approximate ones too. How many came from cubes."""
    from_cubes = 0
    for query in itertools.islice(queries(made, 1), count):
        a, b = (_answer(session, query) for session in (one, other))
        if isinstance(a, str) or isinstance(b, str):
            assert a == b, query.told(made)
            continue
        found = difference(a, b, ordered=query.ordered, approximate=False)
        assert not found, f"{query.told(made)}: {found}"
        from_cubes += a.path in ("cube", "cube+raw")
    return from_cubes


def _answer(session: Session, query: Query) -> Answer | str:
    try:
        return session.query(query.sql, fresh=query.fresh)
    except QueryError as error:
        return str(error)


def test_one_thread_and_four_say_the_same(first: Fleet) -> None:
    with first.again(threads=1) as one, first.again(threads=4) as four:
        assert alike(one, four, first, 80) >= 40


def test_rows_in_other_files_and_order_say_the_same(first: Fleet, tmp_path: Path) -> None:
    with fleet(first.seed, tmp_path / "shuffled", shuffled=True) as other:
        assert alike(first.session, other.session, first, 80) >= 40


@pytest.mark.spark
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_cubes_that_spark_built_say_the_same(first: Fleet, tmp_path: Path) -> None:
    """Answers over cells of both engines are the same, to the last bit, and what the rows say."""
    from cubes.spark.session import spark_session

    with fleet(first.seed, tmp_path / "spark", engine="spark") as other:
        assert alike(first.session, other.session, first, 80) >= 40
        for query in itertools.islice(queries(other, 500), 40):
            outcome = compare(other, query)
            assert not outcome.difference, outcome.difference
        spark_session(other.settings).stop()
