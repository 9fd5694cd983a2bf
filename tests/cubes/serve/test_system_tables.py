"""The schema `fleet` over a lake: real rows, equal to what the lake's own tables hold, and bounded by policies."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from gating import gate, sample
from landed import land
from sqllake import add_requests, make_lake

from cubes.access_form import SYSTEM_TABLES
from cubes.build import build
from cubes.load import load_cubes
from cubes.plan.querylog import Asked, read_newest, work_path
from cubes.segments import table_of
from cubes.serve.system_tables import SYSTEM
from cubes.session import Session
from lake import tables
from lake.alerts import Alert, record_alert
from lake.audit_keep import events
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.ledger import record
from lake.lookup_store import ensure_lookups
from lake.settings import Settings
from lake.tables import BATCHES, GAPS, LEDGER
from lake.users import Users
from quality.suites import load_suite

ASKED = Asked("2026-01-01T00:00:00Z", "samples", ("host",), (), ("sum_value",), ("1h",), 0, "", "", 9, "", 1.0)
QUERIES = "WHERE operation = 'query'"
PASSWORD = "correct horse battery"
ACCESS = """
roles:
  part:
    facts: [requests]
    rows: {requests: "site = 'eu'"}
    columns: {requests: {hide: [tenant, output_tokens]}}
    system: ["*"]
  one_fact: {facts: [samples], rows: {samples: all}, system: [quality, gaps, jobs, alerts, quarantine]}
users:
  root: {roles: [admin]}
  ann: {roles: [part]}
  bob: {roles: [one_fact]}
"""


@dataclass
class Place:
    """A lake that is served, with its users."""

    settings: Settings
    duck: Duck
    port: int

    def ask(self, sql: str, user: str = "root") -> list[tuple[Any, ...]]:
        given = {"host": "127.0.0.1", "port": self.port, "password": PASSWORD, "dbname": "fleet", "user": user}
        with psycopg.connect(autocommit=True, connect_timeout=60, **given) as connection:  # type: ignore[arg-type]
            return connection.execute(sql).fetchall()  # type: ignore[call-overload, no-any-return]

    def held(self, ref: Any, columns: str, order: str) -> list[tuple[Any, ...]]:
        scan = self.duck.scan(open_snapshot(self.settings.lake, ref))
        return self.duck.sql(f"SELECT {columns} FROM {scan} ORDER BY {order}")


@pytest.fixture(scope="module")
def place(serving: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    lake = tmp_path_factory.mktemp("system") / "lake"
    lake.mkdir()
    settings = Settings(lake=lake, memory_mib=512)
    duck = connect(settings)
    ensure_lookups(lake, duck)
    gap = {"problem": "gap", "raw": "the spool was cut", "seq": 20, "lost": 4}
    make_lake(settings, rows=300, cubes=[one for one in load_cubes().values() if one.fact == "requests"])
    land(settings, duck, "samples", [sample("1"), sample("bad"), gap])
    gate(settings, duck)
    record(settings, duck, "gate", "samples", rows=2, seconds=0.5)
    record(settings, duck, "build", "serving", outcome="failed")
    record(settings, duck, "simulate", "seed 1", rows=9)
    for name in ("root", "ann", "bob"):
        Users(settings.users_file).add(name, PASSWORD)
    settings.access_file.write_text(ACCESS)
    with serving(lambda: Session(settings), {"lake": lake}) as endpoint:
        yield Place(settings, duck, endpoint.port)


def wait_for(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_every_table_is_declared_once_and_every_column_says_what_it_is(place: Place) -> None:
    everywhere = set(SYSTEM) - {"pg_stat_activity"}
    # What a server keeps and audits is handed in where it does (`own_tables`).
    assert set(SYSTEM_TABLES) == everywhere | {"result_cache", "selfaudit"}
    shown = place.ask(
        "SELECT c.relname, a.attname, col_description(c.oid, a.attnum) FROM pg_class c JOIN pg_namespace n"
        " ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid WHERE n.nspname = 'fleet'"
    )
    assert {table for table, _, _ in shown} == everywhere
    assert all(comment for _, _, comment in shown)
    for table, column, comment in shown:
        for ending, unit in (("_ms", "[ms]"), ("_bytes", "[By]"), ("seconds", "[s]")):
            assert not column.endswith(ending) or comment.endswith(unit), (table, column)
    for table in everywhere:
        place.ask(f"SELECT * FROM fleet.{table}")
        # None of the names is a keyword that would have to be quoted.
        place.ask(f"SELECT {', '.join(column for name, column, _ in shown if name == table)} FROM fleet.{table}")


def test_cubes_cuboids_and_segments_add_up_to_the_tables(place: Place) -> None:
    for cube in load_cubes().values():
        snapshot = open_snapshot(place.settings.lake, table_of(cube))
        [row] = place.ask(f"SELECT fact, build, cells, size_bytes FROM fleet.cubes WHERE cube = '{cube.name}'")
        size = sum(file.size_bytes for file in snapshot.files)
        assert row == (cube.fact, snapshot.txn("build"), snapshot.rows, size)
        if not snapshot.files:
            continue
        scan = place.duck.scan(snapshot)
        counted = place.duck.sql(f"SELECT grain, cuboid, count(*) FROM {scan} WHERE sketch IS NULL GROUP BY ALL")
        wanted = sorted(counted)
        sql = f"SELECT grain, cuboid, cells FROM fleet.cuboids WHERE cube = '{cube.name}' AND cells > 0"
        assert sorted(place.ask(sql)) == wanted
        counted = place.duck.sql(f"SELECT grain, segment, count(*) FROM {scan} GROUP BY ALL ORDER BY ALL")
        sql = f"SELECT grain, segment, cells FROM fleet.segments WHERE cube = '{cube.name}' ORDER BY grain, segment"
        assert place.ask(sql) == counted


def test_verdicts_gaps_and_jobs_are_those_of_the_lake(place: Place) -> None:
    columns = "fact, batch, verdict, received, trusted, quarantine, gaps, ended_at"
    assert place.ask(f"SELECT {columns} FROM fleet.quality") == place.held(BATCHES, columns, "fact, batch")
    columns = "fact, agent, seq_from, seq_to, rows, reason"
    assert place.ask(f"SELECT {columns} FROM fleet.gaps") == place.held(GAPS, columns, "seq_from") != []
    held = place.held(LEDGER, '"at", step, subject, outcome, rows, seconds', '"at"')
    assert place.ask("SELECT ended_at, step, subject, outcome, rows, seconds FROM fleet.jobs") == held != []


def test_what_is_kept_aside_is_counted_by_reason(place: Place) -> None:
    held = place.held(tables.QUARANTINE, 'fact, "check", batch, site', "ALL")
    rows = place.ask(
        "SELECT fact, check_name, batch, site, rows, reason, arrived_day FROM fleet.quarantine ORDER BY 1, 2"
    )
    assert (
        sorted((fact, check, batch, site) for fact, check, batch, site, n, *_ in rows for _ in range(n)) == held != []
    )
    for *_, reason, day in rows:
        assert not re.search(r"[0-9]|'bad'", reason)
        assert (day.hour, day.minute) == (0, 0)
    assert place.ask("SELECT count(*) FROM fleet.quarantine", "ann") == [(0,)]
    assert place.ask("SELECT DISTINCT fact FROM fleet.quarantine", "bob") == [("samples",)]


def test_each_check_has_a_row(place: Place) -> None:
    found = place.ask("SELECT fact, batch, check_name, kind, severity, outcome, rows, found FROM fleet.checks")
    wanted = []
    for fact, batch, text in place.held(BATCHES, "fact, batch, checks", "fact, batch"):
        told = json.loads(text)
        by_check = Counter[str]()
        for one in told.get("quarantined", []):
            by_check[one["check"]] += one["rows"]
        wanted += [(fact, batch, name, "row", None, "quarantined", n, None) for name, n in by_check.items()]
        for one in told.get("expectations", []):
            bad = one["unexpected"]
            counted = (bad, None) if isinstance(bad, int) else (None, bad)
            outcome = "passed" if one["success"] else "failed"
            wanted.append((fact, batch, one["name"], "batch", one["severity"], outcome, *counted))
        wanted += [(fact, batch, n, "notice", None, "noted", c, None) for n, c in told.get("notices", {}).items() if c]
    assert sorted(found, key=str) == sorted(wanted, key=str)
    assert {row[3] for row in found} >= {"row", "batch"}


def test_freshness_is_that_of_the_rows(place: Place) -> None:
    found = place.ask("SELECT fact, site, newest_ts, rows, lag_s FROM fleet.freshness")
    wanted = []
    for fact in ("requests", "samples", "evaluations", "events"):
        scan = place.duck.scan(open_snapshot(place.settings.lake, tables.trusted(fact)))
        rows = place.duck.sql(f"SELECT site, max(ts), count(*) FROM {scan} GROUP BY ALL")
        wanted += [(fact, *row) for row in rows]
    assert sorted((row[:4] for row in found), key=str) == sorted(wanted, key=str)
    assert all(lag_s > 0 for *_, lag_s in found)
    assert place.ask("SELECT count(*) FROM fleet.freshness", "ann") == [(0,)]


def test_the_audit_log_is_for_those_who_see_all_and_ones_own_for_others(place: Place) -> None:
    place.ask("SELECT count(*) FROM requests", "ann")
    place.ask("SELECT count(*) FROM requests WHERE model = 'a'")
    wait_for(lambda: {"ann", "root"} <= {who for (who,) in place.ask(f"SELECT who FROM fleet.audit {QUERIES}")})
    rows = place.ask(
        "SELECT number, at, who, via, origin, operation, resource, result, policy, detail FROM fleet.audit"
    )
    held = {event["number"]: event for event in events(place.settings.lake)}
    for number, at, who, via, origin, operation, resource, result, policy, detail in rows:
        event = held[number]
        assert (at.timestamp(), who, via) == (datetime.fromisoformat(event["at"]).timestamp(), event["who"], None)
        told = [event[name] or None for name in ("origin", "operation", "resource", "result", "policy")]
        assert [origin, operation, resource, result, policy] == told
        assert (json.loads(detail) if detail else {}) == event["detail"]
    assert {who for (who,) in place.ask("SELECT who FROM fleet.audit", "ann")} == {"ann"}
    with pytest.raises(psycopg.errors.UndefinedTable):
        place.ask("SELECT * FROM fleet.audit", "bob")


def test_the_query_log_tells_what_cells_spared(place: Place) -> None:
    with Session(place.settings) as session:
        day = "ts >= TIMESTAMPTZ '2026-03-01' AND ts < TIMESTAMPTZ '2026-03-02'"
        session.query("SELECT model, count(*) FROM requests GROUP BY 1")
        session.query(f"SELECT count(*) FROM requests WHERE {day}")
        session.query("SELECT count(DISTINCT output_tokens) FROM requests")
    total = place.ask("SELECT count(*) FROM requests")[0][0]
    rows = place.ask(
        "SELECT path, cube, dims, rows, raw_rows, saved_rows, reason FROM fleet.asked WHERE fact = 'requests'"
    )
    assert ("cube", "serving") in {row[:2] for row in rows}
    for path, cube, _, read, raw_rows, saved, reason in rows:
        assert (path == "raw") == (cube is None)
        assert raw_rows in (0, total)
        assert saved == (max(0, raw_rows - read) if cube else 0)
        assert bool(reason) == (path == "raw")
    assert place.ask("SELECT count(*) FROM fleet.asked", "ann") == [(0,)]


def test_lines_of_the_query_log_of_before_are_read(tmp_path: Path) -> None:
    line = json.dumps({**asdict(ASKED), "raw_rows": 5})
    old = json.dumps({name: value for name, value in asdict(ASKED).items() if name != "raw_rows"})
    path = work_path(tmp_path) / "2026-01-01.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(f"{old}\n{line}\n{line[:40]}\n[1]\n")
    assert read_newest(tmp_path, 10**6) == [ASKED, replace(ASKED, raw_rows=5)]
    # A line that the bound cuts is left out.
    assert read_newest(tmp_path, len(line) + 70) == [replace(ASKED, raw_rows=5)]
    (path.parent / "2026-01-02.jsonl").write_text(f"{line}\n")
    assert len(read_newest(tmp_path, 10**6)) == 3


def test_alerts_hold_verdicts_failures_losses_and_refusals(place: Place) -> None:
    rows = [sample("1" if at % 3 else "bad", seq=100 + at) for at in range(1200)]
    land(place.settings, place.duck, "samples", rows)
    suite = load_suite("samples")
    [share] = [rule for rule in suite.batch if rule.name == "share_quarantined"]
    strict = suite.model_copy(update={"batch": (share.model_copy(update={"max": Decimal("0.1")}),)})
    [judged] = gate(place.settings, place.duck, suite=strict)
    told = Alert("selfaudit", "critical", "cube/serving", "wrong cells", data={"sql": "SELECT secret"})
    record_alert(place.duck, place.settings.lake, told)
    for entity in ("fact/samples", "fact/requests", "host/oslo/h1"):
        record_alert(place.duck, place.settings.lake, Alert("gate", "critical", entity, "blocked"))
    with pytest.raises(psycopg.OperationalError):
        place.ask("SELECT 1", user="nobody")
    with pytest.raises(psycopg.errors.UndefinedTable):
        place.ask("SELECT count(*) FROM requests", user="bob")
    # What is asked is put on record within a second, or with the next log-in.
    found = {(kind, subject, who) for kind, subject, who in place.ask("SELECT kind, subject, who FROM fleet.alerts")}
    wanted = {("job", "serving", None), ("gap", "samples", None), ("refusal", "login.failed", "nobody")}
    assert judged.verdict == "blocked"
    assert {*wanted, ("verdict", "samples", None), ("refusal", "query", "bob")} <= found
    audited = "SELECT message, detail FROM fleet.alerts WHERE kind = 'selfaudit'"
    assert place.ask(audited) == [("wrong cells", None)]  # the data may hold what somebody asked
    assert place.ask(audited, user="bob") == []
    of_bob = place.ask("SELECT kind, subject, who FROM fleet.alerts WHERE kind IN ('refusal', 'job')", user="bob")
    assert set(of_bob) == {("refusal", "query", "bob")}
    of_gate = "SELECT subject FROM fleet.alerts WHERE kind = 'gate' ORDER BY 1"
    assert place.ask(of_gate) == [("fact/requests",), ("fact/samples",), ("host/oslo/h1",)]
    assert place.ask(of_gate, user="bob") == [("fact/samples",)], "of a fact that he reads whole"


def test_of_a_restricted_fact_there_are_no_counts_and_of_others_nothing(place: Place) -> None:
    for table in ("cubes", "cuboids", "segments"):
        rows = place.ask(f"SELECT fact, cells FROM fleet.{table}", user="ann")
        assert set(rows) == {("requests", None)}, table
    shown = place.ask("SELECT dimensions, measures, size_bytes FROM fleet.cubes", user="ann")
    assert all("tenant" not in dims.split(", ") and size is None for dims, _, size in shown)
    assert any("tenant" in dims.split(", ") for (dims,) in place.ask("SELECT dimensions FROM fleet.cubes"))
    cuboids = place.ask("SELECT dimensions FROM fleet.cuboids", user="ann")
    assert cuboids
    assert not any("tenant" in dims.split(", ") for (dims,) in cuboids)
    for table in ("gaps", "jobs", "quality"):
        assert place.ask(f"SELECT * FROM fleet.{table}", user="ann") == []
    assert place.ask("SELECT * FROM fleet.metrics WHERE metric LIKE 'fleet_%'", user="ann") == []
    assert {row[0] for row in place.ask("SELECT fact FROM fleet.quality", user="bob")} == {"samples"}
    assert place.ask("SELECT subject FROM fleet.jobs", user="bob") == [("samples",)]
    with pytest.raises(psycopg.errors.UndefinedTable):
        place.ask("SELECT * FROM fleet.cubes", user="bob")


def test_what_was_published_a_moment_ago_is_there(place: Place) -> None:
    sql = "SELECT build, behind_batches, cells FROM fleet.cubes WHERE cube = 'serving'"
    for batch in range(3, 6):
        add_requests(place.duck, place.settings, 40, batch)
        [(before, behind, _)] = place.ask(sql)
        assert behind == batch - 2 if batch == 3 else behind == 1
        build(place.settings, place.duck, load_cubes()["serving"])
        snapshot = open_snapshot(place.settings.lake, table_of(load_cubes()["serving"]))
        assert place.ask(sql) == [(before + 1, 0, snapshot.rows)]
        age = "SELECT value >= 0 FROM fleet.metrics WHERE metric = 'fleet_newest_age_s' AND subject = 'requests'"
        assert place.ask(age) == [(True,)]
