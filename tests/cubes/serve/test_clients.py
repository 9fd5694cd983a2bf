"""Drivers that speak binary, and tools that read the catalogue, against the endpoint; a refused query fails."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa

from lake.facts import load_facts
from lake.lookups import load_lookups

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_refusals(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.WARNING, "cubes.serve.pg_catalog")
    yield
    assert "refused" not in caplog.text


def asked(endpoint: Any, steps: Any) -> Any:
    """Run a coroutine of one asyncpg connection."""

    async def run() -> Any:
        connection = await asyncpg.connect(host="127.0.0.1", port=endpoint.port, user="me", database="fleet")
        try:
            return await steps(connection)
        finally:
            await connection.close()

    made: Coroutine[Any, Any, Any] = run()
    return asyncio.run(made)


def test_asyncpg_reads_and_binds(endpoint: Any) -> None:
    async def steps(connection: asyncpg.Connection) -> None:
        row = await connection.fetchrow(
            "SELECT count(*) AS n, max(e2e_ms) AS top, min(ts) AS first FROM requests"
            " WHERE output_tokens < $1 AND ts >= $2 AND model = ANY($3::text[])",
            100,
            datetime(2026, 1, 1, tzinfo=UTC),
            ["m0", "m1"],
        )
        assert row is not None
        assert row["n"] == sum(1 for n in range(100) if n % 7 and n % 3 in (0, 1))
        assert row["top"] == Decimal("12.375") - Decimal("0.125") * (0 if 99 % 7 and 99 % 3 < 2 else 1)
        assert row["first"] == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
        assert await connection.fetchval("SELECT $1::interval", timedelta(days=2, hours=3)) == timedelta(2, 10800)
        assert await connection.fetch("SELECT output_tokens FROM requests ORDER BY 1 LIMIT $1 OFFSET $2", 2, 5) == [
            (5,),
            (6,),
        ]

    asked(endpoint, steps)


def test_asyncpg_cursors_pools_and_copy(endpoint: Any) -> None:
    async def steps(connection: asyncpg.Connection) -> None:
        async with connection.transaction():
            seen = [row[0] async for row in connection.cursor("SELECT output_tokens FROM requests ORDER BY 1")]
        assert seen == list(range(1000))
        prepared = await connection.prepare("SELECT model, output_tokens FROM requests WHERE output_tokens = $1")
        assert [a.type.name for a in prepared.get_attributes()] == ["text", "int8"]
        assert await prepared.fetchrow(8) == ("m2", 8)
        await connection.reset()
        taken = bytearray()

        async def take(data: bytes) -> None:
            taken.extend(data)

        said = await connection.copy_from_query(
            "SELECT model, output_tokens FROM requests ORDER BY 2 LIMIT 2", output=take, format="csv", header=True
        )
        assert (said, bytes(taken)) == ("COPY 2", b"model,output_tokens\n,0\nm1,1\n")
        # Its introspection of types: a look-up of one that it does not know by itself.
        found = await connection.fetch("SELECT oid FROM pg_catalog.pg_type WHERE typname = ANY($1::text[])", ["int8"])
        assert [tuple(row) for row in found] == [(20,)]

    asked(endpoint, steps)


def test_asyncpg_sees_errors(endpoint: Any) -> None:
    async def steps(connection: asyncpg.Connection) -> None:
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.fetch("SELECT * FROM nope")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await connection.execute("DROP TABLE requests")
        assert await connection.fetchval("SELECT 1") == 1

    asked(endpoint, steps)


def test_psycopg_reads_binary_as_text(endpoint: Any) -> None:
    place = f"host=127.0.0.1 port={endpoint.port} user=me dbname=fleet"
    sql = "SELECT ts, model, output_tokens, e2e_ms, output_tokens > 5, ts::date FROM requests ORDER BY ts LIMIT 50"
    with psycopg.connect(place, autocommit=True) as connection:
        plain = connection.execute(sql).fetchall()
        for number in range(7):
            with connection.cursor(binary=True) as cursor:
                assert cursor.execute(sql, prepare=number > 3).fetchall() == plain
        with connection.cursor() as cursor, cursor.copy(f"COPY ({sql}) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["timestamptz", "text", "int8", "numeric", "bool", "date"])
            assert list(copy.rows()) == plain
        with connection.cursor() as cursor, cursor.copy(f"COPY ({sql}) TO STDOUT") as copy:
            copy.set_types(["timestamptz", "text", "int8", "numeric", "bool", "date"])
            assert list(copy.rows()) == plain


def test_sqlalchemy_inspects(endpoint: Any) -> None:
    engine = sa.create_engine(f"postgresql+psycopg://me@127.0.0.1:{endpoint.port}/fleet")
    try:
        looked = sa.inspect(engine)
        names = looked.get_table_names()
        assert set(names) >= {*load_facts(), *load_lookups()}
        assert "receipts" in looked.get_view_names("fleet")
        columns = {column["name"]: column for column in looked.get_columns("requests")}
        assert isinstance(columns["ts"]["type"], sa.TIMESTAMP)
        assert columns["ts"]["nullable"] is False
        assert isinstance(columns["e2e_ms"]["type"], sa.Numeric)
        assert columns["e2e_ms"]["comment"].endswith("[ms]")
        assert looked.get_table_comment("requests")["text"] == load_facts()["requests"].description
        sites = load_lookups()["sites"]
        assert looked.get_pk_constraint("sites")["constrained_columns"] == [*sites.key, "valid_from"]
        assert looked.get_pk_constraint("samples")["constrained_columns"] == []
        for name in names:
            looked.get_indexes(name)
            assert looked.get_foreign_keys(name) == []
            assert looked.get_check_constraints(name) == []
            looked.get_unique_constraints(name)
        assert looked.has_table("requests")
        assert not looked.has_table("nothing")
        assert set(looked.get_schema_names()) >= {"public", "fleet"}
        with engine.connect() as connection:
            requests = sa.Table("requests", sa.MetaData(), autoload_with=connection)
            asked_for = sa.select(requests.c.model, sa.func.count()).group_by(requests.c.model)
            found = connection.execute(asked_for.where(requests.c.model.in_(["m0", "m1"]))).all()
            assert sorted(tuple(row) for row in found) == [("m0", 286), ("m1", 285)]
    finally:
        engine.dispose()


@pytest.mark.jdbc
def test_pgjdbc(endpoint: Any) -> None:
    """Everything that the small program beside the data asks; what it prints is checked line by line."""
    jar = next((Path(sys.prefix) / "jdbc").glob("postgresql-*.jar"))
    url = f"jdbc:postgresql://127.0.0.1:{endpoint.port}/fleet?user=me"
    command = ["java", "-cp", str(jar), str(ROOT / "tests" / "data" / "jdbc" / "Ask.java"), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        title, _, rest = line.partition("|")
        said.setdefault(title, []).append(rest)
    assert said["valid"] == ["true"]
    assert said["product"][0].startswith("PostgreSQL|14")
    assert {"public", "fleet"} <= set(said["schema"])
    assert said["catalog"] == ["fleet"]
    assert {"TABLE", "VIEW"} <= set(said["kind"])
    tables = {line.split("|")[0]: line.split("|")[1:] for line in said["table"]}
    assert tables["requests"] == ["TABLE", load_facts()["requests"].description]
    assert tables["serving"][0] == "VIEW"
    assert "MEASURE(name) of: " in tables["serving"][1]
    columns = {line.split("|")[0]: line.split("|")[1:] for line in said["column"]}
    assert list(columns) == [column.name for column in load_facts()["requests"].columns]
    assert columns["ts"][:2] == ["timestamptz", "NO"]
    assert columns["e2e_ms"][0] == "numeric"
    assert columns["e2e_ms"][2].endswith("[ms]")
    key = [*load_lookups()["sites"].key, "valid_from"]
    assert said["key"] == [f"{name}|{place}|sites_pkey" for place, name in enumerate(key, 1)]
    assert said["index"] == [f"sites_pkey|{name}" for name in key]
    assert {"int8", "numeric", "text", "timestamptz"} <= set(said["type"])
    assert not said.keys() & {"foreign", "function", "procedure"}
    for turn in range(8):
        wanted = [n for n in range(turn, 40) if n % 7 and n % 3 == 1][:3]
        assert [line for line in said["row"] if line.startswith(f"{turn}|")] == [
            f"{turn}|2026-01-01T00:00{f':{n:02d}' if n else ''}Z|m1|{n}|{Decimal(n) / 8:f}|{str(n > 5).lower()}"
            for n in wanted
        ]
    assert said["paged"] == ["499500"]
    assert said["error"] == ["42P01"]
    assert said["cancelled"] == ["57014"]
    assert said["numeric"] == ["true"]
