"""Measure Superset: its first and second start, and how long every dashboard takes, from cubes and from rows.

Each load has a fresh browser context of one log-in, so that nothing is cached in the browser, and a window that shows
the whole dashboard. It lasts from the navigation to the moment when the last chart has its answer and none shows that
it is loading, seen inside the page every 20 ms. Two halves have the endpoint's result cache off, one asking cubes, one
asking the same of the trusted rows (DuckDB on the Parquet files, `fleetcube.raw`); a third is as fleetcube ships.
Writes superset.json and superset.md.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))

import psycopg
from dashboards import Dashboards, Load, p50, p95
from figures import Figure, count, figure, machine, write_report
from playwright.sync_api import Browser
from supersetpage import browser

from fleetcube.children import free_port

FOLDER = Path(__file__).resolve().parent.parent / "superset"
MANAGE = FOLDER / "manage.py"
SLUGS = sorted(path.stem for path in (FOLDER / "assets" / "dashboards").glob("*.yaml"))
# Which settings each part has: what the endpoint is told, and what Superset is.
_NO_CACHE = {"FLEETCUBE_RESULT_CACHE_MIB": "0"}
PARTS = {"as shipped": {}, "cubes": _NO_CACHE, "rows": {**_NO_CACHE, "SUPERSET_RAW": "1"}}
_SECOND_START_S = 40


class Place:
    """A lake, and the Superset over it that is started and ended by the commands that people type."""

    def __init__(self, lake: Path) -> None:
        """Nothing runs yet."""
        self.lake, self.port = lake, free_port("127.0.0.1", 8088)
        self.password = self.audit = ""
        # Of its own name, since a lake that is given may have been measured before.
        self.auditing = f"auditor-{secrets.token_hex(4)}"

    @property
    def home(self) -> Path:
        """Superset's own folder."""
        return self.lake / "_superset"

    def make(self, asked: argparse.Namespace) -> None:
        """The quick start's lake, or a larger one of the same simulation."""
        if asked.hosts == 16:
            self._fleetcube("up", "--once", "--days", str(asked.days))
            return
        requests = 500_000 * asked.days // 7 * asked.hosts // 16
        sizes = {"hosts": asked.hosts, "days": asked.days, "requests": requests}
        self._fleetcube("simulate", *(word for name, size in sizes.items() for word in (f"--{name}", str(size))))
        self._fleetcube("gate")
        self._fleetcube("build")

    def rows(self, fact: str) -> int:
        """How many trusted rows a fact has."""
        printed = self._fleetcube("sql", "--raw", "--format", "json", f"SELECT count(*) AS rows FROM {fact}")
        found = re.search(r'"rows": *(\d+)', printed)
        if found is None:
            raise SystemExit(f"no count of rows in: {printed}")
        return int(found[1])

    def start(self, environ: dict[str, str]) -> float:
        """Start, and give the seconds that it took."""
        begun = time.perf_counter()
        printed = self._run([str(MANAGE), "start", "--port", str(self.port)], environ)
        took = time.perf_counter() - begun
        made = re.search(r"password \(printed this once\) (\S+)", printed)
        self.password = made[1] if made else self.password
        return took

    def stop(self) -> None:
        """End Superset and its endpoint."""
        self._run([str(MANAGE), "stop"], {})

    @contextmanager
    def auditor(self) -> Iterator[psycopg.Connection]:
        """A connection to the endpoint that sees everybody's statements."""
        if not self.audit:
            self.audit = secrets.token_urlsafe(15)
            self._fleetcube("user", "add", self.auditing, "--role", "admin", "--password-stdin", told=self.audit)
        port = (self.home / "endpoint_port").read_text()
        place = {"host": "127.0.0.1", "port": port, "user": self.auditing, "password": self.audit, "dbname": "fleet"}
        with psycopg.connect(**place, autocommit=True) as connection:
            yield connection

    def _fleetcube(self, *arguments: str, told: str = "") -> str:
        return self._run(["-m", "fleetcube", *arguments], {}, told)

    def _run(self, arguments: list[str], environ: dict[str, str], told: str = "") -> str:
        # Settings of whoever measures must not be part of it.
        own = {name: value for name, value in os.environ.items() if not name.startswith(("FLEETCUBE_", "SUPERSET_"))}
        command = [sys.executable, *arguments, "--lake", str(self.lake)]
        done = subprocess.run(command, env={**own, **environ}, input=told, text=True, capture_output=True)
        if done.returncode:
            raise SystemExit(f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout


def loads(place: Place, made: Browser, slugs: Sequence[str], times: int) -> list[Load]:
    """Every dashboard so many times, in turns, after each was seen once."""
    with place.auditor() as auditor:
        dashboards = Dashboards(made, f"http://127.0.0.1:{place.port}", place.password, auditor, place.home)
        dashboards.warm(slugs)
        return [dashboards.load(slug) for _ in range(times) for slug in slugs]


def measured(place: Place, made: Browser, asked: argparse.Namespace) -> Iterator[Figure]:
    """Starts, then all loads of each part."""
    for fact in ("samples", "requests"):
        yield count(f"trusted rows of {fact}", place.rows(fact), "rows")
    yield figure("first start of Superset, its environment installed", place.start({}), "s")
    found: dict[str, list[Load]] = {}
    for name, environ in PARTS.items():
        place.stop()
        took = place.start(environ)
        if not found:
            yield figure("second start of Superset", took, "s", _SECOND_START_S)
        found[name] = loads(place, made, asked.dashboards, asked.times)
        yield from whole(name, found[name])
    yield from compared("all dashboards", found)
    yield from spent(found["cubes"])
    for slug in asked.dashboards:
        own = {name: [one for one in part if one.dashboard == slug] for name, part in found.items()}
        yield from asked_by(slug, own["cubes"])
        for name, part in own.items():
            yield from single(f"{slug}, {name}", part)
        yield from compared(slug, own)


def whole(name: str, part: Sequence[Load]) -> Iterator[Figure]:
    """Figures over all loads of all dashboards."""
    yield count(f"all dashboards, {name}: loads", len(part))
    settled = [one.settled_ms for one in part]
    yield figure(f"all dashboards, {name}: load, p50", p50(settled), "ms")
    yield figure(f"all dashboards, {name}: load, p95", p95(settled), "ms")
    yield from endpoint(f"all dashboards, {name}", part)


def single(name: str, part: Sequence[Load]) -> Iterator[Figure]:
    """Figures of one dashboard."""
    settled = [one.settled_ms for one in part]
    yield figure(f"{name}: load, p50", p50(settled), "ms")
    yield figure(f"{name}: load, p95", p95(settled), "ms")
    yield from endpoint(name, part)


def asked_by(slug: str, part: Sequence[Load]) -> Iterator[Figure]:
    """What a load of a dashboard asks, of which Superset asks the endpoint's own tables or facts."""
    yield count(f"{slug}: questions of charts and filters", round(p50([one.answers for one in part])))
    yield count(f"{slug}: statements on facts", round(p50([one.statements for one in part])))
    yield count(f"{slug}: of these not from cubes", round(p50([one.from_rows for one in part])))


def endpoint(name: str, part: Sequence[Load]) -> Iterator[Figure]:
    """The endpoint's own time for facts: all statements of a load added up, though several run at once."""
    own, settled = sum(one.endpoint_ms for one in part), sum(one.settled_ms for one in part)
    yield figure(f"{name}: the endpoint's time for facts, summed, mean", own / len(part), "ms")
    yield figure(f"{name}: as a share of the load", 100 * own / settled, "%")


def compared(name: str, found: dict[str, list[Load]]) -> Iterator[Figure]:
    """Rows against cubes."""
    settled = {part: [one.settled_ms for one in found[part]] for part in ("cubes", "rows")}
    own = {part: sum(one.endpoint_ms for one in found[part]) for part in ("cubes", "rows")}
    yield figure(f"{name}: load p50, rows / cubes", p50(settled["rows"]) / p50(settled["cubes"]), "×")
    yield figure(f"{name}: load p95, rows / cubes", p95(settled["rows"]) / p95(settled["cubes"]), "×")
    # A dashboard of the endpoint's own tables alone asks no facts.
    if own["cubes"]:
        yield figure(f"{name}: the endpoint's time for facts, rows / cubes", own["rows"] / own["cubes"], "×")


def spent(part: Sequence[Load]) -> Iterator[Figure]:
    """Where the time of a load goes, from cubes."""
    yield figure("from cubes, mean load: until the first question", _mean([one.first_ms for one in part]), "ms")
    yield figure("from cubes, mean load: until the last answer", _mean([one.last_ms for one in part]), "ms")
    yield figure("from cubes, mean load: until all is drawn", _mean([one.settled_ms for one in part]), "ms")
    for name in part[0].processor_s:
        mean = _mean([one.processor_s[name] for one in part])
        yield figure(f"from cubes, mean load: processor time of the {name}".replace("the S", "S"), mean, "s")


def _mean(found: Sequence[float]) -> float:
    return sum(found) / len(found)


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=5, help="loads of each dashboard, of each part")
    parser.add_argument("--days", type=int, default=7, help="days of the simulated fleet; dashboards show the last 7")
    parser.add_argument("--hosts", type=int, default=16, help="hosts of the simulated fleet, of 4 GPUs each")
    parser.add_argument("--lake", type=Path, help="a lake that is there, without Superset; else one is made")
    parser.add_argument("--dashboards", nargs="+", choices=SLUGS, default=SLUGS, metavar="NAME")
    parser.add_argument("--name", default="superset", help="of the report's files")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no report")
    asked = parser.parse_args()
    facts, found = machine(), []
    with tempfile.TemporaryDirectory(prefix="bench-superset-") as folder, browser() as made:
        place = Place((asked.lake or Path(folder) / "lake").resolve())
        if place.home.exists():
            raise SystemExit(f"{place.home} is there, so the first start can't be measured. Remove it.")
        if not asked.lake:
            place.make(asked)
        facts["packages"] |= {"apache-superset": _superset(), "chromium": made.version}
        try:
            for one in measured(place, made, asked):
                print(f"{one.name}: {one.value:,.4g} {one.unit}", flush=True)
                found.append(one)
        finally:
            place.stop()
    if not asked.dry:
        write_report(found, facts, name=asked.name, command="make bench-superset")


def _superset() -> str:
    """Superset's version, of its own environment."""
    python = Path(sys.prefix) / "superset" / "bin" / "python"
    said = "from importlib.metadata import version; print(version('apache-superset'))"
    return subprocess.run([str(python), "-c", said], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
