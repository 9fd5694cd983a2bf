"""Attacks on the catalogue: each query that names a system table ends as its file says, and the server lives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostilelake import attacks

FOLDER = Path(__file__).parents[2] / "sql" / "hostile" / "catalogue"
FILES = sorted(FOLDER.glob("*.sql"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_attack_ends_as_its_file_says(endpoint: Any, path: Path) -> None:
    with endpoint.connect() as wire:
        for attack in attacks(path):
            result = wire.query(attack.sql)
            assert [error["C"] for error in result.errors] == [attack.outcome], (attack.sql, result.errors)
            assert result.rows == [], attack.sql
            assert result.status == "I", attack.sql
        assert wire.query("SELECT count(*) FROM pg_namespace").rows == [("4",)]
    assert endpoint.alive()


def test_there_are_enough_of_them() -> None:
    found = [attack.sql for path in FILES for attack in attacks(path)]
    assert len(found) == len(set(found)) >= 137


def test_a_function_is_refused_by_its_name(endpoint: Any) -> None:
    with endpoint.connect() as wire:
        for name in ("repeat", "lpad", "getenv", "range"):
            [error] = wire.query(f"SELECT {name}('x', 2) FROM pg_class").errors
            assert error["M"] == f"there is no function {name}()"


def test_a_query_without_end_is_ended(serving: Any) -> None:
    """Time is bounded as for any statement."""
    with serving(statement_s=2.0) as endpoint, endpoint.connect() as wire:
        long = ", ".join([*(f"pg_attribute AS a{place}" for place in range(3)), "generate_series(1, 1000) AS s"])
        [error] = wire.query(f"SELECT count(*) FROM {long}, generate_series(1, 1000) AS t").errors
        assert error["C"] == "57014"
        assert wire.query("SELECT count(*) FROM pg_namespace").rows == [("4",)]
