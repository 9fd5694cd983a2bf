"""What Superset tells the endpoint at each connection, against the endpoint's own reading of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from acting import HOLDS_S, act_for, signed_name

from lake.acting import Keys, TokenError

NOW = 1_790_000_000.0


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Keys, str]:
    keys = Keys(tmp_path / "acting.json")
    return keys, keys.make("superset", grace_s=0)


@pytest.mark.parametrize("name", ["ada", "ada@example.org", "Zoë Åström", "x" * 63])
def test_the_endpoint_reads_the_name(keys: tuple[Keys, str], name: str) -> None:
    held, key = keys
    assert held.read("superset", signed_name(name, key, NOW), now=NOW).person == name


def test_it_holds_for_a_minute(keys: tuple[Keys, str]) -> None:
    held, key = keys
    with pytest.raises(TokenError, match="expired"):
        held.read("superset", signed_name("ada", key, NOW), now=NOW + HOLDS_S + 40)


def test_another_key_says_nothing(keys: tuple[Keys, str]) -> None:
    held, _ = keys
    with pytest.raises(TokenError, match="not signed"):
        held.read("superset", signed_name("ada", "another key", NOW), now=NOW)


def test_two_tokens_are_never_the_same(keys: tuple[Keys, str]) -> None:
    assert signed_name("ada", keys[1], NOW) != signed_name("ada", keys[1], NOW)


def test_the_name_goes_with_the_connection(
    keys: tuple[Keys, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, key = keys
    (tmp_path / "endpoint_key").write_text(f"{key}\n")
    monkeypatch.setenv("SUPERSET_HOME", str(tmp_path))
    monkeypatch.delenv("SUPERSET_RAW", raising=False)
    (tmp_path / "endpoint_port").write_text("5433")
    uri: Any = SimpleNamespace(host="127.0.0.1", port=5433, username="superset", database="fleet")
    given: dict[str, Any] = {"poolclass": None, "connect_args": {"options": "-c statement_timeout=1s"}}
    _, params = act_for(uri, given, "ada", None, None)
    assert "fleetcube.raw" not in params["connect_args"]["options"]
    before, _, token = params["connect_args"]["options"].partition(" -c fleetcube.act_for=")
    assert before == "-c statement_timeout=1s"
    assert held.read("superset", token).person == "ada"
    assert given["connect_args"] == {"options": "-c statement_timeout=1s"}, "what was given stays as it was"


def test_rows_are_asked_where_a_comparison_wants_them(
    keys: tuple[Keys, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endpoint_key").write_text(keys[1])
    (tmp_path / "endpoint_port").write_text("5433")
    monkeypatch.setenv("SUPERSET_HOME", str(tmp_path))
    monkeypatch.setenv("SUPERSET_RAW", "1")
    uri: Any = SimpleNamespace(host="127.0.0.1", port=5433, username="superset", database="fleet")
    _, params = act_for(uri, {}, "ada", None, None)
    assert params["connect_args"]["options"].endswith(" -c fleetcube.raw=on")


@pytest.mark.parametrize(
    "change", [{"database": "other"}, {"host": "elsewhere.example"}, {"port": 5432}, {"username": "ada"}, {}]
)
def test_nobody_and_other_databases_get_no_name(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endpoint_port").write_text("5433")
    monkeypatch.setenv("SUPERSET_HOME", str(tmp_path))
    params: dict[str, Any] = {}
    place = {"host": "127.0.0.1", "port": 5433, "username": "superset", "database": "fleet", **change}
    assert act_for(SimpleNamespace(**place), params, "ada" if change else None, None, None)[1] is params
