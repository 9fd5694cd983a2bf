"""Lookups as tables: shipped rows land once, own rows replace them, and nothing is written twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.lookup_store import ensure_lookups, publish_lookup
from lake.lookups import load_lookups
from lake.settings import Settings
from lake.tables import lookup


def test_shipped_rows_land_once(settings: Settings, duck: Duck) -> None:
    assert set(ensure_lookups(settings.lake, duck)) == set(load_lookups())
    assert ensure_lookups(settings.lake, duck) == []
    for name, declared in load_lookups().items():
        assert open_snapshot(settings.lake, lookup(name)).rows == len(declared.rows), name
    hardware = duck.scan(open_snapshot(settings.lake, lookup("hardware")))
    found = duck.sql(f"SELECT DISTINCT memory_gib FROM {hardware} WHERE hardware = 'H100 SXM5 80GB'")
    assert found == [(Decimal("80.000000000"),)]


def test_own_rows_replace_and_an_equal_load_changes_nothing(settings: Settings, duck: Duck) -> None:
    names = [column.name for column in load_lookups()["sites"].columns]
    rows = [tuple(f"x{at}" if name == "site" else None for name in names) for at in range(3)]
    assert publish_lookup(settings.lake, duck, "sites", rows)
    version = open_snapshot(settings.lake, lookup("sites")).version
    assert not publish_lookup(settings.lake, duck, "sites", rows)
    assert publish_lookup(settings.lake, duck, "sites", rows[:1])
    after = open_snapshot(settings.lake, lookup("sites"))
    assert (after.version, after.rows) == (version + 1, 1)


def test_two_that_start_on_one_lake_make_its_lookups_once(settings: Settings) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: ensure_lookups(settings.lake, connect(settings)), range(2)))
    assert sorted(made[0] + made[1]) == sorted(load_lookups())
