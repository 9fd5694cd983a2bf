"""The shapes of SQL that dashboards send, on tables of schema `fleet`: answers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from gating import gate, sample
from landed import land
from sqllake import make_lake

from cubes.load import load_cubes
from cubes.session import Session
from lake import ledger
from lake.duck import connect
from lake.lookup_store import ensure_lookups
from lake.settings import Settings

FILE = Path(__file__).parents[2] / "sql" / "dashboards" / "fleet.sql"
# When, step, subject, outcome, rows, seconds.
JOBS = (
    ("10:00:01", "gate", "samples", "done", 10, 10.0),
    ("10:04:59", "build", "cube/serving", "done", 5, 1.0),
    ("10:05:00", "gate", "samples", "failed", 20, 2.0),
    ("10:58:59", "gate", "samples", "done", 30, 0.5),
    ("11:00:00", "gate", "requests", "done", 40, 3.0),
    ("11:01:00", "build", "cube/serving", "done", 5, 9.5),
)


def records() -> list[tuple[str, str]]:
    """(wanted rows or nothing, SQL) of the file."""
    found, wanted = [], ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("# rows: "):
            wanted = line.removeprefix("# rows: ")
        elif line and not line.startswith("--"):
            found.append((wanted, line.rstrip(";")))
            wanted = ""
    return found


RECORDS = records()


@pytest.fixture(scope="module")
def client(
    serving: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    lake = tmp_path_factory.mktemp("shapes") / "lake"
    lake.mkdir()
    settings = Settings(lake=lake, memory_mib=512)
    duck = connect(settings)
    ensure_lookups(lake, duck)
    make_lake(settings, rows=80, cubes=[load_cubes()["serving"]])
    land(settings, duck, "samples", [sample("1"), sample("bad")])
    gate(settings, duck)
    with pytest.MonkeyPatch.context() as patch:
        for at, step, subject, outcome, rows, seconds in JOBS:
            moment = datetime.fromisoformat(f"2020-10-05T{at}+00:00")
            patch.setattr(ledger, "utc_now", lambda moment=moment: moment)
            ledger.record(settings, duck, step, subject, outcome=outcome, rows=rows, seconds=seconds)
    with Session(settings) as session:
        session.query("SELECT model, count(*) FROM requests GROUP BY 1")
    with (
        serving(lambda: Session(settings), {"lake": lake}) as endpoint,
        psycopg.connect(f"host=127.0.0.1 port={endpoint.port} user=me dbname=fleet", autocommit=True) as connection,
    ):
        yield connection


def test_the_file_is_read() -> None:
    assert len(RECORDS) >= 25
    assert sum(bool(wanted) for wanted, _ in RECORDS) >= 15


@pytest.mark.parametrize(("wanted", "sql"), RECORDS, ids=[str(place) for place in range(len(RECORDS))])
def test_a_shape_is_answered(client: psycopg.Connection[tuple[Any, ...]], wanted: str, sql: str) -> None:
    cursor = client.execute(sql)  # type: ignore[call-overload]
    rows = cursor.fetchall()
    if wanted:
        assert " | ".join(" ".join(map(_told, row)) for row in rows) == wanted
    assert rows


def _told(value: Any) -> str:
    if isinstance(value, datetime):
        assert value.utcoffset() is not None
        return f"{value:%H:%M}"
    return str(float(value)) if isinstance(value, (float, Decimal)) else str(value)
