"""The resident loop killed at every turn, beside another one and beside single verbs: the lake of one clean run.

Row for row and cell for cell; and nobody is told of anything twice.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from journals import append, fleetcube, records, started
from noticeservers import Hook, hook, secret_file, verified
from states import lake_state

from lake.alert_states import fold, open_alerts
from lake.alerts import read_alerts
from lake.duck import connect
from lake.places import lake_path
from lake.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# Small lakes of old rows: every host is silent and the fact stale, which is told once.
POINTS = [
    *("run.piece.before", "lander.intent.after", "lander.commit.after", "run.piece.after", "gate.candidate.after"),
    *("gate.trusted.after", "run.piece.after:4", "builder.cells.after", "builder.commit.after", "run.slot.after"),
    *("alerts.drafts.after", "alerts.commit.after", "notices.sent.after"),
]
# In an object store, where leases are claims and the notes of slow steps are shared.
STORE_POINTS = ["run.piece.after", "gate.trusted.after", "run.slot.after", "alerts.drafts.after", "alerts.commit.after"]
ROUND = ("run", "--once", "--steps", "land,gate,build,upkeep,alerts")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What one run of the single verbs makes of the records."""
    lake = tmp_path_factory.mktemp("clean") / "lake"
    lake.mkdir()
    append(lake, records())
    for verb in ("land", "gate", "build"):
        assert fleetcube(lake, verb).returncode == 0
    return lake_state(lake)


def told_to(lake: Path, folder: Path, server: Hook) -> None:
    lake.mkdir(parents=True, exist_ok=True)
    secret = secret_file(folder)
    (lake / "notices.yaml").write_text(
        "channels:\n"
        f"  pager: {{kind: webhook, url: 'http://127.0.0.1:{server.port}/', secret: {{file: {secret}}}}}\n"
        "routes: [{to: [pager]}]\n"
    )


def stop(process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    try:
        return process.wait(120)
    finally:
        process.kill()


def told_once(server: Hook) -> None:
    """Every message is signed, and of what a receiver keeps by its key nothing is there twice."""
    assert all(verified(headers, body) for _, headers, body in server.taken)
    kept = {headers["Idempotency-Key"]: body for _, headers, body in server.taken}
    assert max(Counter(kept.values()).values(), default=0) <= 1


@pytest.mark.parametrize("place", ["disk", pytest.param("s3", marks=pytest.mark.s3)])
def test_a_loop_killed_at_every_turn_ends_like_one_clean_run(
    tmp_path: Path, clean: dict[str, object], place: str, request: pytest.FixtureRequest
) -> None:
    lake = lake_path(request.getfixturevalue("s3").url if place == "s3" else str(tmp_path / "lake"), tmp_path)
    with hook() as server:
        told_to(lake, tmp_path, server)
        append(lake, records())
        for point in POINTS if place == "disk" else STORE_POINTS:
            done = fleetcube(lake, *ROUND, fault=point)
            assert done.returncode == -signal.SIGKILL, f"the loop passed {point} alive: {done.stderr}"
        assert fleetcube(lake, *ROUND).returncode == 0
        duck = connect(Settings(lake=lake))
        found = sorted(one.last.key for one in open_alerts(fold(read_alerts(duck, lake))))
        assert found == [("fact", "fact/samples")]
        told_once(server)
        keys = {headers["Idempotency-Key"] for _, headers, _ in server.taken}
        assert len(keys) == 1
        again = 1 if place == "disk" else 0  # by the kill between sending and forgetting
        assert len(server.taken) == 1 + again
    assert lake_state(lake) == clean


def test_two_loops_and_single_verbs_side_by_side(tmp_path: Path, clean: dict[str, object]) -> None:
    """Rows come in meanwhile, a loop is killed and another one takes its place."""
    lake, log, pushed = tmp_path / "lake", tmp_path / "log", records()
    every = ("run", "--every", "1s", "--steps", "land,gate,build,upkeep,alerts")
    with hook() as server:
        told_to(lake, tmp_path, server)
        append(lake, pushed[:20])
        loops = [started(lake, *every, log=log), started(lake, *every, log=log)]
        try:
            for at in range(20, len(pushed), 9):
                append(lake, pushed[at : at + 9])
                for verb in ("land", "gate", "build"):
                    assert fleetcube(lake, verb).returncode in (0, 4), "busy at the most"
                if at == 29:
                    loops[0].kill()
                    loops[0].wait(60)
                    loops[0] = started(lake, *every, log=log)
            assert all(loop.poll() is None for loop in loops), log.read_text()
        finally:
            ends = [stop(loop) for loop in loops]
        assert ends == [0, 0], log.read_text()
        assert fleetcube(lake, *ROUND).returncode == 0
        told_once(server)
    assert "internal error" not in log.read_text()
    assert lake_state(lake) == clean


def test_a_loop_of_landing_and_gating_leaves_the_builds_to_others(tmp_path: Path, clean: dict[str, object]) -> None:
    """As beside Airflow: the loop lands and gates, verbs of other processes build; two signals end it at once."""
    lake, log, pushed = tmp_path / "lake", tmp_path / "log", records()
    lake.mkdir()
    loop = started(lake, "run", "--every", "1s", "--steps", "land,gate", log=log)
    try:
        append(lake, pushed)
        deadline = time.monotonic() + 120
        while "batch 1 passed" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < deadline, log.read_text()
            assert loop.poll() is None, log.read_text()
            time.sleep(0.2)
        assert not (lake / "cubes").exists()
        assert fleetcube(lake, "build").returncode == 0
    finally:
        code = stop(loop, signal.SIGINT)
    assert code == 0, log.read_text()
    assert lake_state(lake) == clean
