"""A real Airflow over a lake of its own, started by the launcher, driven by REST; and what agents send it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from fleetcube.children import free_port
from fleetcube.due import due
from ingestion.frames import Frame
from ingestion.sample import Record, encode_record
from ingestion.spool import Spool
from lake.settings import Settings

ROOT = Path(__file__).parent.parent.parent
LAUNCHER = ROOT / "scripts" / "manage_airflow.py"
RECEIVED_US = 1_767_484_800_000_000  # 2026-01-04
_COMMAND = """#!{python}
import os, signal, subprocess, sys, time
order, held, real, told = {order!r}, {held!r}, {real!r}, sys.argv[1:]
while os.path.exists(held) and told[:1] == [open(held).read()]:
    time.sleep(0.2)
if os.path.exists(order):
    words, fault = open(order).read().split("|")
    if told[: len(words.split())] == words.split():
        os.unlink(order)
        subprocess.run([real, *told], env=dict(os.environ, FLEETCUBE_FAULT=fault))
        os.kill(os.getppid(), signal.SIGKILL)
        sys.exit(137)
os.execv(real, [real, *told])
"""


class LiveAirflow:
    """Airflow with its lake in `folder`/lake; verbs run in `folder`, so its fleetcube.toml counts."""

    def __init__(self, folder: Path, database: str = "") -> None:
        """`database` is where the metadata are, if not in SQLite; it is told once, to the first start."""
        self.folder, self.lake = folder, folder / "lake"
        self.lake.mkdir(parents=True)
        self.port = free_port("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{self.port}"
        self.sent: list[dict[str, Any]] = []
        self._order = folder / "kill"
        self._held = folder / "held"
        self._command = folder / "fleetcube"
        real = str(Path(sys.prefix) / "bin" / "fleetcube")
        self._command.write_text(
            _COMMAND.format(python=sys.executable, order=str(self._order), held=str(self._held), real=real)
        )
        self._command.chmod(0o700)
        self._token, self._database = "", database

    def send(self, part: int, **more: Any) -> None:
        """Agents push; what was sent is known, so that another lake can be given the same."""
        self.keep_clear(30)
        self.settle()
        self.sent.append({"part": part, **more})
        send(self.lake, part, **more)

    def kill_next(self, words: str, fault: str) -> None:
        """The next verb that begins with `words` is killed at a fault point, and its task's process with it."""
        self._order.write_text(f"{words}|{fault}")

    def keep_clear(self, seconds: float) -> None:
        """Wait, if a multiple of five minutes is near: the run that is due then would take what is sent now."""
        while time.time() % 300 > 300 - seconds:
            time.sleep(1)

    def hold(self, verb: str) -> None:
        """A verb does not begin until `release`."""
        self._held.write_text(verb)

    def release(self) -> None:
        """Let the verb go on that is held."""
        self._held.unlink()

    @property
    def killed(self) -> bool:
        """Whether that has happened."""
        return not self._order.exists()

    def environ(self) -> dict[str, str]:
        """What the launcher is started with."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "FLEETCUBE"))}
        own = {
            "AIRFLOW_VAR_FLEETCUBE_COMMAND": str(self._command),
            "AIRFLOW_VAR_FLEETCUBE_LATE_MINUTES": "load=2",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        }
        return {**kept, **own}

    def launch(self, *arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run the launcher, with more in its environment."""
        environ = {**self.environ(), **(environ or {})}
        if self._database:
            environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], self._database = self._database, ""
        command = [sys.executable, str(LAUNCHER), "--lake", str(self.lake), "--port", str(self.port), *arguments]
        return subprocess.run(
            command, env=environ, cwd=self.folder, capture_output=True, text=True, timeout=400, check=False
        )

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request to Airflow's API as the administrator."""
        if not self._token:
            password = json.loads((self.lake / "_airflow" / "passwords.json").read_text())["admin"]
            told = self._request("POST", "/auth/token", {"username": "admin", "password": password}, {})
            self._token = told["access_token"]
        return self._request(method, f"/api/v2{path}", body, {"Authorization": f"Bearer {self._token}"})

    def _request(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        address = f"{self.address}{path}"
        asked = urllib.request.Request(address, data, {"Content-Type": "application/json", **headers}, method=method)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def page(self, address: str) -> str:
        """A page of the web server, as somebody who is logged in sees it."""
        asked = urllib.request.Request(address, headers={"Cookie": f"_token={self._token}"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return str(answer.read().decode())

    def trigger(self, dag: str, at: str = "", conf: Mapping[str, Any] | None = None) -> str:
        """Start a run, of the five minutes that begin at `at`; gives its name."""
        body: dict[str, Any] = {"logical_date": at or None, "conf": dict(conf or {})}
        return str(self.ask("POST", f"/dags/{dag}/dagRuns", body)["dag_run_id"])

    def run_state(self, dag: str, run: str) -> str:
        """How a run stands."""
        return str(self.ask("GET", f"/dags/{dag}/dagRuns/{urllib.parse.quote(run)}")["state"])

    def tasks(self, dag: str) -> list[dict[str, Any]]:
        """Every task of every run of a DAG, the mapped ones one by one."""
        return list(self.ask("GET", f"/dags/{dag}/dagRuns/~/taskInstances?limit=500")["task_instances"])

    def is_quiet(self) -> bool:
        """Whether no run is on its way, nor waits for its turn."""
        asked = (f"/dags/~/dagRuns?state={state}&limit=1" for state in ("running", "queued"))
        return not any(self.ask("GET", path)["total_entries"] for path in asked)

    def settle(self) -> None:
        """Wait until no run is on its way and no cube behind: what an Asset starts begins a moment later."""
        still = 0
        deadline = time.monotonic() + 300
        while still < 4:
            assert time.monotonic() < deadline, self.ask("GET", "/dags/~/dagRuns?limit=50")
            still = still + 1 if self.is_quiet() and not due(Settings(lake=self.lake)).build else 0
            time.sleep(1.0)


def wait_for(holds: Callable[[], bool], what: str, deadline_s: float = 300.0) -> None:
    """Wait for a condition; fails after the deadline."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, f"{what} did not come within {deadline_s} s"
        time.sleep(0.5)


def send(lake: Path, part: int, *, hosts: Sequence[str] = ("a", "b", "c"), metric: str = "", rows: int = 1) -> None:
    """What agents push in one interval: good and bad values, a repeat, a conflict, requests; or rows of one metric."""
    frames = []
    for host in hosts:
        for at in range(10):
            seq = 100 * part + at + 1
            value = "nan" if at == 7 else f"0.{at:02d}"
            row = {"metric": metric or "cpu.utilization", "value": value, "host": host, "site": "s", "interval_s": "60"}
            made = tuple(
                {**row, "ts": f"2026-01-0{1 + at % 3}T{part:02d}:{at:02d}:{n % 60:02d}.{n // 60:06d}Z"}
                for n in range(rows)
            )
            frames.append(Record(host, "boot", seq, "samples", "2026-01-04T00:00:00.000000Z", made))
    request = {"ts": f"2026-01-02T{part:02d}:00:00.000000Z", "model": "m", "status": "ok", "e2e_ms": "12.5"}
    asked = tuple({**request, "request_id": f"{part}-{n}", "prompt_tokens": str(n)} for n in range(20))
    frames.append(Record("a", "boot", 100 * part + 50, "requests", "2026-01-04T00:00:00.000000Z", asked))
    changed = tuple({**one, "value": "0.99"} for one in frames[4].rows)
    conflict = Record(frames[4].agent, "boot", frames[4].seq, "samples", "2026-01-04T00:00:00.000000Z", changed)
    with closing(Spool(lake / "_inbox")) as spool:
        for one in (*frames, frames[1], conflict):
            content = encode_record(one)
            spool.append([Frame(one.agent, one.boot, one.seq, one.fact, RECEIVED_US, content, "record")])
        spool.seal()


def send_many(lake: Path, part: int, rows: int) -> None:
    """One interval of a fleet: 100 hosts push `rows` samples of five metrics, new each time."""
    metrics = ("cpu.utilization", "gpu.utilization", "gpu.temperature", "gpu.memory.activity", "gpu.memory.utilization")
    each = rows // 100
    day = f"2025-12-{1 + part % 28:02d}"  # all of them before they are received
    with closing(Spool(lake / "_inbox")) as spool:
        for host in range(100):
            made = tuple(
                {
                    "metric": metrics[n % 5],
                    "value": f"0.{n % 997:03d}",
                    "host": f"host-{host:03d}",
                    "site": f"site-{host % 4}",
                    "interval_s": "15",
                    "ts": f"{day}T{n // 300 % 24:02d}:{n // 5 % 60:02d}:{host % 60:02d}.{n:06d}Z",
                }
                for n in range(each)
            )
            record = Record(f"agent-{host}", f"boot-{part}", 1, "samples", "2026-01-04T00:00:00.000000Z", made)
            content = encode_record(record)
            spool.append([Frame(record.agent, record.boot, 1, "samples", RECEIVED_US, content, "record")])
        spool.seal()
