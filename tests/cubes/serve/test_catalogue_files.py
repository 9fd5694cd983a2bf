"""What psql and pgjdbc ask of the catalogue, from files: each query is answered, with rows where there must be some."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlcorpus import Query, queries

ASKED = queries("*.slt", "catalogue")


def numbered(wire: Any, sql: str) -> str:
    """The query with the numbers of the relations that it names as {name}."""
    for name in set(re.findall(r"\{([a-z_]+)\}", sql)):
        [(number,)] = wire.query(f"SELECT oid FROM pg_class WHERE relname = '{name}'").rows
        sql = sql.replace(f"{{{name}}}", number)
    return sql


@pytest.mark.parametrize("query", ASKED, ids=lambda query: query.name)
def test_a_tool_gets_its_answer(endpoint: Any, query: Query) -> None:
    with endpoint.connect() as wire:
        result = wire.query(numbered(wire, query.sql))
    assert result.errors == [], query.place
    assert bool(result.rows) == (query.options["rows"] == "some"), query.place
    wanted = query.options.get("has", "").replace("_", " ")
    cells = {cell.replace("_", " ") for row in result.rows for cell in row if cell is not None}
    assert not wanted or wanted in cells, query.place


def test_the_files_hold_the_whole_family() -> None:
    names = {re.sub(r"-[0-9]+$", "", query.name.partition("/")[2]) for query in ASKED}
    assert {"d", "d-requests", "d+-requests", "dt", "dn", "du", "l", "df", "dv", "di", "dT", "dp", "meta"} <= names
