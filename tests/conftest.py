"""Tiers of tests, and the fixtures that every part uses.

A tier whose tool or data is missing is skipped, counted in the summary, and a failure when FLEETCUBE_REQUIRE=all.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from lake.duck import Duck, connect
from lake.settings import Settings

ROOT = Path(__file__).parent.parent
TRACES = ROOT.parent / "shared" / "data"

# Every run tries the same examples, and a failure prints the code that reruns it.
hypothesis_settings.register_profile("fleetcube", derandomize=True, deadline=None, print_blob=True)
hypothesis_settings.load_profile("fleetcube")


def _has_spark() -> bool:
    jars = Path(sys.prefix) / "jars" / ".done"
    return importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None and jars.is_file()


_NEEDS = {
    "traces": (TRACES.is_dir, f"the real traces are not at {os.path.relpath(TRACES, ROOT)}"),
    "psql": (lambda: shutil.which("psql") is not None, "PostgreSQL's psql client is not installed"),
    "spark": (_has_spark, "pyspark, Java or Delta's jars are missing (`make jars`)"),
}
_missing: dict[str, int] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of a tier that can't run here, and count them."""
    for tier, (present, why) in _NEEDS.items():
        if present():
            continue
        for item in items:
            if item.get_closest_marker(tier):
                item.add_marker(pytest.mark.skip(reason=f"TIER {tier} SKIPPED: {why}"))
                _missing[tier] = _missing.get(tier, 0) + 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly which tiers did not run."""
    for tier, count in _missing.items():
        terminalreporter.write_sep("!", f"TIER {tier} DID NOT RUN: {count} tests skipped; {_NEEDS[tier][1]}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped tier fails the run where every tier is required."""
    if _missing and os.environ.get("FLEETCUBE_REQUIRE") == "all":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an empty lake in a folder of its own."""
    lake = tmp_path / "lake"
    lake.mkdir()
    return Settings(lake=lake, spool=tmp_path / "spool", memory_mib=1024)


@pytest.fixture
def duck(settings: Settings) -> Iterator[Duck]:
    """An engine over that lake."""
    engine = connect(settings)
    yield engine
    engine.connection.close()


@pytest.fixture
def traces() -> Path:
    """The folder of real traces; only for tests marked `traces`."""
    return TRACES
