"""Processes that outlive the command that starts them: started once, found again, ended by name, never another's."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from lake.errors import ConfigError

_END_S: Final = 60.0
_POLL_S: Final = 0.2


class Daemons:
    """Named processes of one folder, each with NAME.log and NAME.pid there."""

    def __init__(self, folder: Path) -> None:
        """Nothing is started yet; the folder is there."""
        self.folder = folder

    def start(self, name: str, command: Sequence[str], environ: Mapping[str, str], cwd: Path) -> None:
        """Start it, unless it runs; in a session of its own, so that no terminal ends it and its children are known."""
        if self.pid(name):
            return
        with self.log(name).open("ab") as log:
            child = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(environ),
                cwd=cwd,
                start_new_session=True,
            )
        self._pid_file(name).write_text(f"{child.pid} {_birth(child.pid)}")
        child.returncode = 0  # it outlives us: nobody here waits for it

    def pid(self, name: str) -> int | None:
        """The process that was started under this name, if it still runs: numbers are given anew after a restart."""
        try:
            pid, birth = self._pid_file(name).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if _birth(int(pid)) == birth else None

    def check(self, name: str) -> None:
        """ConfigError that names the log where it has ended by itself."""
        if self.pid(name) is None:
            said = self.log(name).read_text(errors="replace").strip().splitlines()[-1:]
            raise ConfigError(f"{name} ended by itself: {' '.join(said)}", todo=f"See {self.log(name)}.")

    def stop(self, name: str) -> bool:
        """End it and what it has started; gives whether it ran. By force what does not end in a minute."""
        pid = self.pid(name)
        if pid is not None:
            # The session's first process ends the others; those that are left after it are ended too.
            os.kill(pid, signal.SIGTERM)
            if not _wait(lambda: self.pid(name) is None, _END_S):
                os.kill(pid, signal.SIGKILL)
            for number in (signal.SIGTERM, signal.SIGKILL):
                for left in _session(pid):
                    os.kill(left, number)
                if _wait(lambda: not _session(pid), 10.0):
                    break
        self._pid_file(name).unlink(missing_ok=True)
        return pid is not None

    def log(self, name: str) -> Path:
        """Where its output goes."""
        return self.folder / f"{name}.log"

    def _pid_file(self, name: str) -> Path:
        return self.folder / f"{name}.pid"


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition; ConfigError that says `what` did not come where it takes longer."""
    if not _wait(holds, seconds):
        raise ConfigError(f"Waited {seconds:.0f} s: {what}.")


def listens(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


def _wait(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _stat(pid: int) -> list[str]:
    """The fields of a process's state, from the third on; empty where it is gone, or dead and not yet buried."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [] if fields[0] == "Z" else fields


def _birth(pid: int) -> str:
    """When it was born, in ticks since the machine's start."""
    fields = _stat(pid)
    return fields[19] if fields else ""


def _session(leader: int) -> list[int]:
    """The processes of a session that are alive."""
    found = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in found if (fields := _stat(pid)) and fields[3] == str(leader)]
