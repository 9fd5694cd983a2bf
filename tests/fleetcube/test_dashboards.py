"""What dashboards ask on a simulated fleet: both doors, from cubes alone; cost and carbon by plain Python beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlcorpus import Query, check, queries

from cubes.build import build
from cubes.load import load_cubes
from cubes.session import Session
from cubes.verify import verify
from ingestion.clean import clean
from ingestion.simulate import fleet_lookups, simulate
from ingestion.simulation.fleet import Fleet
from lake.catalogue import load_catalogue
from lake.duck import connect
from lake.lookup_store import ensure_lookups, publish_lookup
from lake.lookups import load_lookups
from lake.settings import Settings
from quality.gate import run_gate

# Tuesday to Thursday: a host falls silent and a run fails, a loss spikes, prices change.
FLEET = Fleet(end=date(2026, 11, 20), days=3, hosts=8, gpus_per_host=2, requests_per_day=3000)
ASKED = queries("*.slt", "fleet")
IDLE = "(-inf,0.05)"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A lake with the fleet in it, through the real steps; tests only ask it."""
    settings = Settings(lake=tmp_path_factory.mktemp("dashboards") / "lake", memory_mib=512)
    settings.lake.mkdir()
    duck = connect(settings)
    ensure_lookups(settings.lake, duck)
    for name, rows in fleet_lookups(FLEET).items():
        columns = [column.name for column in load_lookups()[name].columns]
        publish_lookup(settings.lake, duck, name, [tuple(row.get(one) or None for one in columns) for row in rows])
    simulate(duck, settings.lake, FLEET)
    for fact in ("samples", "requests", "evaluations", "events"):
        run_gate(settings, duck, fact, clean=clean, catalogue=load_catalogue())
    for cube in load_cubes().values():
        build(settings, duck, cube)
    with Session(settings) as session:
        yield session


def rows(session: Session, sql: str, *, raw: bool = False) -> list[tuple[Any, ...]]:
    table = session.query(sql, raw=raw).table
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.mark.parametrize("query", ASKED, ids=lambda query: query.name)
def test_both_doors_agree(session: Session, query: Query) -> None:
    """From cubes alone, with something to show in every column."""
    table = check(session, query).table
    assert query.path == "cube"
    assert table.num_rows > 0
    assert [name for name in table.schema.names if table[name].null_count == table.num_rows] == []


def test_every_shipped_cube_has_cells_and_holds(session: Session) -> None:
    settings = Settings(lake=session._shelf.lake, memory_mib=512)
    duck = connect(settings)
    for cube in load_cubes().values():
        report = verify(settings, duck, cube)
        assert report.holds
        assert report.cells > 0


def _price(site: str, hardware: str, ts: datetime) -> Decimal:
    """The price that was valid then: of the rows that had begun, the one that began last."""
    held = [
        (row["valid_from"], Decimal(row["usd_per_gpu_hour"]))
        for row in fleet_lookups(FLEET)["rates"]
        if (row["site"], row["hardware"]) == (site, hardware) and datetime.fromisoformat(row["valid_from"]) <= ts
    ]
    return max(held)[1]


def test_cost_is_what_each_sample_cost_then(session: Session) -> None:
    """Each utilisation sample times the price of its moment, idle apart."""
    wanted: dict[tuple[datetime, str, bool], Decimal] = defaultdict(Decimal)
    seen: set[tuple[str, str, Decimal]] = set()
    prices: dict[tuple[str, str, datetime], Decimal] = {}
    select = "SELECT ts, site, hardware, coalesce(model, run), value, interval_s FROM samples"
    for ts, site, hardware, model, value, interval_s in rows(
        session, f"{select} WHERE metric = 'gpu.utilization'", raw=True
    ):
        day = ts.replace(hour=0, minute=0)
        key = (site, hardware, day)
        if key not in prices:
            prices[key] = _price(site, hardware, day)
        wanted[day, model, value < Decimal("0.05")] += interval_s * prices[key]
        seen.add((site, hardware, prices[key]))
    [cost] = [query for query in ASKED if query.name == "dashboards/cost-by-day-and-model"]
    found = rows(session, cost.sql)
    assert len(found) == len({(day, model) for day, model, _ in wanted})
    for day, model, usd, idle_usd, _, _ in found:
        both = wanted[day, model, True] + wanted[day, model, False]
        assert usd == round(both / 3600, 9)
        assert (idle_usd or 0) == round(wanted[day, model, True] / 3600, 9)
    assert len(seen) > len({key[:2] for key in seen}), "no price changes: as-of is not shown"
    assert sum(idle or 0 for _, _, _, idle, _, _ in found) > 0


def test_carbon_is_energy_times_overhead_times_intensity(session: Session) -> None:
    lookups = fleet_lookups(FLEET)["sites"]
    grams = {row[0]: Decimal(row[2] or 0) for row in load_lookups()["carbon"].rows}
    joules: dict[tuple[datetime, str], Decimal] = defaultdict(Decimal)
    for ts, site, value in rows(session, "SELECT ts, site, value FROM samples WHERE metric = 'gpu.energy'", raw=True):
        joules[ts.replace(hour=0, minute=0), site] += value
    [asked] = [query for query in ASKED if query.name == "dashboards/energy-by-site-and-day"]
    found = rows(session, asked.sql)
    assert {(row[0], row[1]) for row in found} == set(joules)
    for day, site, country, kwh, facility_kwh, g_co2e in found:
        [pue] = [Decimal(row["pue"]) for row in lookups if row["site"] == site and row["country"] == country]
        assert kwh == round(joules[day, site] / 3_600_000, 9)
        assert facility_kwh == pytest.approx(kwh * pue, abs=Decimal("1e-8"))
        assert g_co2e == pytest.approx(kwh * pue * grams[country], abs=Decimal("1e-6"))


def test_coverage_tells_the_silent_host(session: Session) -> None:
    """Whole hours of silence are covered by nothing; hours in which all is well, wholly."""
    [asked] = [query for query in ASKED if query.name == "dashboards/coverage-by-host-and-hour"]
    found = rows(session, asked.sql)
    assert len(found) == 3 * 24 * 8
    dead = {(hour, host) for hour, host, covered_s, _, _ in found if covered_s == 0}
    xid = rows(session, "SELECT ts, host FROM events WHERE severity = 'critical'")
    assert len(xid) == 1
    assert {host for _, host in dead} == {xid[0][1]}
    assert all(xid[0][0] <= hour < datetime(2026, 11, 18, 9, tzinfo=UTC) for hour, _ in dead)
    assert len(dead) >= 2
    assert all(share <= Decimal("1.001") for *_, share in found)
    assert sum(share > Decimal("0.999") for *_, share in found) > 0.8 * len(found)


def test_runs_and_hosts_have_a_story(session: Session) -> None:
    """One host is nearly full and its requests wait; a run's loss spikes once and falls; one run fails, others end."""
    where = "WHERE metric = 'llm.kv_cache.utilization' GROUP BY 1 ORDER BY 2 DESC"
    full = rows(session, f"SELECT host, time_avg(value) FROM samples {where}")
    assert full[0][1] > Decimal("0.9") > Decimal("0.7") > full[1][1]
    waiting = rows(session, "SELECT host, max(value) FROM samples WHERE metric = 'llm.requests.waiting' GROUP BY 1")
    assert max(waiting, key=lambda row: row[1])[0] == full[0][0]
    loss = rows(
        session,
        "SELECT date_trunc('day', ts), percentile_cont(0.5) WITHIN GROUP (ORDER BY value), max(value) FROM samples "
        "WHERE metric = 'training.loss' AND run = 'pretrain-ohio' GROUP BY 1 ORDER BY 1",
        raw=True,
    )
    assert loss[0][1] > loss[1][1] > loss[2][1]
    assert [most > 4 for *_, most in loss] == [False, True, False]
    states = "WHERE service = 'training' AND metric = 'training.run.state' GROUP BY 1"
    assert sorted(int(row[1]) for row in rows(session, f"SELECT run, last(value) FROM samples {states}")) == [
        1,
        2,
        2,
        3,
    ]
