from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cubes.serve.server import serve
from lake.errors import ConfigError
from lake.settings import Settings

ROOT = Path(__file__).parents[3]


def refused(settings: Settings, host: str, port: int = 0) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        serve(settings, lambda: pytest.fail("no session is wanted"), host, port, lambda port: None)
    return caught.value


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "::", "example.org", ""])
def test_other_hosts_than_loopback_are_refused(settings: Settings, host: str) -> None:
    error = refused(settings, host)
    assert "off loopback the SQL endpoint wants TLS" in str(error)
    assert "127.0.0.1" in error.todo


def test_a_taken_port_says_so(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        error = refused(settings, "127.0.0.1", taken.getsockname()[1])
    assert "cannot listen" in error.what
    assert "--port" in error.todo


SCRIPT = """
import sys
from pathlib import Path
from cubes.serve.server import serve
from lake.settings import Settings
def ready(port): print(port, flush=True)
serve(Settings(lake=Path(sys.argv[1])), lambda: None, "127.0.0.1", 0, ready)
print("done", flush=True)
"""


@pytest.mark.slow
def test_serve_ends_cleanly_on_a_signal(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = {
        number: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    for number, process in running.items():
        with process:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), timeout=10):
                process.send_signal(number)
                out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "done\n", "")


def test_too_many_clients_are_told(serving: Any) -> None:
    with serving(settings={"serve_clients": 1}) as endpoint, endpoint.connect(), endpoint.bare() as second:
        assert [error["C"] for error in second.start().errors] == ["53300"]


def test_small_answers_are_sent_at_once(endpoint: Any) -> None:
    """Without this option each waits for the client's delayed acknowledgement, some 40 ms."""
    with endpoint.connect() as wire:
        _, connection = endpoint.server._clients[wire.process]
        sock = connection._writer.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
