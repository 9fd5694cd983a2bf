"""Child processes of the quick start: agent, receiver, endpoint; ended in order, and by force if they don't end.

Where the quick start itself is killed they end too, on Linux: see `fleetcube.tied`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from lake.errors import ConfigError

_GRACE_S = 10.0


class Children:
    """Processes that this one started and will end; as a context manager it ends them whatever happens."""

    def __init__(self, logs: Path) -> None:
        """Output of each child goes to `logs`/<name>.log."""
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str, environ: dict[str, str] | None = None) -> None:
        """Start `fleetcube <arguments>`; it gets no signal of this terminal, since we end it ourselves."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "fleetcube.tied", str(os.getpid()), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environ or {})},
                start_new_session=True,
            )

    def pid(self, name: str) -> int:
        """Process id of a running child."""
        return self._running[name].pid

    def check(self) -> None:
        """ConfigError naming the log of a child that has ended by itself."""
        for name, child in self._running.items():
            if child.poll() is not None:
                log = self._logs / f"{name}.log"
                said = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise ConfigError(
                    f"The {name} ended by itself ({child.returncode}): {' '.join(said) or 'it said nothing'}",
                    todo=f"See {log}.",
                )

    def wait_for_port(self, name: str, host: str, port: int, timeout_s: float = 30.0) -> None:
        """Wait until the child accepts connections; ConfigError if it ends or is too slow."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.check()
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex((host, port)) == 0:
                    return
            time.sleep(0.1)
        raise ConfigError(f"The {name} did not open port {port} in {timeout_s:.0f} s.", todo=f"See {self._logs}.")

    def __enter__(self) -> Children:
        """Nothing to do: children start one by one."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the children, the last started first, each with time to finish its work."""
        for child in reversed(self._running.values()):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        for child in self._running.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def free_port(host: str, wanted: int) -> int:
    """`wanted` if nobody listens on it, else one that is free now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError:
            probe.bind((host, 0))
        return int(probe.getsockname()[1])
