"""kill -9 at named fault points of every verb, through the real command line: nothing lost, nothing counted twice.

Each part's own tests kill it at every one of its points; here the verbs are killed one after another on one lake.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from journals import append, fleetcube, records
from states import lake_state

from fleetcube.children import free_port
from ingestion.tokens import ensure_token
from lake.delta import open_snapshot
from lake.duck import connect
from lake.places import lake_path
from lake.settings import Settings
from lake.tables import trusted

pytestmark = pytest.mark.slow

POINTS = {
    "land": ["lander.intent.after", "lander.parquet.after", "lander.commit.after", "lander.drop.before"],
    "gate": ["gate.candidate.after", "gate.quarantine.after", "gate.trusted.before", "gate.trusted.after"],
    "build": ["builder.scan.after", "builder.cells.after", "builder.commit.before", "builder.commit.after"],
}


def run(lake: Path, *arguments: str, fault: str = "") -> int:
    return fleetcube(lake, *arguments, fault=fault).returncode


def journal(lake: Path) -> None:
    append(lake, records())


@pytest.mark.parametrize("place", ["disk", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.timeout(900)])])
def test_verbs_killed_at_every_turn_end_like_one_clean_run(
    tmp_path: Path, place: str, request: pytest.FixtureRequest
) -> None:
    """The clean run is on a local disk; that of the kills there too, or in an object store."""
    clean = tmp_path / "clean"
    killed = lake_path(request.getfixturevalue("s3").url if place == "s3" else str(tmp_path / "killed"), tmp_path)
    clean.mkdir()
    journal(clean)
    shutil.copytree(clean, killed)
    for verb, points in POINTS.items():
        assert run(clean, verb) == 0
        for point in points:
            assert run(killed, verb, fault=point) == -signal.SIGKILL, f"{verb} passed {point} alive"
        assert run(killed, verb) == 0
    want = lake_state(clean)
    assert want["accounts"]["samples"] == {
        "received": 67, "duplicates": 2, "trusted": 56, "quarantine": 5, "gaps": 4, "pending": 0, "blocked": 0,
    }  # fmt: skip
    assert lake_state(killed) == want


class Site:
    """A receiver and an agent of their own, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.lake, self.folder = folder / "lake", folder
        self.port = free_port("127.0.0.1", 0)
        ensure_token(Settings(lake=self.lake).token_file, "host-1")

    def start(self, verb: str, *arguments: str, fault: str = "") -> subprocess.Popen[bytes]:
        environ = {**os.environ, "FLEETCUBE_FAULT": fault, "FLEETCUBE_SPOOL": str(self.folder / "spool")}
        command = [sys.executable, "-m", "fleetcube", verb, "--lake", str(self.lake), *arguments]
        return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def receiver(self, fault: str = "") -> subprocess.Popen[bytes]:
        return self.start("receive", "--port", str(self.port), fault=fault)

    def agent(self, fault: str = "") -> subprocess.Popen[bytes]:
        address = f"http://127.0.0.1:{self.port}"
        return self.start("agent", "--agent", "host-1", "--period-s", "1", "--receiver", address, fault=fault)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    finally:
        process.kill()


def test_agent_and_receiver_killed_lose_and_double_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for point in ("agent.spool.before_write", "agent.spool.after_write", "agent.ship.after_push:2"):
        receiver, agent = site.receiver(), site.agent(fault=point)
        assert agent.wait(60) == -signal.SIGKILL, f"the agent passed {point} alive"
        stop(receiver)
    for point in ("receiver.journal.before", "receiver.journal.after"):
        receiver, agent = site.receiver(fault=point), site.agent()
        assert receiver.wait(60) == -signal.SIGKILL, f"the receiver passed {point} alive"
        again = site.receiver()
        time.sleep(4)
        stop(agent)
        stop(again)
    # The spool's rest goes out with one more agent; then everything that was ever spooled must be in the lake once.
    receiver, agent = site.receiver(), site.agent()
    time.sleep(5)
    stop(agent)
    stop(receiver)
    assert run(site.lake, "land") == run(site.lake, "gate") == 0
    duck = connect(Settings(lake=site.lake))
    rows = duck.scan(open_snapshot(site.lake, trusted("samples")))
    boots = duck.sql(f"SELECT boot, min(seq), max(seq), count(DISTINCT seq) FROM {rows} GROUP BY boot")
    assert len(boots) >= 5, "each start of the agent has a boot of its own"
    for boot, first, last, count in boots:
        assert (first, count) == (1, last), f"boot {boot} has holes: {count} records from {first} to {last}"
    twice = duck.sql(f"SELECT boot, seq, idx FROM {rows} GROUP BY ALL HAVING count(*) > 1")
    assert twice == []
