"""What Superset says when it connects to the endpoint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from acting import act_for


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "endpoint_key").write_text("k" * 43)
    monkeypatch.setenv("SUPERSET_HOME", str(tmp_path))
    monkeypatch.delenv("SUPERSET_RAW", raising=False)


def options(username: str | None, database: str = "fleet") -> str:
    """The start options of a connection for that person."""
    _, params = act_for(SimpleNamespace(database=database), {}, username, None, None)
    return str(params.get("connect_args", {}).get("options", ""))


def test_a_person_is_named_and_cubes_answer() -> None:
    assert options("ada").startswith("-c fleetcube.act_for=fc1.YWRh.")
    assert "raw" not in options("ada")


def test_rows_are_asked_where_a_comparison_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPERSET_RAW", "1")
    assert options("ada").endswith(" -c fleetcube.raw=on")


@pytest.mark.parametrize(("username", "database"), [(None, "fleet"), ("ada", "another")])
def test_nobody_is_named_for_jobs_and_other_databases(username: str | None, database: str) -> None:
    assert options(username, database) == ""
