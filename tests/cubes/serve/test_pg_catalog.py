"""What psql and drivers ask of the catalogue; a query that it refuses fails the test, whatever came back."""

from __future__ import annotations

import logging
import subprocess
from typing import Any

import pytest

from lake.facts import load_facts
from lake.lookups import load_lookups


def psql(endpoint: Any, *commands: str) -> str:
    place = f"host=127.0.0.1 port={endpoint.port} user=me dbname=fleet"
    wanted = ["psql", "-X", "-A", "-v", "ON_ERROR_STOP=1", place]
    for command in commands:
        wanted += ["-c", command]
    done = subprocess.run(wanted, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def no_refusals(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.WARNING, "cubes.serve.pg_catalog")
    yield
    assert "refused" not in caplog.text


@pytest.mark.psql
def test_psql_lists_facts_and_lookups(endpoint: Any) -> None:
    shown = psql(endpoint, r"\dt")
    for name in (*load_facts(), *load_lookups()):
        assert f"public|{name}|table|" in shown
    assert "fleet|receipts|view|" in psql(endpoint, r"\dv fleet.*")
    assert psql(endpoint, r"\d").count("|table|") == shown.count("|table|")


@pytest.mark.psql
def test_psql_describes_a_table_with_units(endpoint: Any) -> None:
    plain = psql(endpoint, r"\d requests")
    assert 'Table "public.requests"' in plain
    assert "\nts|timestamp with time zone||not null|" in plain
    assert "\ne2e_ms|numeric|||" in plain
    with_comments = psql(endpoint, r"\d+ requests")
    column = load_facts()["requests"].column("e2e_ms")
    assert f"{column.description} [{column.unit}]" in with_comments
    assert "|bigint[]|" in psql(endpoint, r"\d samples")


@pytest.mark.psql
@pytest.mark.parametrize(
    "command",
    [
        *(
            r"\dn",
            r"\dn+",
            r"\l",
            r"\l+",
            r"\du",
            r"\df",
            r"\dt+",
            r"\d fleet.receipts",
            r"\dT int8",
            r"\dv",
            r"\d+ serving",
        ),
        *(r"\d", r"\d+", r"\dp", r"\z", r"\d sites", r"\d+ sites", r"\di", r"\di+", r"\conninfo", r"\db"),
    ],
)
def test_psql_family(endpoint: Any, command: str) -> None:
    assert psql(endpoint, command)


@pytest.mark.psql
@pytest.mark.parametrize("command", [r"\ds", r"\dm"])
def test_psql_finds_none_of_what_there_is_not(endpoint: Any, command: str) -> None:
    assert psql(endpoint, command) == ""


@pytest.mark.psql
def test_psql_asks_facts(endpoint: Any) -> None:
    text = psql(endpoint, "SELECT model, count(*) AS n FROM requests GROUP BY 1 ORDER BY 1 NULLS LAST LIMIT 1")
    assert text == "model|n\nm0|286\n(1 row)\n"
    assert "fleetcube" in psql(endpoint, "SELECT version()")


@pytest.mark.parametrize(
    "sql, rows",
    [
        ("SELECT 1, 'a' AS a, NULL, 1.5::numeric", [("1", "a", None, "1.5")]),
        ("SELECT current_schema(), current_database(), current_user", [("public", "fleet", "me")]),
        ("SELECT pg_catalog.version() LIKE 'PostgreSQL 14%'", [("t",)]),
        ("SELECT current_setting('TimeZone'), current_schemas(true)", [("UTC", "{pg_catalog,public}")]),
        ("SELECT typname FROM pg_type WHERE oid = 1184", [("timestamptz",)]),
        (
            "SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid"
            " WHERE typname = 'hstore'",
            [],
        ),
        ("SELECT relname FROM pg_catalog.pg_class WHERE pg_class.oid = 'requests'::regclass", [("requests",)]),
        ("SELECT pg_catalog.pg_class.relkind FROM pg_catalog.pg_class WHERE relname = 'samples'", [("r",)]),
        (
            "SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg_%' ORDER BY nspname",
            [("fleet",), ("information_schema",), ("public",)],
        ),
        (
            "SELECT data_type FROM information_schema.columns WHERE table_name = 'requests' AND column_name = 'ts'",
            [("timestamp with time zone",)],
        ),
        ("SELECT count(*) FROM pg_index WHERE NOT indisprimary", [("0",)]),
        (
            "SELECT tablename, hasindexes FROM pg_tables WHERE tablename IN ('requests', 'sites') ORDER BY 1",
            [("requests", "f"), ("sites", "t")],
        ),
        ("SELECT viewowner FROM pg_views WHERE schemaname = 'fleet' AND viewname = 'receipts'", [("fleetcube",)]),
        # Grafana's table and column pickers, and Superset's.
        (
            "SELECT quote_ident(table_name) FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN"
            " ('information_schema', 'pg_catalog', '_timescaledb_cache') AND quote_ident(table_name) = 'requests'",
            [("requests",)],
        ),
        (
            'SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns'
            " WHERE quote_ident(table_name) = 'requests' AND column_name = 'ts'",
            [("ts", "timestamp with time zone")],
        ),
        ("SELECT current_setting('server_version_num')::int/100 AS version", [("1400",)]),
        ("SELECT 7/2, 7/2.0 = 3.5, -7/2, 6.0/4 = 1.5", [("3", "t", "-3", "t")]),
        ("SELECT count(*)/2*2 <= count(*) FROM pg_class", [("t",)]),
        ("SELECT pg_backend_pid() > 0, extversion FROM pg_extension WHERE extname = 'timescaledb'", []),
        (
            "WITH c AS (SELECT relname AS r FROM pg_class) SELECT r FROM c WHERE r OPERATOR(pg_catalog.~) '^sampl'",
            [("samples",)],
        ),
        ("SELECT format_type(1700, -1), col_description('sites'::regclass, 2) IS NOT NULL", [("numeric", "t")]),
    ],
)
def test_catalogue_queries(endpoint: Any, sql: str, rows: list[tuple[str | None, ...]]) -> None:
    with endpoint.connect() as wire:
        result = wire.query(sql)
        assert result.errors == []
        assert result.rows == rows


@pytest.mark.parametrize(
    "sql, names",
    [
        (
            "SELECT 1, 1, current_user, version(), now(), '5'::int",
            ["?column?", "?column?", "current_user", "version", "now", "int4"],
        ),
        ("SELECT relname, count(*), relname::text FROM pg_class GROUP BY 1 LIMIT 0", ["relname", "count", "relname"]),
        ("SELECT * FROM pg_am LIMIT 0", ["oid", "amname", "amhandler", "amtype"]),
    ],
)
def test_columns_are_named_as_postgresql_does(endpoint: Any, sql: str, names: list[str]) -> None:
    with endpoint.connect() as wire:
        assert wire.query(sql).columns == names


@pytest.mark.parametrize(
    "sql, code",
    [
        ("SELECT 1/0", "22012"),
        ("SELECT 1.5/(oid - oid) FROM pg_class", "22012"),
        ("SELECT nope FROM fleet.queries", "42703"),
        ("SET search_path = foo", "22023"),
    ],
)
def test_what_is_wrong_with_a_statement_is_told_as_postgresql_does(endpoint: Any, sql: str, code: str) -> None:
    with endpoint.connect() as wire:
        assert [error["C"] for error in wire.query(sql).errors] == [code]
        assert wire.query("SET search_path = public, pg_catalog").errors == []
        assert wire.query("SET search_path = fleet").errors == []
