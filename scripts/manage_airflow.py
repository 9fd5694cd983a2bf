"""Starts, ends and tidies Airflow over a lake: `make airflow`, `make airflow-stop`. Runs in the project's environment.

Whatever Airflow keeps, and every secret, lies in `_airflow/` of the lake's folder, mode 0700. Each step may be
repeated; what is done already is not done again.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import secrets
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from fleetcube.daemons import Daemons, listens, wait_until
from fleetcube.pipeline import Pipeline
from lake.errors import ConfigError, FleetcubeError
from lake.places import address, is_remote
from lake.settings import Settings, load_settings

ROOT: Final = Path(__file__).resolve().parent.parent
DAGS: Final = ROOT / "airflow_dags"
BIN: Final = Path(sys.prefix) / "airflow" / "bin"
HOST: Final = "127.0.0.1"
ADMIN: Final = "admin"
# In the order of their start. No triggerer: no task of ours is deferred.
PARTS: Final = ("api-server", "scheduler", "dag-processor")
_DATABASE: Final = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
# What is set already in the environment is kept.
_GIVEN: Final = ("AIRFLOW__", "AIRFLOW_VAR_")
_UP_S: Final = 240.0
_DAY_S: Final = 86_400.0
_MOST_OWN_LOG_BYTES: Final = 16 << 20


class Airflow:
    """Airflow over one lake."""

    def __init__(self, settings: Settings, port: int | None) -> None:
        """Nothing is made or started yet; without a port it is that of last time, or 8080."""
        self.settings, self.asked_port = settings, port
        self.home = settings.lake.resolve() / "_airflow"
        self.daemons = Daemons(self.home)
        self.port = port or self._kept_port() or 8080

    def start(self) -> None:
        """Make what is missing, start what does not run, and say where it is."""
        self._make_home()
        with self.daemons.alone():
            self._port()
            self._prepare()
            began = {part: datetime.now(UTC) for part in PARTS if not self.daemons.pid(part)}
            for part in began:
                self.daemons.start(part, [str(BIN / "airflow"), part, *self._options(part)], self.environ(), self.home)
            wait_until(lambda: self._is_healthy(began), _UP_S, f"Airflow does not come up; see {self.home}/*.log")
        print(f"Airflow: http://{HOST}:{self.port}  user {ADMIN}, its password is kept in {self._passwords}")
        if began:
            print("Unpause fleetcube_load and fleetcube_cubes there; docs/airflow.md goes on from here.")

    def stop(self) -> None:
        """End what `start` has started; processes of others are left alone."""
        ran = []
        if self.home.is_dir():
            with self.daemons.alone():
                ran = [part for part in reversed(PARTS) if self.daemons.stop(part)]
        print(f"Airflow over the lake {self._lake} {'is ended' if ran else 'did not run'}.")

    def cli(self, arguments: list[str]) -> int:
        """Airflow's own command line over this Airflow: backfills, Variables, test runs."""
        self._make_home()
        with self.daemons.alone():
            self._prepare()
        return subprocess.run(
            [str(BIN / "airflow"), *arguments], env=self.environ(), cwd=self.home, check=False
        ).returncode

    def tidy(self, days: int) -> int:
        """Drop what is kept of runs that are older than so many days, so that years of runs fill no disk.

        Rows of the metadata and logs of tasks go by age, the logs of the parts by size. Gives an exit status.
        """
        if days < 1:
            raise ConfigError(f"{days} days can't be kept.", todo="Give 1 or more: --days 30.")
        before_s = time.time() - days * _DAY_S
        logs = self.home / "logs"
        files = [path for path in logs.rglob("*") if path.is_file() and not path.is_symlink()]
        old = [path for path in files if path.stat().st_mtime < before_s]
        for path in old:
            path.unlink()
            for folder in path.relative_to(logs).parents[:-1]:
                if any((logs / folder).iterdir()):
                    break
                (logs / folder).rmdir()
        cut = self.daemons.cut_logs(_MOST_OWN_LOG_BYTES)
        print(f"{len(old)} logs of tasks are removed, {len(cut)} logs of Airflow's own processes cut.", flush=True)
        since = datetime.fromtimestamp(before_s, UTC).isoformat(timespec="seconds")
        options = ["--skip-archive", "--yes", "--error-on-cleanup-failure", "--batch-size", "1000"]
        return self.cli(["db", "clean", "--clean-before-timestamp", since, *options])

    def environ(self) -> dict[str, str]:
        """Airflow's settings, over those of this process."""
        page = f"http://{HOST}:{self.port}"
        verdicts = f"{os.environ.get('AIRFLOW__API__BASE_URL', page).rstrip('/')}/fleetcube/verdicts"
        own = {
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(DAGS / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": str(max(2, os.cpu_count() or 2)),
            "AIRFLOW__CORE__FERNET_KEY": self._fernet_key(),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{page}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self._passwords),
            "AIRFLOW__API__HOST": HOST,
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": page,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": self._secret("secret_key"),
            "AIRFLOW__API_AUTH__JWT_SECRET": self._secret("jwt_secret"),
            _DATABASE: self._database(),
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(self.home / "logs"),
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            # The DAGs' own Variables that a person has no business changing.
            "AIRFLOW_VAR_FLEETCUBE_COMMAND": str(Path(sys.prefix) / "bin" / "fleetcube"),
            "AIRFLOW_VAR_FLEETCUBE_LAKE": self._lake,
            "AIRFLOW_VAR_FLEETCUBE_FOLDER": str(Path.cwd()),
            "AIRFLOW_VAR_FLEETCUBE_VERDICTS": str(self.settings.lake.resolve() / "_work" / "verdicts"),
            "AIRFLOW_VAR_FLEETCUBE_TIDY": json.dumps([sys.executable, str(Path(__file__).resolve())]),
            "AIRFLOW_VAR_FLEETCUBE_VERDICT_LINK": self.settings.verdict_link or verdicts,
            # It starts programs of its own by name.
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        if os.environ.get("FLEETCUBE_CONFIG"):
            own["FLEETCUBE_CONFIG"] = str(Path(os.environ["FLEETCUBE_CONFIG"]).resolve())
        given = {name: value for name, value in os.environ.items() if name not in own or name.startswith(_GIVEN)}
        return {**own, **given}

    @property
    def _lake(self) -> str:
        lake = self.settings.lake
        return address(lake) if is_remote(lake) else str(lake.resolve())

    @property
    def _passwords(self) -> Path:
        return self.home / "passwords.json"

    def _options(self, part: str) -> list[str]:
        # The log server of a scheduler listens on every address; the page reads the logs as files.
        return ["--skip-serve-logs"] if part == "scheduler" else []

    def _make_home(self) -> None:
        if not self.settings.lake.exists() and not is_remote(self.settings.lake):
            print(f"Airflow: there is no lake at {self._lake} yet; it is made now")
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.chmod(0o700)

    def _prepare(self) -> None:
        """Lake, secrets and metadata; tells the administrator's password where it is made now."""
        if not (BIN / "airflow").exists():
            raise ConfigError("Airflow is not installed.", where=str(BIN), todo="Run `make airflow`.")
        Pipeline(self.settings)  # makes the lake, if there is none yet
        self._migrate()
        if not self._passwords.exists() or not self._passwords.read_text().strip():
            self._passwords.unlink(missing_ok=True)
            made = secrets.token_urlsafe(15)
            _write_private(self._passwords, json.dumps({ADMIN: made}) + "\n")
            print(f"Airflow: user {ADMIN}, password {made} (shown this once)", file=sys.stderr, flush=True)

    def _kept_port(self) -> int | None:
        """The port of last time, if that is known."""
        try:
            return int((self.home / "port").read_text())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def _port(self) -> None:
        """The port that this Airflow already runs on is the one that counts; else the asked one must be free."""
        if self.daemons.pid("api-server") and (kept := self._kept_port()):
            if self.asked_port not in (None, kept):
                print(f"Airflow runs already, on port {kept}; end it by `make airflow-stop` to move it.")
            self.port = kept
        elif listens(HOST, self.port):
            raise ConfigError(f"Port {self.port} is taken.", todo="Give another: make airflow ARGS='--port 8089'.")
        (self.home / "port").write_text(str(self.port))

    def _secret(self, name: str, made: str = "") -> str:
        """A secret, made once, readable by its owner only."""
        path = self.home / name
        if not path.exists():
            _write_private(path, made or secrets.token_urlsafe(48))
        return path.read_text()

    def _fernet_key(self) -> str:
        return self._secret("fernet_key", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())

    @property
    def _sqlite(self) -> Path:
        return self.home / "airflow.db"

    def _database(self) -> str:
        """The URL of the metadata, which may hold a password: as given now, else as given once, else SQLite here."""
        kept = self.home / "database"
        given = os.environ.get(_DATABASE) or (kept.read_text() if kept.exists() else "")
        return given or f"sqlite:///{self._sqlite}"

    def _migrate(self) -> None:
        """Bring the metadata up to this Airflow, if it is not."""
        lock, url = (ROOT / "requirements" / "airflow.txt").read_bytes(), self._database()
        stamp, digest = self.home / "migrated", hashlib.sha256(lock + url.encode()).hexdigest()
        is_own = url == f"sqlite:///{self._sqlite}"
        if stamp.exists() and stamp.read_text() == digest and (not is_own or self._is_made()):
            return
        print("Airflow: preparing its metadata", flush=True)
        with self.daemons.log("migrate").open("ab") as log:
            done = subprocess.run(
                [str(BIN / "airflow"), "db", "migrate"], env=self.environ(), cwd=self.home, stdout=log, stderr=log
            )
        if done.returncode:
            raise ConfigError("Airflow's metadata can't be made.", todo=f"See {self.daemons.log('migrate')}.")
        if not is_own:
            # Kept only now: one that did not work must not be taken again.
            (self.home / "database").unlink(missing_ok=True)
            self._secret("database", url)
        stamp.write_text(digest)

    def _is_made(self) -> bool:
        """Whether the SQLite file holds metadata; ConfigError where it is damaged."""
        if not self._sqlite.exists():
            return False
        if self.daemons.pid("scheduler"):
            return True
        todo = "Move it away and start again: Airflow's runs are forgotten, nothing in the lake is."
        try:
            with closing(sqlite3.connect(self._sqlite)) as connection:
                [told] = connection.execute("PRAGMA quick_check(1)").fetchone()
                tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").fetchall()
        except sqlite3.DatabaseError as error:
            told, tables = str(error), []
        if told != "ok":
            raise ConfigError(f"Airflow's metadata are damaged: {told}.", where=str(self._sqlite), todo=todo)
        return bool(tables)

    def _is_healthy(self, began: Mapping[str, datetime]) -> bool:
        """Whether every part is up; of those that were started now, by a heartbeat of their own."""
        for part in PARTS:
            self.daemons.check(part)
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/api/v2/monitor/health", timeout=5) as answer:
                told = json.load(answer)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        beats = {"scheduler": "latest_scheduler_heartbeat", "dag-processor": "latest_dag_processor_heartbeat"}
        for part, beat in beats.items():
            state = told[part.replace("-", "_")]
            if state["status"] != "healthy" or (part in began and datetime.fromisoformat(state[beat]) < began[part]):
                return False
        return bool(told["metadatabase"]["status"] == "healthy")


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _port_of(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"'{text}' is no port: give a number from 1 to 65535")
    return int(text)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lake", help="folder of the lake; else as `fleetcube` finds it")
    parser.add_argument("--port", type=_port_of, help="port of the web page, on loopback (that of last time, or 8080)")
    parser.add_argument("--days", type=int, default=30, help="of tidy: how long runs are kept (default 30)")
    parser.add_argument("verb", choices=["start", "stop", "tidy", "cli"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of cli: what Airflow's own command line is given")
    asked = parser.parse_args()
    try:
        airflow = Airflow(load_settings({"lake": asked.lake}), asked.port)
        if asked.verb == "cli":
            sys.exit(airflow.cli(asked.arguments))
        if asked.verb == "tidy":
            sys.exit(airflow.tidy(asked.days))
        {"start": airflow.start, "stop": airflow.stop}[asked.verb]()
    except (FleetcubeError, OSError) as error:
        sys.exit(f"airflow: {error}")


if __name__ == "__main__":
    main()
