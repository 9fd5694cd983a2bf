"""A star schema of a user's own: docs/own-facts.md run as it stands, then asked through both doors and the endpoint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest
from sqlcorpus import Query, check, queries

from cubes.session import Session
from lake.own import use_own
from lake.settings import Settings, load_settings

_NINTH = Decimal("1e-9")
PAGE = (Path(__file__).parents[2] / "docs" / "own-facts.md").read_text()
_FILE = re.compile(r"^`([a-z/-]+\.(?:yaml|toml))`[^\n]*:\n\n```(?:yaml|toml)\n(.*?)```", re.M | re.S)


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.M | re.S)
    return [body for word, body in found if word == language]


def fleetcube(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A line, or lines, for the shell, where the folder's own settings hold."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLEETCUBE_")}
    environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
    return subprocess.run(
        ["bash", "-e"], input=command, cwd=folder, env=environ, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which the page's files, program and commands were run, and what the commands said."""
    folder = tmp_path_factory.mktemp("shop")
    for name, body in _FILE.findall(PAGE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(body)
    subprocess.run([sys.executable, "-c", blocks("python")[0]], cwd=folder, check=True, timeout=60)
    done = fleetcube(folder, blocks("sh")[0])
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture(scope="module")
def settings(shop: tuple[Path, str]) -> Iterator[Settings]:
    """The settings of that folder, with its declarations in force."""
    folder, _ = shop
    given = load_settings(environ={}, folder=folder)
    names = ("lake", "declarations", "definitions", "mappings")
    found = Settings(**{name: folder / getattr(given, name) for name in names}, memory_mib=512)  # type: ignore[arg-type]
    use_own(found.declarations)
    yield found
    use_own(Path(""))


def test_the_page_says_what_comes_out(shop: tuple[Path, str]) -> None:
    _, said = shop
    assert "3,000 rows of orders landed" in said
    assert "all equal" in said
    assert blocks("")[0] in said


def _sums(folder: Path) -> dict[tuple[str, str], tuple[int, Decimal]]:
    """Lines and revenue by brand and city, in plain Python from the Parquet files."""
    brands = {row["product"]: row["brand"] for row in pq.read_table(folder / "products.parquet").to_pylist()}
    cities = {row["store"]: row["city"] for row in pq.read_table(folder / "stores.parquet").to_pylist()}
    found: dict[tuple[str, str], tuple[int, Decimal]] = defaultdict(lambda: (0, Decimal(0)))
    for row in pq.read_table(folder / "orders-2026.parquet").to_pylist():
        key = (brands[row["product"]], cities[row["store"]])
        found[key] = (found[key][0] + 1, found[key][1] + Decimal(repr(row["revenue"])).quantize(_NINTH))
    return dict(found)


def test_sums_are_those_of_the_files(shop: tuple[Path, str], settings: Settings) -> None:
    with Session(settings) as session:
        answer = session.query("SELECT brand, city, count(*), sum(revenue) FROM orders GROUP BY 1, 2")
    rows = zip(*(column.to_pylist() for column in answer.table.columns), strict=True)
    assert {(brand, city): (lines, revenue) for brand, city, lines, revenue in rows} == _sums(shop[0])
    assert answer.path == "cube"


@pytest.mark.parametrize("query", queries("*.slt", "star"), ids=lambda query: query.name)
def test_both_doors_agree(settings: Settings, query: Query) -> None:
    with Session(settings) as session:
        answer = check(session, query)
    assert answer.table.num_rows


def test_the_example_of_joins(settings: Settings) -> None:
    with Session(settings) as session:
        check(session, Query("page", blocks("sql")[0], "cube", "own-facts.md"))


@pytest.fixture
def client(shop: tuple[Path, str], settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    """A connection to `fleetcube serve`, started in that folder."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLEETCUBE_")}
    command = [sys.executable, "-m", "fleetcube", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=shop[0], env=environ, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = ""
        while (found := re.search(r"SQL on [^:]+:([0-9]+)", line)) is None:
            line = server.stderr.readline()
            assert line, "the server ended"
        with psycopg.connect(f"host=127.0.0.1 port={found[1]} user=me dbname=fleet", autocommit=True) as connection:
            yield connection
        server.terminate()
        server.communicate(timeout=60)


def test_over_the_endpoint(client: psycopg.Connection[Any], settings: Settings) -> None:
    with Session(settings) as session:
        for sql in [blocks("sql")[0], *(query.sql for query in queries("*.slt", "star"))]:
            answer = session.query(sql).table
            wanted = Counter(zip(*(column.to_pylist() for column in answer.columns), strict=True))
            assert Counter(client.execute(sql).fetchall()) == wanted, sql
    tables = client.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert {("orders",), ("customers",), ("products",), ("stores",)} <= set(tables)
    comment = "SELECT col_description('orders'::regclass, 9)"
    assert client.execute(comment).fetchall() == [("Price of the line after discount [{EUR}]",)]


def test_the_other_verbs_know_it(shop: tuple[Path, str]) -> None:
    folder, _ = shop
    again = fleetcube(
        folder, "fleetcube replay orders-2026.parquet --as shop; fleetcube lookup load stores stores.parquet"
    )
    assert "known already; nothing changed" in again.stdout
    assert "were there already" in again.stdout
    done = fleetcube(
        folder, "fleetcube status; fleetcube retain; fleetcube upkeep; fleetcube lookup list; fleetcube cube list"
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"orders +.*3,000", done.stdout), done.stdout
    assert re.search(r"products +10 rows", done.stdout)


def test_without_the_setting_it_is_unknown(shop: tuple[Path, str]) -> None:
    folder, _ = shop
    done = fleetcube(
        folder, "FLEETCUBE_DECLARATIONS= FLEETCUBE_DEFINITIONS= fleetcube sql 'SELECT count(*) FROM orders'"
    )
    assert done.returncode == 1
    assert "there is no table 'orders'" in done.stderr
    missing = fleetcube(folder, "FLEETCUBE_DECLARATIONS=nowhere fleetcube status")
    assert "The folder of declarations is not there" in missing.stderr
