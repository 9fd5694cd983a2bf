"""Processes that outlive their starter: found again, ended with their children, and never mistaken for another's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from sessions import alive_in

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
    assert not alive_in(pid)
    assert not daemons.stop("it")


def test_another_process_of_that_number_is_left_alone(tmp_path: Path) -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "it.pid").write_text(f"{os.getpid()} 1 {boot}")
    daemons = Daemons(tmp_path)
    assert daemons.pid("it") is None
    assert not daemons.stop("it")
    assert not (tmp_path / "it.pid").exists()


def test_before_another_start_of_the_machine_nothing_was_started(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as other:
        birth = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
        (tmp_path / "it.pid").write_text(f"{other.pid} {birth} another-boot")
        daemons = Daemons(tmp_path)
        assert daemons.pid("it") is None
        assert not daemons.stop("it")
        assert other.poll() is None
        other.communicate(b"\n")


def test_what_a_killed_one_has_left_is_ended_too(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path)
    command = [sys.executable, "-c", PARENT.format(child=STUBBORN)]
    for again in (lambda: daemons.stop("it"), lambda: daemons.start("it", command, os.environ, tmp_path)):
        daemons.log("it").unlink(missing_ok=True)
        daemons.start("it", command, os.environ, tmp_path)
        pid = daemons.pid("it")
        assert pid is not None
        wait_until(lambda: "up" in daemons.log("it").read_text(), 60, "the child")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: daemons.pid("it") is None, 60, "its end")
        assert alive_in(pid)
        again()
        assert not alive_in(pid)
    assert daemons.pid("it")
    assert daemons.stop("it")


def test_two_at_once_wait_for_each_other(tmp_path: Path) -> None:
    began = Event()

    def other() -> str:
        began.set()
        with Daemons(tmp_path).alone():
            return (tmp_path / "done").read_text()

    with ThreadPoolExecutor(1) as pool:
        with Daemons(tmp_path).alone():
            waits = pool.submit(other)
            assert began.wait(60)
            time.sleep(0.2)
            (tmp_path / "done").write_text("first")
            assert not waits.done()
        assert waits.result(60) == "first"


def test_one_that_has_ended_is_told_with_its_last_words(tmp_path: Path) -> None:
    daemons = Daemons(tmp_path)
    daemons.start("it", [sys.executable, "-c", "print('no such port')"], os.environ, tmp_path)
    end = time.monotonic() + 60
    while daemons.pid("it") and time.monotonic() < end:
        time.sleep(0.05)
    with pytest.raises(ConfigError, match="it ended by itself: no such port"):
        daemons.check("it")
