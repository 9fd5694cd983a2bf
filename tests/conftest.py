"""Tiers of tests, and the fixtures that every part uses.

A tier whose tool or data is missing is skipped, counted in the summary, and a failure when FLEETCUBE_REQUIRE=all.
What is slow is told in one place, `tests/support/tiers.py`; `make fast` leaves it out.
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
from postgresserver import postgres_bin
from s3server import S3Server, has_s3_server
from tiers import is_slow

from lake.duck import Duck, connect
from lake.settings import Settings

ROOT = Path(__file__).parent.parent
TRACES = ROOT.parent / "shared" / "data"

# Without cached bytecode every process that a test starts would compile all libraries anew: seconds each time.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Every run tries the same examples, and a failure prints the code that reruns it.
hypothesis_settings.register_profile("fleetcube", derandomize=True, deadline=None, print_blob=True)
hypothesis_settings.register_profile("fast", parent=hypothesis_settings.get_profile("fleetcube"), max_examples=15)
hypothesis_settings.load_profile("fleetcube")


def _has_spark() -> bool:
    jars = Path(sys.prefix) / "jars" / ".done"
    return importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None and jars.is_file()


def _has_jdbc() -> bool:
    return shutil.which("java") is not None and any((Path(sys.prefix) / "jdbc").glob("postgresql-*.jar"))


def _has_superset() -> bool:
    return (Path(sys.prefix) / "superset" / ".done").is_file() and shutil.which("chromium") is not None


def _has_airflow() -> bool:
    return (Path(sys.prefix) / "airflow" / ".done").is_file() and shutil.which("chromium") is not None


_NEEDS = {
    "traces": (TRACES.is_dir, f"the real traces are not at {os.path.relpath(TRACES, ROOT)}"),
    "psql": (lambda: shutil.which("psql") is not None, "PostgreSQL's psql client is not installed"),
    "spark": (_has_spark, "pyspark, Java or Delta's jars are missing (`make jars`)"),
    "jdbc": (_has_jdbc, "Java or the JDBC driver is missing (`make jars`)"),
    "superset": (_has_superset, "Superset (`make superset-env`) or the browser Chromium is missing"),
    "airflow": (_has_airflow, "Airflow (`make airflow-env`) or the browser Chromium is missing"),
    "postgres": (lambda: postgres_bin() is not None, "PostgreSQL's server is not installed"),
    "s3": (has_s3_server, "versitygw or the extra s3 is missing (`make s3server`, which needs Go)"),
}
_missing: dict[str, int] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and skip the tests of a tier that can't run here."""
    for item in items:
        if is_slow(item.nodeid):
            item.add_marker(pytest.mark.slow)
    for tier, (present, why) in _NEEDS.items():
        if present():
            continue
        for item in items:
            if item.get_closest_marker(tier):
                item.add_marker(pytest.mark.skip(reason=f"TIER {tier} SKIPPED: {why}"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what a missing tier skipped; where several processes run the tests, this one hears of all of them."""
    if report.skipped and isinstance(report.longrepr, tuple):
        for tier in _NEEDS:
            if f"TIER {tier} SKIPPED" in report.longrepr[2]:
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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server on loopback; only for tests marked `s3`."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """That server as the environment's object store, with a new bucket."""
    s3_server.new_bucket()
    for name, value in s3_server.environ.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def traces() -> Path:
    """The folder of real traces; only for tests marked `traces`."""
    return TRACES
