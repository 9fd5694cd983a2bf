"""The simulated fleet: the same for a seed, landed once, with every fault that it promises, counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from ingestion.simulate import FATES, Simulated, fleet_lookups, member_name, simulate
from ingestion.simulation import chance
from ingestion.simulation.fleet import Fleet
from ingestion.simulation.schedule import incidents
from lake.catalogue import load_catalogue
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.lookups import load_lookups
from lake.settings import Settings
from lake.tables import landing

# The first day is one on which a host falls silent.
FLEET = Fleet(end=date(2026, 11, 20), days=2, hosts=8, gpus_per_host=2, requests_per_day=4000, seed=3)
FACTS = ("samples", "requests", "evaluations", "events")
SENTINEL = "9223372036854775794"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Duck, Simulated]:
    """A lake with the fleet in it; tests only read it."""
    lake = tmp_path_factory.mktemp("fleet") / "lake"
    lake.mkdir()
    settings = Settings(lake=lake)
    duck = connect(settings)
    return settings, duck, simulate(duck, lake, FLEET)


def rows(fleet: tuple[Settings, Duck, Simulated], fact: str) -> str:
    settings, duck, _ = fleet
    return duck.scan(open_snapshot(settings.lake, landing(fact)))


def ask(fleet: tuple[Settings, Duck, Simulated], fact: str, select: str, rest: str = "") -> list[tuple[Any, ...]]:
    return fleet[1].sql(f"SELECT {select} FROM {rows(fleet, fact)} {rest}")


def test_totals_follow_from_the_plan(fleet: tuple[Settings, Duck, Simulated]) -> None:
    settings, _, found = fleet
    days = [incidents(FLEET, day) for day in FLEET.dates()]
    silent = sum(day.silent[2] for day in days)
    absent = silent + sum(day.lost[2] for day in days) + days[-1].late[2]
    injected = found.injected["samples"]
    whole = 2 * 1440 * 16 * 8 - absent * 16
    assert silent > 0
    assert found.received("samples") == whole + injected["duplicate"] + injected["lost"]
    assert found.received("requests") == 2 * 4000 + found.injected["requests"]["duplicate"]
    for fact in FACTS:
        snapshot = open_snapshot(settings.lake, landing(fact))
        assert snapshot.txn("land") == 2
        assert snapshot.txn("received") == found.received(fact) == sum(found.expected(fact).values())


def test_every_fault_is_there_as_often_as_told(fleet: tuple[Settings, Duck, Simulated]) -> None:
    found = fleet[2].injected
    known = tuple(load_catalogue().metrics)
    in_samples = {
        "nan": "value = 'NaN'",
        "sentinel": f"value = '{SENTINEL}'",
        "out_of_range": "value = '1.37'",
        "future": "ts > '2100'",
        "unknown_metric": f"problem IS NULL AND metric NOT IN {known}",
        "late": "received_at - coalesce(try_cast(ts AS TIMESTAMPTZ), received_at) > INTERVAL 5 HOUR",
    }
    in_requests = {
        "nan": "e2e_ms = 'NaN'",
        "future": "ts > '2100'",
        "bad_number": "output_tokens = 'n/a'",
        "bad_status": "status = 'finished?'",
    }
    for fact, conditions in (("samples", in_samples), ("requests", in_requests)):
        for fault, condition in conditions.items():
            select = f"count(DISTINCT (agent, boot, seq, idx)) FILTER ({condition})"
            assert ask(fleet, fact, select) == [(found[fact].get(fault, 0),)], fault
        identity = "count(*) - count(DISTINCT (agent, boot, seq, idx))"
        assert ask(fleet, fact, identity) == [(found[fact]["duplicate"],)]
        assert found[fact]["duplicate"] > 0
    assert found["samples"]["late"] == 90 * 16
    assert found["evaluations"] == {"nan": 2}
    assert set(FATES) >= set().union(*(faults for faults in found.values()))


def test_resent_records_are_equal_and_free_of_other_faults(fleet: tuple[Settings, Duck, Simulated]) -> None:
    kinds = "count(*), count(DISTINCT (ts, metric, value, host, device))"
    found = ask(fleet, "samples", kinds, "GROUP BY agent, boot, seq, idx HAVING count(*) > 1")
    assert set(found) == {(2, 1)}


def test_readings_look_like_a_fleet(fleet: tuple[Settings, Duck, Simulated]) -> None:
    busy = "metric = 'gpu.utilization' AND model IS NOT NULL AND site = 'oslo'"
    noon = f"avg(value::DOUBLE) FILTER (ts[12:13] = '{{}}' AND {busy})"
    ((night, day),) = ask(fleet, "samples", ", ".join(noon.format(hour) for hour in ("02", "09")))
    assert 0.1 < night < 0.5 * day < 0.5
    places = "max(length(split_part(value, '.', 2)))"
    assert ask(fleet, "samples", places) == [(3,)]
    by_model = dict(
        ask(
            fleet,
            "requests",
            "model, median(e2e_ms::DOUBLE)",
            "WHERE status = 'ok' AND isfinite(e2e_ms::DOUBLE) GROUP BY 1",
        )
    )
    assert by_model["embed-large"] < by_model["atlas-8b"] < by_model["atlas-70b"]
    shares = dict(ask(fleet, "requests", "status, count(*) / 8000", "GROUP BY 1"))
    assert shares["ok"] > 0.93
    assert {"error", "timeout", "retry", "rejected"} <= set(shares)


def test_a_day_is_the_same_whenever_it_is_simulated(
    fleet: tuple[Settings, Duck, Simulated], settings: Settings, duck: Duck
) -> None:
    small = replace(FLEET, hosts=2, requests_per_day=500)
    simulate(duck, settings.lake, replace(small, days=1))
    again = simulate(duck, settings.lake, small)
    assert [batch.fact for batch in again.landed] == list(FACTS)
    other = Settings(lake=settings.lake.parent / "other", threads=1)
    other.lake.mkdir()
    engine = connect(other)
    simulate(engine, other.lake, replace(small, days=1))
    for fact in FACTS:
        mine, theirs = (open_snapshot(at.lake, landing(fact)) for at in (settings, other))
        assert mine.txn(member_name(small, date(2026, 11, 19))) == 1
        columns = "SELECT * EXCLUDE (landed)"
        first = f"SELECT * EXCLUDE (landed) FROM {duck.scan(mine)} WHERE landed = 1"
        both = f"SELECT count(*) FROM (({columns} FROM {duck.scan(theirs)}) EXCEPT ALL ({first}))"
        assert duck.sql(both) == [(0,)]
        assert theirs.rows == duck.sql(f"SELECT count(*) FROM ({first})")[0][0]


def test_running_again_adds_only_new_days(settings: Settings, duck: Duck) -> None:
    small = replace(FLEET, hosts=2, requests_per_day=300)
    told: list[str] = []
    first = simulate(duck, settings.lake, small, progress=lambda done, of, what: told.append(f"{done}/{of} {what}"))
    assert told[0] == "0/2 samples of 2026-11-18"
    assert told[-1] == "2/2 "
    assert len(first.landed) == 8
    assert simulate(duck, settings.lake, small).landed == ()
    later = simulate(duck, settings.lake, replace(small, end=date(2026, 11, 21)))
    assert [batch.fact for batch in later.landed] == list(FACTS)
    assert later.injected["samples"]["late"] == 90 * 2 * 8


def test_chance_is_even_and_fixed(duck: Duck) -> None:
    chance.prepare(duck)
    ((low, high, mean),) = duck.sql(
        "SELECT min(n), max(n), avg(v) FROM (SELECT v // 42949673 AS b, count(*) AS n, avg(v) AS v FROM "
        "(SELECT fs_mix(12345 + i) AS v FROM range(200000) AS t(i)) GROUP BY 1)"
    )
    assert 1800 < low <= high < 2200
    assert abs(mean / 2**31 - 1) < 0.02
    assert duck.sql("SELECT fs_mix(1), fs_mix(2), fs_log_35(512), fs_log_80(1023)") == [
        (3606314212, 645756131, 1000, 13_982)
    ]


def test_lookups_fit_their_declarations() -> None:
    found = fleet_lookups(FLEET)
    declared = load_lookups()
    for name, entries in found.items():
        columns = {column.name for column in declared[name].columns}
        assert entries
        assert all(set(entry) <= columns and set(declared[name].key) <= set(entry) for entry in entries)
        assert len({tuple(entry[key] for key in declared[name].key) for entry in entries}) == len(entries)
    assert len(found["roster"]) == 16 * 8
    hardware = {row[0] for row in declared["hardware"].rows}
    assert {device.kind.hardware for device in FLEET.devices()} <= hardware
