"""What the endpoint knows beyond PostgreSQL, over a real lake: AS OF, EXPLAIN CUBE, strict mode, its own tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from sqllake import add_requests, make_lake

from cubes.build import build
from cubes.load import load_cubes
from cubes.results import ResultCache
from cubes.selfaudit import SelfAudit
from cubes.serve.own_tables import audit_table, cache_table
from cubes.session import Session
from fleetcube.cli import cli as main
from lake.delta import open_snapshot
from lake.duck import connect
from lake.settings import Settings
from lake.tables import trusted

COUNT = "SELECT count(*) FROM requests"
Client = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two versions of requests after the first two, each in the cube: 80 rows, then 100."""
    settings = Settings(lake=tmp_path_factory.mktemp("own") / "lake", memory_mib=512, selfaudit_permille=1000)
    settings.lake.mkdir()
    cube = load_cubes()["serving"]
    make_lake(settings, rows=80, cubes=[cube])
    duck = connect(settings)
    add_requests(duck, settings, 20, 3)
    build(settings, duck, cube)
    duck.connection.close()
    assert open_snapshot(settings.lake, trusted("requests")).version == 3
    return settings


@pytest.fixture(scope="module")
def audit(lake: Settings) -> Iterator[SelfAudit]:
    made = SelfAudit(lake, Session)
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(serving: Callable[..., Any], lake: Settings, audit: SelfAudit) -> Iterator[Client]:
    results = ResultCache(2**20)
    more = (cache_table(results), audit_table(audit))
    with (
        serving(factory=lambda: Session(lake, results=results, audit=audit), more=more) as endpoint,
        psycopg.connect(f"host=127.0.0.1 port={endpoint.port} user=me dbname=fleet", autocommit=True) as connection,
    ):
        yield connection


def one(client: Client, sql: str, *parameters: Any) -> Any:
    row = client.execute(sql, parameters or None).fetchone()
    assert row is not None
    return row[0]


def test_as_of_in_a_statement_and_as_a_setting(client: Client) -> None:
    assert one(client, COUNT) == 100
    assert one(client, f"{COUNT} AS OF VERSION 2") == 80
    assert one(client, f"{COUNT} AS OF VERSION 2 AS r WHERE r.model <> %s", "none") < 80
    assert one(client, "SELECT count(*) FROM public.requests AS OF VERSION 2") == 80
    with client.cursor().copy(f"COPY ({COUNT} AS OF VERSION 2) TO STDOUT") as copy:
        assert b"".join(map(bytes, copy)) == b"80\n"
    client.execute("SET fleetcube.as_of = 'requests@2'")
    assert (one(client, COUNT), one(client, "SHOW fleetcube.as_of")) == (80, "requests@2")
    assert one(client, f"{COUNT} AS OF VERSION 3") == 100
    client.execute("RESET ALL")
    assert one(client, COUNT) == 100
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no version 9 of requests"):
        client.execute(f"{COUNT} AS OF VERSION 9")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"invalid value for parameter 'fleetcube\.as_of'"):
        client.execute("SET fleetcube.as_of = 'yesterday'")


def test_explain_says_the_same_everywhere(client: Client, lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "SELECT user_hash, count(*) FROM requests GROUP BY user_hash"
    told = [row[0] for row in client.execute(f"EXPLAIN CUBE {sql}").fetchall()]
    assert any(line.startswith("  would fit: cube serving with dimension user_hash") for line in told)
    monkeypatch.setenv("FLEETCUBE_LAKE", str(lake.lake))
    printed = CliRunner().invoke(main, ["sql", "--explain", sql], catch_exceptions=False)
    assert printed.stdout.splitlines() == told


def test_strict_mode_on_the_command_line(lake: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETCUBE_LAKE", str(lake.lake))
    run = CliRunner()
    assert run.invoke(main, ["sql", "--require", "cube", COUNT]).exit_code == 0
    assert "80" in run.invoke(main, ["sql", "--as-of", "requests@2", COUNT]).stdout
    refused = run.invoke(main, ["sql", "--require", "passed", COUNT])
    # These rows were written behind the gate's back.
    assert "3 batches were never judged" in str(refused.exception or refused.output)


def test_every_answer_leaves_a_receipt(client: Client) -> None:
    client.execute(f"{COUNT} WHERE ts >= '2026-10-06' AND model = 'llama-3'")
    text = one(client, "SELECT receipt FROM fleet.receipts ORDER BY answered_at DESC LIMIT 1")
    receipt = json.loads(text)
    assert receipt["path"] == "cube"
    assert (receipt["policy"], receipt["as_of"], receipt["cached"]) == ("none", None, False)
    assert receipt["versions"]["requests"]["trusted"] == 3
    assert receipt["blocks"][0]["pieces"][0]["cuboid"]
    assert "rows" not in receipt


def test_what_is_kept_and_audited_is_shown(client: Client, audit: SelfAudit) -> None:
    before = one(client, "SELECT hits FROM fleet.result_cache")
    for _ in range(3):
        client.execute(COUNT)
    assert one(client, "SELECT hits FROM fleet.result_cache") >= before + 2
    assert audit.wait(120)
    row = client.execute("SELECT sampled, audited, skipped, dropped, differing FROM fleet.selfaudit").fetchone()
    assert row is not None
    assert (row[0], row[4]) == (sum(row[1:4]), 0)
    assert row[1] > 0
