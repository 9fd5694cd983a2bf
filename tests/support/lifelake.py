"""A lake whose samples are all of the small cube: landed, gated and built through the real steps, at given times."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from cubeoracle import TEXT, small_cube
from gating import gate
from landed import land

from cubes.build import build
from cubes.compact import compact_cube
from cubes.model import Cube
from cubes.segments import table_of
from cubes.session import Session
from cubes.verify import verify
from fleetcube.retire import Retired, retire
from fleetcube.upkeep import compact_tables
from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.errors import LakeError
from lake.places import lake_path
from lake.retention_rules import load_rules
from lake.settings import Settings
from lake.shared import has_table
from lake.tables import QUARANTINE, landing, trusted
from lake.times import utc_now
from lake.vacuum import vacuum
from quality.accounts import accounts, unbalanced
from quality.erase import erase
from quality.release import release
from quality.undo import undo_batch

RULES = "landing: 7d\nquarantine: 90d\nfacts:\n  samples: {keep: 30d}\n"
KEEP = "keep: {5m: 40d, 1h: 400d}\n"
NOW = datetime(2026, 11, 10, 11, tzinfo=UTC)


@dataclass
class Life:
    """A lake and its cube; `day(n)` is n days before NOW. `place` is its URL if it lies in an object store."""

    folder: Path
    more: str = KEEP
    seq: int = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    place: str = ""
    home: str = "home"

    def __post_init__(self) -> None:
        lake = lake_path(self.place or str(self.folder / "lake"), self.folder / self.home)
        self.settings = Settings(lake=lake, memory_mib=256, threads=1, segment_files=2, table_files=3)
        self.settings.lake.mkdir(parents=True, exist_ok=True)
        self.duck: Duck = connect(self.settings)
        self.cube: Cube = small_cube(self.folder, TEXT + self.more)
        (self.folder / "definitions" / "retention.yaml").write_text(RULES)

    def day(self, ago: int) -> date:
        return (NOW - timedelta(days=ago)).date()

    def land(self, *ago: int, host: str = "a", value: str = "1.5", **more: Any) -> None:
        """One row for each age in days."""
        rows = []
        for days in ago:
            self.seq += 1
            ts = (NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
            text = value if value == "bad" else str(Decimal(value) + self.seq)
            rows.append({"seq": self.seq, "ts": ts, "metric": "gpu.power", "value": text, "interval_s": "60",
                         "site": "eu", "host": host, **more})  # fmt: skip
        self.sent += rows
        land(self.settings, self.duck, "samples", rows)

    def gate(self) -> None:
        gate(self.settings, self.duck)

    def build(self) -> None:
        build(self.settings, self.duck, self.cube)

    def retire(self, now: datetime = NOW) -> dict[str, str]:
        """Subject to why it was kept, '' when it went."""
        rules = load_rules(self.folder / "definitions")
        done: list[Retired] = retire(self.settings, self.duck, rules, [self.cube], now)
        return {f"{one.row.layer} {one.row.subject}": one.kept for one in done}

    def compact(self) -> None:
        compact_cube(self.settings, self.duck, self.cube, whole=True)
        compact_tables(self.settings, self.duck)

    def undo(self) -> None:
        undo_batch(self.settings, self.duck, "samples", 1, reason="wrong")

    def release(self) -> None:
        release(self.settings, self.duck, "samples", {}, clean=clean, catalogue=load_catalogue())

    def erase(self) -> None:
        erase(self.settings, self.duck, "samples", {"host": "ann"}, reason="asked")

    def vacuum(self, *, apply: bool = True) -> None:
        stands = open_snapshot(self.settings.lake, table_of(self.cube)).txn("source")
        refs = [(table_of(self.cube), [], []), (landing("samples"), [], []), (QUARANTINE, [], [])]
        refs += [(trusted("samples"), [] if stands is None else [stands], ["gate/samples"])]
        there = [one for one in refs if has_table(one[0].path(self.settings.lake))]
        vacuum(self.settings.lake, there, grace=timedelta(hours=1), now=utc_now(), apply=apply)

    def try_step(self, step: str) -> None:
        """A step that may be refused with a clear error: a batch that isn't there, a gate that was killed."""
        run = {"gate": self.gate, "build": self.build, "compact": self.compact, "undo": self.undo,
               "release": self.release, "erase": self.erase, "retain": self.retire}[step]  # fmt: skip
        try:
            run()
        except LakeError as error:
            if not any(text in str(error) for text in ("no batch 1", "fleetcube gate")):
                raise

    def finish(self) -> None:
        """Complete what kills left."""
        self.gate()
        self.build()
        self.retire()

    def age(self, hours: int, folder: Path | None = None) -> None:
        """Set everything that was written that far back; `folder` is the store's own, where there is one."""
        at = time.time() - hours * 3600
        for path in (folder or self.settings.lake).rglob("*"):
            if path.parent.name == "_delta_log" and path.suffix == ".json":
                lines = path.read_text().splitlines()
                path.write_text("\n".join(line for line in lines if "commitInfo" not in line) + "\n")
            os.utime(path, (at, at))

    def ask(self, sql: str) -> list[dict[str, Any]]:
        with Session(self.settings, cubes=[self.cube], clock=lambda: NOW) as session:
            return session.query(sql).table.to_pylist()

    def counted(self) -> tuple[int, int]:
        """Rows behind the cube, and the sum of their intervals, as its coarsest cells say."""
        cells = open_snapshot(self.settings.lake, table_of(self.cube))
        paths = cells.paths(lambda file: file.partition["grain"] == "1d")
        where = f"cuboid = {self.cube.base} AND sketch IS NULL"
        sums = "coalesce(sum(rows), 0), coalesce(sum(sum_interval_s), 0)"
        [(rows, seconds)] = self.duck.sql(f"SELECT {sums} FROM {self.duck.scan(cells, paths)} WHERE {where}")
        return int(rows), int(seconds)

    def told(self) -> tuple[int, int]:
        """The same by the books: what is trusted, there or expired; each row stands for a minute."""
        rows = accounts(self.settings.lake, self.duck)["samples"]["trusted"]
        return rows, rows * 60

    def holds(self) -> None:
        """Accounts add up and every cell that can be verified is right."""
        assert unbalanced(self.settings.lake, self.duck) == []
        report = verify(self.settings, self.duck, self.cube)
        assert report.holds, report.shown

    def trusted_days(self) -> list[str]:
        files = open_snapshot(self.settings.lake, trusted("samples")).files
        return sorted({str(file.partition["day"]) for file in files})


def child(life: Life, code: str, *, fault: str) -> int:
    """Run code over the life's folder in a process that is killed at a fault point; its exit code."""
    made = f"Life(Path({str(life.folder)!r}), {life.more!r}, place={life.place!r}, home={life.home!r})"
    text = f"from pathlib import Path\nfrom lifelake import *\nlife = {made}\n{code}"
    environ = {**os.environ, "FLEETCUBE_FAULT": fault, "PYTHONPATH": os.pathsep.join(_paths())}
    return subprocess.run([sys.executable, "-c", text], env=environ, timeout=120).returncode


def _paths() -> Sequence[str]:
    return [str(Path(__file__).parent), str(Path(__file__).parents[2]), *sys.path]
