"""Conditional counts that a cube keeps stand for a count under the same condition, and for no other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from randomcheck import difference
from sqllake import make_lake

from cubes.load import load_cubes
from cubes.session import Session
from lake.duck import connect
from lake.lookup_store import publish_lookup
from lake.lookups import load_lookups
from lake.settings import Settings

MADE = """
cube: made
fact: requests
grains: [1h]
dimensions: [hardware, status]
cuboids: [[status]]
measures:
  requests: {count: "*"}
  others: {count: {where: "hardware <> 'h100'"}}
"""
KEPT = "SELECT status, count(*) FILTER (WHERE hardware <> 'h100') AS n FROM requests GROUP BY status"
JOINED = """SELECT r.status, {} AS n FROM requests AS r
    LEFT JOIN hardware AS l ON r.hardware = l.hardware AND l.vendor = 'A' GROUP BY r.status"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session over a lake whose lookup knows one kind of hardware of two."""
    folder: Path = tmp_path_factory.mktemp("kept")
    (folder / "made.yaml").write_text(MADE)
    cube = load_cubes(folder)["made"]
    settings = Settings(lake=folder / "lake", memory_mib=512)
    settings.lake.mkdir()
    duck = connect(settings)
    known = {"hardware": "h100", "vendor": "A", "valid_from": datetime(2020, 1, 1, tzinfo=UTC).isoformat()}
    publish_lookup(
        settings.lake, duck, "hardware", [tuple(known.get(one.name) for one in load_lookups()["hardware"].columns)]
    )
    duck.connection.close()
    make_lake(settings, rows=120, cubes=[cube])
    with Session(settings, cubes=[cube]) as made:
        yield made


def test_a_kept_count_needs_none_of_its_dimensions(session: Session) -> None:
    answer = session.query(KEPT)
    assert answer.path == "cube"
    assert {one["cuboid"] for one in answer.receipt["blocks"][0]["pieces"]} == {"status"}
    assert difference(answer, session.query(KEPT, raw=True)) == ""


@pytest.mark.parametrize(
    "counted", ["count(*) FILTER (WHERE l.hardware <> 'h100')", "count(CASE WHEN l.hardware <> 'h100' THEN 1 END)"]
)
def test_a_lookups_column_is_not_the_facts_of_the_same_name(session: Session, counted: str) -> None:
    """Nothing but h100 is found in the lookup, so there is no other among what was found."""
    answer = session.query(JOINED.format(counted))
    assert set(answer.table.column("n").to_pylist()) == {0}
    assert difference(answer, session.query(JOINED.format(counted), raw=True)) == ""
