"""A lake that holds one random cube, and its steps.

A step may be killed at a fault point: in this process, by an exception that nothing catches, or truly, by the kernel.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from gating import gate
from randomcubes import lookup_rows
from valueoracle import Form

from cubes.build import build, refresh
from cubes.compact import compact_cube
from cubes.load import load_cubes
from cubes.segments import table_of
from cubes.verify import VerifyReport, verify
from fleetcube.retire import retire
from fleetcube.upkeep import compact_tables
from ingestion.clean import clean
from lake import faults
from lake.catalogue import load_catalogue
from lake.deletions import Deletion, read_deletions
from lake.delta import open_snapshot
from lake.duck import Duck, connect
from lake.intents import read_intents
from lake.lookup_store import publish_lookup
from lake.lookups import load_lookups
from lake.retention_rules import FactRule, RetentionRules
from lake.settings import Settings
from lake.tables import DELETIONS, QUARANTINE, landing, trusted
from lake.times import utc_now
from lake.vacuum import vacuum
from quality.erase import erase
from quality.release import release
from quality.undo import undo_batch

_CORRECTED = ("correct.intent.after", "gate.quarantine.after", "gate.trusted.before", "gate.trusted.after",
              "gate.progress.before")  # fmt: skip
POINTS = {
    "gate": ("gate.intent.after", "gate.candidate.after", *_CORRECTED[1:]),
    "build": ("builder.scan.after", "builder.cells.after", "builder.commit.before", "builder.commit.after"),
    "refresh": ("builder.cells.after", "builder.commit.before", "builder.commit.after"),
    "compact": ("compact.write.after", "compact.commit.before", "compact.commit.after"),
    "merge": ("compact.write.after", "compact.commit.before", "compact.commit.after"),
    "undo": _CORRECTED,
    "release": _CORRECTED,
    "erase": (*_CORRECTED, "gate.landing.after"),
    "vacuum": ("vacuum.delete.before",),
    "retain": ("retain.intent.after", "retain.record.after", "retain.delete.after"),
}
PERSON = {"samples": "host", "requests": "user_hash"}
Identity = tuple[str, str, int]


class Killed(BaseException):
    """What ends a step in this process at a fault point."""


class Lake:
    """The lake's steps, each a call of what the command line calls; made anew where the process was killed."""

    def __init__(self, folder: Path, fact: str, chunk_rows: int) -> None:
        self.folder, self.fact = folder, fact
        self.settings = Settings(
            lake=folder / "lake", memory_mib=256, threads=1, segment_files=2, table_files=2, gate_rows=25,
            unknown_metrics="accept",
        )  # fmt: skip
        self.settings.lake.mkdir(parents=True, exist_ok=True)
        self.cube = load_cubes(folder / "definitions")["made"]
        self.chunk_rows = chunk_rows
        self.duck: Duck = connect(self.settings)

    def run(self, step: str, told: Any = None) -> None:
        """Do a step; `told` is the days of a refresh, the batch of an undo, the person of an erasure, or the moment of
        a retention with the age that it leaves to rows.
        """
        with patch("cubes.source._CHUNK_ROWS", self.chunk_rows):
            getattr(self, f"_{step}")(*([] if told is None else [told]))

    def _gate(self) -> None:
        gate(self.settings, self.duck, self.fact)

    def _build(self) -> None:
        build(self.settings, self.duck, self.cube)

    def _refresh(self, days: list[str]) -> None:
        refresh(self.settings, self.duck, self.cube, [date.fromisoformat(day) for day in days])

    def _compact(self, whole: bool) -> None:
        compact_cube(self.settings, self.duck, self.cube, whole=whole)

    def _merge(self) -> None:
        compact_tables(self.settings, self.duck)

    def _undo(self, batch: int) -> None:
        undo_batch(self.settings, self.duck, self.fact, batch, reason="wrong")

    def _release(self) -> None:
        release(self.settings, self.duck, self.fact, {}, clean=clean, catalogue=load_catalogue())

    def _erase(self, person: str) -> None:
        erase(self.settings, self.duck, self.fact, {PERSON[self.fact]: person}, reason="asked")

    def _check(self) -> None:
        self.verified()

    def _retain(self, told: Sequence[str]) -> None:
        rules = RetentionRules(landing="7d", quarantine="100y", facts={self.fact: FactRule(keep=told[1])})
        retire(self.settings, self.duck, rules, [self.cube], datetime.fromisoformat(told[0]))

    def _vacuum(self) -> None:
        """Without any grace: all goes that nobody may need."""
        stands = open_snapshot(self.settings.lake, table_of(self.cube)).txn("source")
        tables = [(table_of(self.cube), [], []), (landing(self.fact), [], []), (QUARANTINE, [], [])]
        tables += [(trusted(self.fact), [] if stands is None else [stands], [f"gate/{self.fact}"])]
        there = [one for one in tables if (one[0].path(self.settings.lake) / "_delta_log").is_dir()]
        vacuum(self.settings.lake, there, grace=timedelta(0), now=utc_now(), apply=True)

    def lookups(self, form: Form, version: int) -> None:
        """Publish a version of every lookup that the cube may need."""
        for name in used_lookups(form):
            columns = load_lookups()[name].columns
            lines = [tuple(text(row.get(column.name)) for column in columns) for row in lookup_rows(name, version)]
            publish_lookup(self.settings.lake, self.duck, name, lines)

    def rename(self, aliases: Mapping[str, Mapping[str, str]]) -> None:
        """Publish new names of old ones, by dimension."""
        lines = [(dimension, old, new) for dimension, names in aliases.items() for old, new in names.items()]
        publish_lookup(self.settings.lake, self.duck, "aliases", lines)

    def deletions(self) -> list[Deletion]:
        """What retention has on record."""
        return read_deletions(self.duck, open_snapshot(self.settings.lake, DELETIONS))

    @property
    def unfinished(self) -> bool:
        """Whether a retention was killed and nothing has completed it yet."""
        return bool(read_intents(self.settings.lake, "retain"))

    def txn(self, name: str) -> int | None:
        """A number of the cube's table."""
        return open_snapshot(self.settings.lake, table_of(self.cube)).txn(name)

    @property
    def built(self) -> bool:
        """Whether the cube was ever built."""
        return self.txn("build") is not None

    def trusted(self) -> list[tuple[Any, ...]]:
        """(agent, boot, seq, batch, day) of every trusted row."""
        scan = self.duck.scan(open_snapshot(self.settings.lake, trusted(self.fact)))
        return self.duck.sql(f"SELECT agent, boot, seq, batch, CAST(day AS VARCHAR) FROM {scan} ORDER BY ALL")

    def cells(self) -> str:
        """SQL relation of the cube's table."""
        return self.duck.scan(open_snapshot(self.settings.lake, table_of(self.cube)))

    def verified(self) -> VerifyReport:
        """The report of the cube, which must hold."""
        report = verify(self.settings, self.duck, self.cube)
        assert report.holds, report.shown
        return report

    def again(self) -> None:
        """What a new process begins with: nothing of the old one's memory."""
        self.duck.connection.close()
        self.duck = connect(self.settings)


def used_lookups(form: Form) -> list[str]:
    """The lookups that a definition's derived dimensions come from."""
    banded = {column.partition(".")[0] for _, column, _ in form.bands if "." in column} - {"labels"}
    bounds = {"bounds"} if any(one.get("quantiles") == "counts" for one in form.measures.values()) else set()
    return sorted({lookup for lookup, _, _ in form.joins} | banded | bounds)


@contextmanager
def killing(point: str) -> Iterator[None]:
    """Arm a fault point in this process: passing it raises Killed in place of the kernel's signal."""

    def kill(*_: int) -> None:
        raise Killed(point)

    with (
        patch.object(faults, "_ARMED", point),
        patch.dict(faults._passes, clear=True),
        patch.object(faults, "os", SimpleNamespace(kill=kill, getpid=os.getpid)),
    ):
        yield


def child(lake: Lake, step: str, told: Any, point: str) -> int:
    """The step in a process of its own that the kernel kills at the point; its exit code, which must be one of two."""
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2]), *sys.path]
    environ = {**os.environ, "FLEETCUBE_FAULT": point, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, __file__, str(lake.folder), lake.fact, str(lake.chunk_rows), step, json.dumps(told)]
    code = subprocess.run(command, env=environ, timeout=120).returncode
    assert code in (0, -9), f"{step} ended with {code}"
    return code


def text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return json.dumps(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


if __name__ == "__main__":
    Lake(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])).run(sys.argv[4], json.loads(sys.argv[5]))
