"""A lake as the quick start makes it, and Superset over it, started and ended by the commands that people type."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetcube.children import free_port

ROOT = Path(__file__).parent.parent.parent
MANAGE = ROOT / "superset" / "manage.py"


@dataclass(frozen=True)
class Running:
    """Superset over a lake: its address, the folder of the lake, and the administrator's password."""

    address: str
    lake: Path
    password: str

    def manage(self, *arguments: str) -> str:
        """A verb of manage.py; gives what it printed."""
        return _run([sys.executable, str(MANAGE), *arguments, "--lake", self.lake.name], self.lake.parent)

    def person(self, name: str, role: str, *more: str) -> str:
        """Let a person in; gives the password."""
        return _password(self.manage("user", name, "--role", role, *more))


def _run(command: list[str], folder: Path) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("FLEETCUBE_")}
    # Answers are cached here, since what is cached for one person must never be shown to another.
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environ, "SUPERSET_CACHE": "files"},
        capture_output=True,
        text=True,
        timeout=540,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _password(printed: str) -> str:
    found = re.search(r"password \(printed this once\) (\S+)", printed)
    assert found is not None, printed
    return found[1]


@contextmanager
def superset_over(lake: Path) -> Iterator[Running]:
    """The quick start's lake in that folder, and Superset over it."""
    # By a relative path, as most people name theirs.
    folder, named = lake.parent, ["--lake", lake.name]
    _run([sys.executable, "-m", "fleetcube", "up", "--once", *named], folder)
    port = free_port("127.0.0.1", 0)
    try:
        printed = _run([sys.executable, str(MANAGE), "start", *named, "--port", str(port)], folder)
        yield Running(f"http://127.0.0.1:{port}", lake, _password(printed))
    finally:
        _run([sys.executable, str(MANAGE), "stop", *named], folder)
