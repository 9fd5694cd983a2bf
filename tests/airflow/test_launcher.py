"""What `make airflow` does where things are not as they should be; no part of Airflow stays up here."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
from airflowlive import LiveAirflow, send

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]


@pytest.fixture
def airflow(tmp_path: Path) -> LiveAirflow:
    return LiveAirflow(tmp_path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LiveAirflow:
    """Its metadata are there."""
    airflow = LiveAirflow(tmp_path_factory.mktemp("airflow"))
    done = airflow.launch("cli", "version")
    assert done.returncode == 0, done.stderr
    assert "user admin, password " in done.stderr
    return airflow


def test_a_first_start_that_fails_makes_no_password_that_nobody_sees(airflow: LiveAirflow) -> None:
    with socket.create_server(("127.0.0.1", airflow.port)):
        failed = airflow.launch("start")
    assert failed.returncode == 1
    assert f"Port {airflow.port} is taken" in failed.stderr
    assert not (airflow.lake / "_airflow" / "passwords.json").exists()


def test_a_database_that_does_not_work_is_not_kept(airflow: LiveAirflow) -> None:
    wrong = "postgresql+psycopg2://nobody:secret-word@127.0.0.1:1/none"
    failed = airflow.launch("cli", "version", environ={"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": wrong})
    assert failed.returncode == 1
    assert "metadata can't be made" in failed.stderr
    assert "secret-word" not in failed.stdout + failed.stderr
    assert not (airflow.lake / "_airflow" / "database").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--port", "99999", "start"], "'99999' is no port"),
        (["--lake", "file", "start"], "Not a directory"),
        (["--days", "0", "tidy"], "Give 1 or more"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(airflow: LiveAirflow, options: list[str], told: str) -> None:
    (airflow.folder / "file").write_text("no lake")
    failed = airflow.launch(*options)
    assert failed.returncode in (1, 2)
    assert told in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_lake_that_was_moved_or_copied_has_its_own_metadata(made: LiveAirflow, tmp_path: Path) -> None:
    shutil.copytree(made.lake, tmp_path / "copy")
    done = made.launch("--lake", str(tmp_path / "copy"), "cli", "variables", "set", "OF_THE_COPY", "1")
    assert done.returncode == 0, done.stderr
    listed = made.launch("cli", "variables", "list", "-o", "json")
    assert "OF_THE_COPY" not in listed.stdout
    shutil.move(tmp_path / "copy", tmp_path / "moved")
    listed = made.launch("--lake", str(tmp_path / "moved"), "cli", "variables", "list", "-o", "json")
    assert "OF_THE_COPY" in listed.stdout, listed.stderr


def test_lost_metadata_are_made_anew_and_damaged_ones_are_told(made: LiveAirflow) -> None:
    database, whole = (made.lake / "_airflow" / name for name in ("airflow.db", "whole.db"))
    password = json.loads((made.lake / "_airflow" / "passwords.json").read_text())
    database.unlink()
    done = made.launch("cli", "db", "check")
    assert done.returncode == 0, done.stderr
    assert "preparing its metadata" in done.stdout
    database.rename(whole)
    database.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    failed = made.launch("cli", "db", "check")
    whole.replace(database)
    assert failed.returncode == 1
    assert "Airflow's metadata are damaged" in failed.stderr
    assert "Move it away" in failed.stderr
    assert json.loads((made.lake / "_airflow" / "passwords.json").read_text()) == password


@pytest.mark.parametrize("text", ["", "x", "70000 1"])
def test_a_damaged_port_file_is_as_none(made: LiveAirflow, text: str) -> None:
    (made.lake / "_airflow" / "port").write_text(text)
    assert made.launch("cli", "version").returncode == 0


def test_a_wrong_engine_stops_builds_only(made: LiveAirflow) -> None:
    """And the message says what may stand there."""
    send(made.lake, 1)
    wrong = {"AIRFLOW_VAR_FLEETCUBE_ENGINE": "foo"}
    assert made.launch("cli", "dags", "reserialize").returncode == 0
    done = made.launch("cli", "dags", "test", "fleetcube_load", environ=wrong)
    assert done.returncode == 0, done.stdout[-3000:]
    done = made.launch("cli", "dags", "test", "fleetcube_cubes", environ=wrong)
    assert "can't be 'foo'" in done.stdout + done.stderr


def test_a_wrong_limit_of_lateness_is_told(made: LiveAirflow) -> None:
    wrong = {"AIRFLOW_VAR_FLEETCUBE_LATE_MINUTES": "load=soon"}
    made.launch("cli", "dags", "reserialize", environ=wrong)
    done = made.launch("cli", "dags", "list-import-errors", "--output", "json")
    assert "'load=soon' is not like load=10" in done.stdout
