"""The endpoint over a real lake: what clients see is what a session answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from sqllake import make_lake

from cubes.session import Session
from lake.settings import Settings

QUERIES = [
    "SELECT count(*), sum(output_tokens), min(e2e_ms), max(e2e_ms), avg(e2e_ms) FROM requests",
    "SELECT site, status, count(*) AS n FROM requests GROUP BY site, status ORDER BY site NULLS FIRST, status",
    "SELECT date_trunc('hour', ts) AS hour, sum(output_tokens) FROM requests GROUP BY 1 ORDER BY 1",
    "SELECT count(*) FROM requests WHERE ts >= '2026-10-06 01:02:03+00' AND ts < '2026-10-06 22:00:00+00'",
    "SELECT metric, avg(value) FROM samples GROUP BY metric ORDER BY metric",
    "SELECT model, MEASURE(errors), MEASURE(p99_latency) AS p FROM serving GROUP BY model ORDER BY model",
    "SELECT request_id, ts, e2e_ms FROM requests ORDER BY ts, request_id LIMIT 7",
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small lake with cubes, only read."""
    folder = tmp_path_factory.mktemp("endpoint") / "lake"
    folder.mkdir()
    settings = Settings(lake=folder, memory_mib=512)
    make_lake(settings, rows=300)
    return settings


@pytest.fixture(scope="module")
def client(serving: Callable[..., Any], lake: Settings) -> Iterator[psycopg.Connection[Any]]:
    with serving(factory=lambda: Session(lake)) as endpoint:
        place = f"host=127.0.0.1 port={endpoint.port} user=me dbname=fleet"
        with psycopg.connect(place, autocommit=True) as connection:
            yield connection


@pytest.mark.parametrize("sql", QUERIES)
def test_rows_over_the_wire_equal_the_session(client: psycopg.Connection[Any], lake: Settings, sql: str) -> None:
    cursor = client.execute(sql)
    with Session(lake) as session:
        answer = session.query(sql)
    assert [column.name for column in cursor.description or ()] == answer.table.column_names
    wanted = [tuple(row) for row in zip(*(column.to_pylist() for column in answer.table.columns), strict=True)]
    assert cursor.fetchall() == wanted


def test_notices_and_strict_mode(client: psycopg.Connection[Any]) -> None:
    heard: list[str] = []
    client.add_notice_handler(lambda diag: heard.append(diag.message_primary or ""))
    client.execute("SET fleetcube.receipt = on")
    client.execute("SELECT request_id FROM requests LIMIT 1")
    assert any("answered from trusted rows: " in text for text in heard)
    assert json.loads(heard[-1])["path"] == "raw"
    client.execute("SET fleetcube.receipt = off; SET fleetcube.require = 'cube'")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="require = cube"):
        client.execute("SELECT request_id FROM requests LIMIT 1")
    client.execute("SET fleetcube.require = 'exact'")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="approximate"):
        client.execute("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY e2e_ms) FROM requests")
    client.execute("RESET ALL")


def test_parameters_and_errors(client: psycopg.Connection[Any]) -> None:
    total = client.execute("SELECT count(*) FROM requests").fetchone()
    split = [
        client.execute("SELECT count(*) FROM requests WHERE e2e_ms < %s", [Decimal("900.5")]).fetchone(),
        client.execute("SELECT count(*) FROM requests WHERE NOT e2e_ms < %s", [Decimal("900.5")]).fetchone(),
        client.execute("SELECT count(*) FROM requests WHERE e2e_ms IS NULL").fetchone(),
    ]
    assert total == (sum(row[0] for row in split if row),)
    both = client.execute("SELECT count(*) FROM requests WHERE site = ANY(%s)", [["eu", "us"]]).fetchone()
    assert both == client.execute("SELECT count(*) FROM requests WHERE site IS NOT NULL").fetchone()
    with pytest.raises(psycopg.errors.UndefinedColumn):
        client.execute("SELECT modle FROM requests")
    with pytest.raises(psycopg.errors.UndefinedTable):
        client.execute("SELECT 1 FROM request")


@pytest.mark.psql
def test_psql(client: psycopg.Connection[Any]) -> None:
    place = f"host=127.0.0.1 port={client.info.port} user=me dbname=fleet"
    sql = "SELECT status, count(*) AS n FROM public.requests WHERE status = 'ok' GROUP BY status"
    done = subprocess.run(["psql", "-XAt", place, "-c", sql], capture_output=True, text=True, timeout=60, check=True)
    row = client.execute("SELECT count(*) FROM requests WHERE status = 'ok'").fetchone()
    assert row is not None
    assert done.stdout == f"ok|{row[0]}\n"
