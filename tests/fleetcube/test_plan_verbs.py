"""The planning verbs as a user meets them: a definition changes, is built from old cells, and the old one dropped."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from cubeoracle import TEXT, publish, random_rows

from fleetcube.cli import cli
from lake.duck import connect
from lake.settings import Settings


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a lake of some samples and a definition of its own."""
    settings = Settings(lake=tmp_path / "fleet-lake")
    settings.lake.mkdir()
    publish(connect(settings), settings, random_rows(41, 200), 1)
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "small.yaml").write_text(TEXT)
    (tmp_path / "fleetcube.toml").write_text('definitions = "definitions"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=True)
    return done.output if done.exception is None else f"{done.output}{done.exception}"


def test_from_forecast_to_drop(place: Path) -> None:
    told = run("cube", "forecast", "small")
    assert "cube small over 200 trusted rows of samples" in told
    assert "(base)" in told
    assert "bytes to a byte of trusted rows (no budget); seconds are estimated" in told
    assert run("cube", "forecast", "definitions/small.yaml").splitlines()[0] == told.splitlines()[0]
    assert "not built" in run("cube", "diff", "small")
    assert "build 1 of 200 rows" in run("build", "small")
    assert run("cube", "diff", "small").endswith(": built\n")

    changed = TEXT.replace("[5m, 1h, 1d]\n", "[1h, 1d]\n").replace("  total:", "  weakest: {min: interval_s}\n  total:")
    (place / "definitions" / "small.yaml").write_text(changed)
    told = run("cube", "diff", "small")
    for line in (
        "+ measures: weakest",
        "- grains: 5m",
        "which answers until this one is built",
        "rows are read for the new states only",
    ):
        assert line in told
    assert "has not been built" in run("cube", "drop", "small", "--old", "--apply")
    assert "build 1 of 200 rows" in run("build", "small")
    assert "all equal" in run("cube", "verify", "small")
    assert "Drop old versions by `fleetcube cube drop small --old --apply`." in run("cube", "diff", "small")
    assert "would go" in run("cube", "drop", "small", "--old")
    assert "dropped" in run("cube", "drop", "small", "--old", "--apply")
    assert "has no old versions" in run("cube", "drop", "small", "--old")


def test_over_budget_is_refused_unless_it_is_meant(place: Path) -> None:
    (place / "definitions" / "small.yaml").write_text(TEXT + "budget: {bytes_per_raw_byte: 0.001}\n")
    refused = run("build", "small")
    assert "its budget is 0.001" in refused
    assert "--over-budget" in refused
    assert "build 1 of 200 rows" in run("build", "small", "--over-budget")
    assert "nothing new" in run("build", "small")


def test_advice_of_a_lake_that_was_asked(place: Path) -> None:
    run("build", "small")
    assert "No queries on samples are logged yet" in run("cube", "advise", "small")
    query = "SELECT site, host, sum(value) FROM samples WHERE metric = 'gpu.power' GROUP BY 1, 2"
    run("sql", query)
    told = run("cube", "advise", "small")
    assert "1 logged queries that it could answer" in told
    assert "rows read a query" in told
