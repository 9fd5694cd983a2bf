"""The simulated fleet: the same for a seed, landed once, with every fault that it promises, counted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
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
# What is read less often than every minute, by other programs than the host's agent.
SLOW = "split_part(agent, '-', 2) IN ('scraper', 'trainer', 'scheduler', 'kernel')"


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
    ((slow,),) = ask(fleet, "samples", "count(*)", f"WHERE {SLOW}")
    assert found.received("samples") == whole + slow + injected["duplicate"] + injected["lost"]
    assert found.received("requests") == 2 * 4000 + found.injected["requests"]["duplicate"]
    for fact in FACTS:
        snapshot = open_snapshot(settings.lake, landing(fact))
        assert snapshot.txn("land") == 2
        assert snapshot.txn("received") == found.received(fact) == sum(found.expected(fact).values())


def _silent(host: str, ts: datetime) -> bool:
    number, first, minutes = incidents(FLEET, ts.date()).silent
    minute = ts.hour * 60 + ts.minute
    return host.endswith(f"-gpu{number:02d}") and first <= minute < first + minutes


def test_every_slow_series_of_the_roster_is_read_unless_its_host_is_silent(
    fleet: tuple[Settings, Duck, Simulated],
) -> None:
    start = datetime(2026, 11, 18, tzinfo=UTC)
    wanted: dict[tuple[str, str, str], set[datetime]] = {}
    for row in fleet_lookups(FLEET)["roster"]:
        period = timedelta(seconds=int(row["period_s"]))
        if period > timedelta(minutes=1):
            times = (
                start + number * period - timedelta(minutes=1) for number in range(1, 2 * 86400 // period.seconds + 1)
            )
            key = (row["host"], row["device"], row["metric"])
            wanted[key] = {ts for ts in times if not _silent(row["host"], ts)}
    found: dict[tuple[str, str, str], set[datetime]] = defaultdict(set)
    where = f"WHERE {SLOW} AND host IS NOT NULL AND agent NOT LIKE 'sim-kernel%'"
    for host, device, metric, ts in ask(fleet, "samples", "host, coalesce(device, '-'), metric, ts", where):
        found[host, device, metric].add(datetime.fromisoformat(ts))
    assert len(wanted) > 8 * 13
    assert found == wanted


def test_held_clocks_are_the_seconds_that_the_reasons_tell(fleet: tuple[Settings, Duck, Simulated]) -> None:
    """On the first day, of the hosts whose every minute has arrived."""
    told = incidents(FLEET, FLEET.dates()[0])
    broken = {f"{number:02d}" for number in (told.lost[0], told.silent[0])}
    where = f"ts < '2026-11-19' AND right(host, 2) NOT IN {tuple(sorted(broken)) * 2}"
    seconds = 0
    for bit, name in ((64, "thermal"), (4, "power")):
        count = f"host, 60 * count(DISTINCT (device, ts)) FILTER (value = '{bit}')"
        reasons = ask(fleet, "samples", count, f"WHERE metric = 'gpu.throttle.reasons' AND {where} GROUP BY 1")
        metric = f"WHERE metric = 'gpu.throttle.{name}.time' AND {where} GROUP BY 1"
        held = ask(fleet, "samples", "host, sum(value::BIGINT)", metric)
        assert len(held) == 8 - len(broken)
        assert dict(held) == dict(reasons)
        seconds += sum(second for _, second in held)
    assert seconds > 0


def test_rates_change_inside_every_week() -> None:
    for back in range(7):
        moved = replace(FLEET, end=FLEET.end - timedelta(days=back), days=7)
        first, *others = moved.dates()
        starts = {row["valid_from"] for row in fleet_lookups(moved)["rates"]}
        assert any(f"{day}T00:00:00Z" in starts for day in others)
        assert min(starts) < f"{first - timedelta(days=50)}"
    listed = {row["reference"].split(",")[0] for row in fleet_lookups(FLEET)["rates"]}
    assert listed == {"simulation: list price of AWS", "simulation: list price of Lambda", "simulation: an assumption"}


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
        told = [*declared[name].key, *(["valid_from"] if name == "rates" else [])]
        assert len({tuple(entry[key] for key in told) for entry in entries}) == len(entries)
    assert sum(entry["period_s"] == "60" for entry in found["roster"]) == 16 * 8
    hardware = {row[0] for row in declared["hardware"].rows}
    assert {device.kind.hardware for device in FLEET.devices()} <= hardware
