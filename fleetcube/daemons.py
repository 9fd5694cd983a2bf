"""Processes that outlive the command that starts them: started once, found again, ended by name, never another's."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One at a time: two that start the same would both find that it does not run."""
        with (self.folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def start(self, name: str, command: Sequence[str], environ: Mapping[str, str], cwd: Path) -> None:
        """Start it, unless it runs; in a session of its own, so that no terminal ends it and its children are known."""
        if self.pid(name):
            return
        self.stop(name)  # what one that was killed has left behind
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
        new = self._pid_file(f"{name}.new")
        new.write_text(f"{child.pid} {_birth(child.pid)} {_boot()}")
        new.rename(self._pid_file(name))
        child.returncode = 0  # it outlives us: nobody here waits for it

    def pid(self, name: str) -> int | None:
        """The process that was started under this name, if it still runs: numbers are given anew."""
        pid, birth = self._started(name)
        return pid if pid and _birth(pid) == birth else None

    def check(self, name: str) -> None:
        """ConfigError that names the log where it has ended by itself."""
        if self.pid(name) is None:
            said = self.log(name).read_text(errors="replace").strip().splitlines()
            # What it died of, where it says so: the last line is often an address or a part of a statement.
            words = [line for line in said[-50:] if re.match(r"\S*(Error|Exception)\b", line)] or said
            raise ConfigError(f"{name} ended by itself: {' '.join(words[-1:])}", todo=f"See {self.log(name)}.")

    def stop(self, name: str) -> bool:
        """End it and what it has started; gives whether any of it ran. By force what does not end in a minute."""
        pid, birth = self._started(name)
        running = self.pid(name)
        if running:
            # The session's first process ends the others; those that are left after it are ended too.
            _signal(running, signal.SIGTERM)
            if not _wait(lambda: self.pid(name) is None, _END_S):
                _signal(running, signal.SIGKILL)
        left = _session(pid, birth)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for one in _session(pid, birth):
                _signal(one, number)
            if _wait(lambda: not _session(pid, birth), 10.0):
                break
        self._pid_file(name).unlink(missing_ok=True)
        return bool(running or left)

    def cut_logs(self, most_bytes: int) -> list[Path]:
        """Cut each log that is larger to its last quarter of that, where it lies: its process has it open."""
        large = [path for path in self.folder.glob("*.log") if path.stat().st_size > most_bytes]
        for path in large:
            with path.open("rb") as file:
                file.seek(-(most_bytes // 4), os.SEEK_END)
                kept = file.read().partition(b"\n")[2]
            # Each process appends, so what it writes meanwhile stands before or after the lines that are kept.
            os.truncate(path, 0)
            with path.open("ab") as file:
                file.write(b"(earlier lines were cut)\n" + kept)
        return large

    def log(self, name: str) -> Path:
        """Where its output goes."""
        return self.folder / f"{name}.log"

    def _started(self, name: str) -> tuple[int, str]:
        """Number and birth of what was started under this name since the machine's start; 0 if nothing was."""
        try:
            pid, birth, boot = self._pid_file(name).read_text().split()
        except (FileNotFoundError, ValueError):
            return 0, ""
        return (int(pid), birth) if boot == _boot() else (0, "")

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


def _boot() -> str:
    """This start of the machine: after another one every number and time means something else."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _session(leader: int, birth: str) -> list[int]:
    """The processes of our session that are alive: also when its first one is gone, as its number stays theirs."""
    if not leader or _birth(leader) not in ("", birth):
        return []
    found = {pid: fields for path in Path("/proc").glob("[0-9]*") if (fields := _stat(pid := int(path.name)))}
    return [pid for pid, fields in found.items() if fields[3] == str(leader) and int(fields[19]) >= int(birth)]
