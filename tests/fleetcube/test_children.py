"""Children of the quick start end with it: when it ends them, and when it is killed without a word."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetcube import tied
from fleetcube.children import Children, free_port
from ingestion.tokens import ensure_token
from lake.settings import Settings

STARTER = """
import sys, time
from pathlib import Path
from fleetcube.children import Children
with Children(Path(sys.argv[1])) as children:
    children.start("receiver", "receive", "--lake", sys.argv[2], "--host", "127.0.0.1", "--port", sys.argv[3])
    children.wait_for_port("receiver", "127.0.0.1", int(sys.argv[3]))
    print(children.pid("receiver"), flush=True)
    time.sleep(60)
"""


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def lake(tmp_path: Path) -> str:
    """A lake that may receive."""
    settings = Settings(lake=tmp_path / "lake")
    ensure_token(settings.token_file, "somebody")
    return str(settings.lake)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a child that its parent died")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_children_end_with_a_killed_parent(tmp_path: Path, lake: str, how: signal.Signals) -> None:
    port = free_port("127.0.0.1", 0)
    command = [sys.executable, "-c", STARTER, str(tmp_path / "logs"), lake, str(port)]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environ) as starter:
        assert starter.stdout is not None
        child = int(starter.stdout.readline())
        assert runs(child)
        starter.send_signal(how)
        starter.wait(10)
    deadline = time.monotonic() + 20
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(child)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_child_whose_parent_has_gone_ends_at_once(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells a child that its parent died")
    command = [sys.executable, "-m", "fleetcube.tied", "1", "status", "--lake", str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, env=environ, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, b"")


def test_other_systems_go_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert tied.tie_to(1) is False


def test_children_are_ended_in_order(tmp_path: Path, lake: str) -> None:
    port = free_port("127.0.0.1", 0)
    with Children(tmp_path / "logs") as children:
        children.start("receiver", "receive", "--lake", lake, "--port", str(port))
        children.wait_for_port("receiver", "127.0.0.1", port)
        child = children.pid("receiver")
    assert not runs(child)
