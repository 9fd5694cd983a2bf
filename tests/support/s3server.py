"""A real S3-compatible server (versitygw, POSIX backend) on loopback, whose buckets are folders that tests can see."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Final

_BINARY: Final = Path(sys.prefix) / "bin" / "versitygw"
_KEY: Final = "test-key"
_SECRET: Final = "test-secret-of-no-worth"


def has_s3_server() -> bool:
    """Whether the server and what talks to it are installed."""
    return _BINARY.is_file() and importlib.util.find_spec("obstore") is not None


class S3Server:
    """The server of a folder; `environ` is what a client needs, `bucket` the newest bucket's name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bucket = ""
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self.environ = {
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_MAX_ATTEMPTS": "3",
        }

    def new_bucket(self) -> str:
        """Make a bucket; a place for a lake in it."""
        self.bucket = f"b{uuid.uuid4().hex[:12]}"
        (self.folder / self.bucket).mkdir()
        return self.url

    @property
    def url(self) -> str:
        """The place of a lake in the newest bucket."""
        return f"s3://{self.bucket}/lake"

    @property
    def files(self) -> Path:
        """The folder in which the server keeps that lake's objects."""
        return self.folder / self.bucket / "lake"

    def start(self) -> None:
        """Start the server on its port, and wait until it listens."""
        environ = {**os.environ, "ROOT_ACCESS_KEY": _KEY, "ROOT_SECRET_KEY": _SECRET}
        command = [str(_BINARY), "--port", f"127.0.0.1:{self._port}", "--quiet", "posix", str(self.folder)]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"versitygw does not listen on port {self._port}")

    def stop(self) -> None:
        """Kill the server, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
