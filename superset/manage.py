"""Starts and ends Superset over a lake: `make superset`, `make superset-stop`. Runs in the project's environment.

Everything secret or kept lies in `_superset/` of the lake's folder, mode 0700. Every step may be repeated; what is
done already is not done again, so a second start takes as long as Superset needs to come up.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Final

from acting import signed_name

from cubes.access import load_access
from fleetcube.children import free_port
from fleetcube.daemons import Daemons, listens, wait_until
from fleetcube.options import require_lake
from lake.acting import Keys, TokenError
from lake.errors import ConfigError, FleetcubeError
from lake.places import address, is_remote
from lake.settings import Settings, load_settings
from lake.users import Users

HERE: Final = Path(__file__).resolve().parent
PYTHON: Final = Path(sys.prefix) / "superset" / "bin" / "python"
HOST: Final = "127.0.0.1"
SERVICE, ADMIN = "superset", "admin"
# Superset's roles for the endpoint's shipped ones: who administers, who writes SQL, who reads.
ROLES: Final = {"admin": "Admin", "analyst": "Fleet analyst", "site": "Fleet reader"}
# What load.py prints when it has made the administrator.
MADE: Final = "made the administrator"
_UP_S: Final = 180.0


class Superset:
    """Superset over one lake."""

    def __init__(self, settings: Settings, port: int) -> None:
        """Nothing is made or started yet."""
        # What is started works in a folder of its own, so that the lake is named whole.
        self.settings, self.port = replace(settings, lake=settings.lake.absolute()), port
        self.home = self.settings.lake / "_superset"
        self.daemons = Daemons(self.home)

    def start(self) -> None:
        """Make what is missing, start the endpoint and Superset, and say where they are."""
        require_lake(self.settings)
        if not PYTHON.exists():
            raise ConfigError("Superset is not installed.", where=str(PYTHON), todo="Run `make superset`.")
        self.home.mkdir(mode=0o700, exist_ok=True)
        with self.daemons.alone():
            self._secret("secret_key")
            self._endpoint_users()
            self._start_endpoint()
            self._load()
            self._start_web()
        print(f"Superset: http://{HOST}:{self.port}  user {ADMIN}")

    def stop(self) -> None:
        """End what `start` has started; processes of others are left alone."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        with self.daemons.alone():
            ran = [name for name in ("web", "endpoint") if self.daemons.stop(name)]
        print("Superset and its endpoint are ended." if ran else "Superset did not run.")

    def user(self, name: str, role: str, tenant: str | None) -> None:
        """Let a person into Superset and the endpoint under one name, or give one another password; prints it once."""
        if role not in ROLES:
            raise ConfigError(f"There is no role '{role}' here.", todo=f"Choose one of {', '.join(ROLES)}.")
        known = load_access(self.settings.access_file).users
        if name == SERVICE or (name == ADMIN and role != "admin"):
            raise ConfigError(f"'{name}' is Superset's own name.", todo="Take another.")
        alike = [one for one in known if one.lower() == name.lower() and one != name]
        if alike:
            raise ConfigError(f"'{name}' and '{alike[0]}' differ by case only.", todo="Take another name.")
        if name in known and (known[name].roles != [role] or known[name].tenant != tenant):
            told = f"{', '.join(known[name].roles)}{f' of {known[name].tenant}' if known[name].tenant else ''}"
            todo = f"Say its role as it is, or change it by `fleetcube user grant|revoke {name} ROLE` first."
            raise ConfigError(f"'{name}' is there already, as {told}.", todo=todo)
        if name not in known:
            limits = ["--tenant", tenant] if tenant else []
            self._fleetcube("user", "add", name, "--role", role, "--no-password", *limits)
        password = secrets.token_urlsafe(15)
        self._run("user", name=name, password=password, role=ROLES[role])
        print(f"User {name}, role {role}, password (printed this once) {password}")

    def check(self) -> None:
        """Compare what Superset holds with the source; what differs is printed, and ends with 1."""
        self._run("check", uri=self._uri)
        print("Superset holds what superset/assets/ says.")

    @property
    def _lake(self) -> str:
        """The lake as the command line takes it."""
        return address(self.settings.lake) if is_remote(self.settings.lake) else str(self.settings.lake)

    @property
    def _uri(self) -> str:
        port = (self.home / "endpoint_port").read_text()
        return f"postgresql+psycopg2://{SERVICE}:XXXXXXXXXX@{HOST}:{port}/fleet"

    def _secret(self, name: str) -> str:
        """A secret of 256 bits, made once."""
        path = self.home / name
        if not path.exists():
            self._write(name, secrets.token_urlsafe(48))
        return path.read_text()

    def _write(self, name: str, text: str) -> None:
        """A file of the folder, whole or not at all, for the owner alone."""
        new = self.home / f"{name}.new"
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        new.rename(self.home / name)

    def _endpoint_users(self) -> None:
        """The endpoint's user for Superset itself, with the password and key that we keep, and its administrator.

        People have no password there: Superset asks for them, under the key.
        """
        users, people = Users(self.settings.users_file), load_access(self.settings.access_file).users
        if SERVICE not in users.names() or not (self.home / "endpoint_password").exists():
            for name in ("loaded", "endpoint_password"):
                (self.home / name).unlink(missing_ok=True)
            password = self._secret("endpoint_password")
            verb = ["password", SERVICE] if SERVICE in users.names() else ["add", SERVICE, "--role", "service"]
            self._fleetcube("user", *verb, "--password-stdin", told=password)
        if not self._key_holds():
            (self.home / "endpoint_key").unlink(missing_ok=True)
            self._fleetcube("user", "key", SERVICE, "--to", str(self.home / "endpoint_key"))
        if ADMIN not in people:
            self._fleetcube("user", "add", ADMIN, "--role", "admin", "--no-password")

    def _key_holds(self) -> bool:
        """Whether what is signed with our key is taken: it may be missing, dropped, or older than the user."""
        path = self.home / "endpoint_key"
        if not path.exists():
            return False
        try:
            Keys(self.settings.keys_file).read(SERVICE, signed_name(ADMIN, path.read_text().strip()))
        except TokenError:
            return False
        return True

    def _fleetcube(self, *arguments: str, told: str = "") -> None:
        """A verb of the command line, so that it is on record like any other."""
        command = [sys.executable, "-m", "fleetcube", *arguments, "--lake", self._lake]
        done = subprocess.run(command, input=told, text=True, capture_output=True)
        if done.returncode:
            raise ConfigError(f"`fleetcube {' '.join(arguments)}` ended with {done.returncode}: {done.stderr.strip()}")

    def _start_endpoint(self) -> None:
        """An endpoint of our own, unless ours already runs."""
        if self.daemons.pid("endpoint"):
            return
        kept = self.home / "endpoint_port"
        # That of last time, as long as it is free: the metadata name it, and would have to be made anew.
        port = free_port(HOST, int(kept.read_text()) if kept.exists() else self.settings.serve_port)
        self._write("endpoint_port", str(port))
        command = [sys.executable, "-m", "fleetcube", "serve", "--lake", self._lake, "--port", str(port)]
        # It reads fleetcube.toml where we do.
        self.daemons.start("endpoint", command, os.environ, Path.cwd())
        wait_until(lambda: self._serves(port), 60, f"the endpoint does not come up; see {self.daemons.log('endpoint')}")
        print(f"SQL endpoint: {HOST}:{port}, database fleet")

    def _serves(self, port: int) -> bool:
        self.daemons.check("endpoint")
        return listens(HOST, port)

    def _load(self) -> None:
        """Bring Superset's metadata up to this checkout, if it is not."""
        stamp = self.home / "loaded"
        if stamp.exists() and stamp.read_text() == self._digest():
            return
        # What runs has the old settings, and must not meet a changed metadata database.
        self.daemons.stop("web")
        print("Superset: preparing metadata, roles and dashboards (half a minute)", flush=True)
        password, given, said = self._secret("endpoint_password"), secrets.token_urlsafe(15), ""
        try:
            said = self._run("setup", uri=self._uri, password=password, admin=ADMIN, admin_password=given)
        except ConfigError as error:
            said = str(error)
            raise
        finally:
            # An administrator that was there already keeps the password. One that was made is told of even where a
            # later step failed: nobody else knows it.
            if MADE in said:
                print(f"Superset: user {ADMIN}, password (printed this once) {given}", flush=True)
        self._write("loaded", self._digest())

    def _digest(self) -> str:
        """What Superset's metadata is made of: this folder, the lock, its settings and the endpoint's place."""
        config = os.environ.get("SUPERSET_CONFIG_PATH", str(HERE / "superset_config.py"))
        digest = hashlib.sha256("\n".join([self._uri, config, os.environ.get("SUPERSET_METADATA_URI", "")]).encode())
        digest.update(str((self.home / "superset.db").exists()).encode())
        lock = HERE.parent / "requirements" / "superset.txt"
        facts = HERE.parent / "lake" / "declarations" / "facts"
        for path in sorted(
            [*HERE.glob("*.py"), *HERE.glob("assets/**/*.yaml"), *facts.glob("*.yaml"), lock, Path(config)]
        ):
            digest.update(path.name.encode() + path.read_bytes())
        return digest.hexdigest()

    def _run(self, verb: str, **told: str) -> str:
        """A verb of load.py in Superset's environment; gives what it printed."""
        command = [str(PYTHON), str(HERE / "load.py"), verb]
        with (self.home / "load.log").open("a") as log:
            done = subprocess.run(
                command, input=json.dumps(told), text=True, env=self._environ(), stdout=subprocess.PIPE, stderr=log
            )
        if done.returncode:
            raise ConfigError(
                f"Superset's '{verb}' ended with {done.returncode}.\n{done.stdout.strip()}".strip(),
                todo=f"See {self.home / 'load.log'}.",
            )
        return done.stdout

    def _start_web(self) -> None:
        if self.daemons.pid("web"):
            return
        if listens(HOST, self.port):
            raise ConfigError(f"Port {self.port} is taken.", todo="Give another: make superset ARGS='--port 8089'.")
        gunicorn = PYTHON.parent / "gunicorn"
        options = ["-w", "2", "-k", "gthread", "--threads", "8", "--timeout", "120", "--bind", f"{HOST}:{self.port}"]
        # Superset leaves files where it runs.
        command = [str(gunicorn), *options, "superset.app:create_app()"]
        self.daemons.start("web", command, self._environ(), self.home)
        wait_until(self._is_healthy, _UP_S, f"Superset does not come up; see {self.daemons.log('web')}")

    def _is_healthy(self) -> bool:
        self.daemons.check("web")
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def _environ(self) -> dict[str, str]:
        keep = {name: value for name, value in os.environ.items() if not name.startswith("FLEETCUBE_")}
        # A site's own settings import ours: `from superset_config import *`.
        config = os.environ.get("SUPERSET_CONFIG_PATH", str(HERE / "superset_config.py"))
        own = {"SUPERSET_HOME": str(self.home), "SUPERSET_CONFIG_PATH": config, "PYTHONPATH": str(HERE)}
        return {**keep, **own, "FLASK_APP": "superset"}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("verb", choices=["start", "stop", "user", "check"])
    parser.add_argument("name", nargs="?", help="of a user")
    parser.add_argument("--lake", help="folder of the lake; else as `fleetcube` finds it")
    parser.add_argument("--port", type=int, default=8088, help="port of the web page, on loopback (default 8088)")
    parser.add_argument("--role", default="site", help=f"of a user: {', '.join(ROLES)}")
    parser.add_argument("--tenant", help="of a user: what the rows of role site are limited to")
    asked = parser.parse_args()
    try:
        superset = Superset(load_settings({"lake": asked.lake}), asked.port)
        if asked.verb == "user":
            if not asked.name:
                parser.error("user wants a name")
            superset.user(asked.name, asked.role, asked.tenant)
        else:
            {"start": superset.start, "stop": superset.stop, "check": superset.check}[asked.verb]()
    except FleetcubeError as error:
        sys.exit(f"superset: {error}")


if __name__ == "__main__":
    main()
