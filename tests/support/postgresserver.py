"""A real PostgreSQL server on loopback, with a cluster, a database and a password of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from fleetcube.children import free_port

# PostgreSQL refuses to run as root; Debian's package brings this user.
_USER: Final = "postgres" if os.geteuid() == 0 else None
_ROLE: Final = "airflow"


def postgres_bin() -> Path | None:
    """Where its programs are: on the path, or where Debian puts those of the newest version; None if nowhere."""
    found = shutil.which("initdb")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parent.parent.name))
    places = ([Path(found).resolve()] if found else []) + debian[::-1]
    return places[0].parent if places else None


class PostgresServer:
    """The server; `password` is its only role's, which may do everything in it."""

    def __init__(self) -> None:
        # Not in pytest's folder, which is closed to the server's user.
        self._folder = Path(tempfile.mkdtemp(prefix="fleetcube-postgres-"))
        self.port = free_port("127.0.0.1", 0)
        self.password = secrets.token_urlsafe(12)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address of its database, as SQLAlchemy takes it; it holds the password."""
        return f"postgresql+psycopg2://{_ROLE}:{self.password}@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> PostgresServer:
        given = self._folder / "password"
        given.write_text(self.password)
        if _USER:
            for path in (self._folder, given):
                shutil.chown(path, _USER)
        data, made = self._folder / "data", ["--auth", "scram-sha-256", "--username", _ROLE, "--no-sync"]
        self._call("initdb", "--pgdata", str(data), "--pwfile", str(given), "--encoding", "UTF8", *made)
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(self._folder), "fsync": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self._program("postgres")), "-D", str(data), "-p", str(self.port), *options]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=_USER, cwd=self._folder)
        end = time.monotonic() + 60
        while subprocess.run(
            [str(self._program("pg_isready")), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        ).returncode:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < end, "PostgreSQL does not come up"
            time.sleep(0.2)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            # Those who are connected are sent away.
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
        shutil.rmtree(self._folder)

    def _program(self, name: str) -> Path:
        folder = postgres_bin()
        assert folder is not None
        return folder / name

    def _call(self, name: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._program(name)), *arguments], capture_output=True, text=True, user=_USER, cwd=self._folder
        )
        assert done.returncode == 0, done.stdout + done.stderr
