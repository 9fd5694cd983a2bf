"""Processes that outlive their starter: found again, ended with their children, and never mistaken for another's."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from fleetcube.daemons import Daemons, wait_until
from lake.errors import ConfigError

PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


def test_it_is_started_once_and_ended_with_its_children(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path)
    command = [sys.executable, "-c", PARENT.format(child=STUBBORN)]
    daemons.start("it", command, os.environ, tmp_path)
    pid = daemons.pid("it")
    assert pid is not None
    wait_until(lambda: "up" in daemons.log("it").read_text(), 60, "the child")
    Daemons(tmp_path).start("it", command, os.environ, tmp_path)
    assert Daemons(tmp_path).pid("it") == pid
    assert Daemons(tmp_path).stop("it")
    sessions = [path.read_text().rpartition(")")[2].split() for path in Path("/proc").glob("[0-9]*/stat")]
    assert not [fields for fields in sessions if fields[3] == str(pid) and fields[0] != "Z"]
    assert not daemons.stop("it")


def test_another_process_of_that_number_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "it.pid").write_text(f"{os.getpid()} 1")
    daemons = Daemons(tmp_path)
    assert daemons.pid("it") is None
    assert not daemons.stop("it")
    assert not (tmp_path / "it.pid").exists()


def test_one_that_has_ended_is_told_with_its_last_words(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path)
    daemons.start("it", [sys.executable, "-c", "print('no such port')"], os.environ, tmp_path)
    end = time.monotonic() + 60
    while daemons.pid("it") and time.monotonic() < end:
        time.sleep(0.05)
    with pytest.raises(ConfigError, match="it ended by itself: no such port"):
        daemons.check("it")
