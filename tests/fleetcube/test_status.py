"""Status says whether the lake adds up, and tells a step under way from rows that are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import gating
import pytest
from gating import gate, sample
from landed import land

from fleetcube import status as module
from fleetcube.status import PARTS, lake_status, status_text
from lake.delta import commit, open_snapshot
from lake.duck import Duck
from lake.settings import Settings
from lake.tables import trusted


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITS_S", (0.0, 0.0))


def test_every_row_is_accounted_for(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("1"), sample("bad")])
    gate(settings, duck)
    status = lake_status(settings)
    figures = status["rows"]["samples"]
    assert (figures["received"], figures["trusted"], figures["quarantine"]) == (2, 1, 1)
    assert figures["received"] == sum(figures[part] for part in PARTS)
    assert status_text(status).endswith("Every received row is accounted for.")


def test_rows_that_are_gone_are_a_problem(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("1"), sample("2")])
    gate(settings, duck)
    snapshot = open_snapshot(settings.lake, trusted("samples"))
    commit(settings.lake, trusted("samples"), snapshot, removes=snapshot.files, txns={"gate": 2})
    status = lake_status(settings)
    assert "samples: trusted is 2 by the records, 0 by counting" in status["problems"]
    assert "PROBLEMS:" in status_text(status)


def test_a_killed_gate_is_unfinished_and_no_problem(settings: Settings, duck: Duck) -> None:
    land(settings, duck, "samples", [sample("1"), sample("bad")])
    environ = {**os.environ, "FLEETCUBE_FAULT": "gate.quarantine.after", "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, gating.__file__, str(settings.lake)], env=environ, check=False)
    assert ended.returncode == -signal.SIGKILL
    status = lake_status(settings)
    assert status["problems"] == []
    assert status["unfinished"][0] == "gate of samples; it ends with the next `fleetcube gate`"
    assert any(line.startswith("samples: quarantine is ") for line in status["unfinished"][1:])
    assert "Unfinished:" in status_text(status)
    gate(settings, duck)
    assert lake_status(settings)["unfinished"] == lake_status(settings)["problems"] == []
