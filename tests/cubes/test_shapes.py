"""Queries that others wrote, from files: a star schema's flights and what Superset sends, through both doors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from shapelake import make_shape_lake
from sqlcorpus import Query, check, queries

from cubes.session import Session
from lake.settings import Settings

SHAPES = queries("*.slt", "shapes")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    lake = tmp_path_factory.mktemp("shapes") / "lake"
    lake.mkdir()
    settings = Settings(lake=lake, memory_mib=512)
    make_shape_lake(settings)
    with Session(settings) as session:
        yield session


@pytest.mark.parametrize("query", SHAPES, ids=lambda query: query.name)
def test_both_doors_agree(session: Session, query: Query) -> None:
    answer = check(session, query)
    assert answer.table.num_rows, "a query that finds nothing would agree on anything"


def test_the_flights_and_most_charts_are_answered_from_cells() -> None:
    names = [query.name for query in SHAPES]
    assert len(set(names)) == len(names)
    flights = {
        f"ssb/{flight}.{number}" for flight, last in ((1, 3), (2, 3), (3, 4), (4, 3)) for number in range(1, last + 1)
    }
    assert flights <= set(names)
    assert len(flights) == 13
    cubes = [query for query in SHAPES if query.path in ("cube", "cube+raw")]
    assert len(cubes) >= 0.6 * len(SHAPES)
