"""Retention by the command line over a lake in an object store: rows, cells and dimensions age, with proof on record.

Rows lie at ages before the present, as the command reads the clock.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ageing import AGES, QUERIES, TEXT, ask, send, told, truth
from cubeoracle import small_cube
from lifelake import NOW, Life
from s3server import S3Server

from cubes.segments import table_of
from lake.deletions import Deletion, read_deletions
from lake.delta import open_snapshot
from lake.errors import QueryError
from lake.shared import files_below
from lake.tables import DELETIONS, trusted
from lake.times import utc_now

pytestmark = [pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(900)]

# The calendar year of the oldest rows ended long ago; those of yesterday keep everything.
LATER = (utc_now() - NOW).days
OLD, NEW = 900 - LATER, 2 - LATER
KEEP = "keep: {1h: 400d, 1d: 10y, 1w: 10y}\n"
RULES = "landing: 7d\nquarantine: 90d\nfacts:\n  samples: {keep: 30d}\n"


class Stored:
    """A lake in a bucket, built by the command line with every shipped cube as well."""

    def __init__(self, folder: Path, url: str) -> None:
        self.life = Life(folder, place=url)
        self.life.cube = small_cube(folder, TEXT + AGES + KEEP)
        (folder / "definitions" / "retention.yaml").write_text(RULES)
        self.environ = {
            **os.environ,
            "FLEETCUBE_HOME": str(folder / "home"),
            "FLEETCUBE_LAKE": url,
            "FLEETCUBE_DEFINITIONS": str(folder / "definitions"),
        }
        self.take(OLD, OLD + 1, NEW)

    def take(self, *days: int, rows: int = 12, seed: int = 7) -> None:
        """Rows of these days, judged and built."""
        send(self.life, days, rows, seed=seed, received_at=utc_now())
        self.life.gate()
        self.run("build")

    def run(self, *words: str, fault: str = "") -> str:
        """What a command prints; it must succeed, or be killed at the fault point."""
        command = [sys.executable, "-m", "fleetcube", *words]
        environ = {**self.environ, **({"FLEETCUBE_FAULT": fault} if fault else {})}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
        assert done.returncode == (-signal.SIGKILL if fault else 0), done.stderr
        return done.stdout

    def fates(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("retain", "--apply", "--format", "json"))
        return found

    def recorded(self, layer: str) -> list[Deletion]:
        return read_deletions(self.life.duck, open_snapshot(self.life.settings.lake, DELETIONS), layer=layer)

    def names(self) -> set[str]:
        """Every data file in the bucket."""
        return {str(one.path) for one in files_below(self.life.settings.lake, ".parquet")}

    def exact(self) -> None:
        """Answers without the dimensions that aged are what the rows said when they came."""
        expected = truth(self.life, lambda row: (row["site"], row["metric"]), OLD + 100, NEW - 1)
        assert told(self.life, "site", OLD + 100, NEW - 1)[1] == expected


@pytest.fixture
def stored(s3: S3Server, tmp_path: Path) -> Stored:
    return Stored(tmp_path, s3.url)


def test_what_has_aged_goes_with_proof_and_every_answer_stays(stored: Stored, s3: S3Server) -> None:
    before = [ask(stored.life, sql)[1] for sql in QUERIES]
    planned = stored.run("retain")
    assert "trusted" in planned
    fates = stored.fates()
    assert [one for one in fates if one["kept"]] == [], "all that is due reconciles"
    assert {one["layer"] for one in fates} >= {"trusted", "cube", "dimension"}
    assert [ask(stored.life, sql) for sql in QUERIES] == [("cube", rows) for rows in before]
    stored.exact()
    with pytest.raises(QueryError, match="aged out"):
        told(stored.life, "host", OLD + 100, NEW - 1)
    for layer in ("trusted", "cube", "dimension"):
        assert all(one.proof["cubes"] for one in stored.recorded(layer)), layer
    lines = [json.loads(line) for line in stored.run("retain", "--proofs").splitlines()]
    assert len(lines) == len(fates)
    assert stored.fates() == [], "nothing is due twice"
    # Late rows of an aged range reach what is left, and go in their turn.
    stored.take(OLD, rows=5, seed=8)
    stored.exact()
    assert [one["kept"] for one in stored.fates()] == [""]
    stored.exact()
    # The objects themselves go with vacuum, once nobody may read them.
    stored.life.age(100, s3.files)
    stored.take(NEW, rows=1, seed=9)
    there = stored.names()
    stored.run("vacuum", "--apply")
    assert [name for name in there - stored.names() if f"/{trusted('samples').key}/" in name]
    assert [name for name in there - stored.names() if f"/{table_of(stored.life.cube).key}/" in name]
    stored.exact()
    stored.life.holds()


@pytest.mark.parametrize(
    ("layer", "point"),
    [
        ("trusted", "retain.record.after"),
        ("cube", "retain.delete.after"),
        ("dimension", "retain.intent.after"),
        ("dimension", "retain.record.after"),
    ],
)
def test_a_killed_retention_is_completed_from_the_bucket(stored: Stored, layer: str, point: str) -> None:
    before = [ask(stored.life, sql)[1] for sql in QUERIES]
    layers = [one["layer"] for one in json.loads(stored.run("retain", "--format", "json"))]
    nth = layers.index(layer) + 1
    stored.run("retain", "--apply", fault=f"{point}:{nth}")
    assert [ask(stored.life, sql)[1] for sql in QUERIES] == before
    stored.take(OLD, NEW, rows=4, seed=8)
    stored.exact()
    stored.fates()
    stored.exact()
    stored.life.holds()
    assert {one.layer for one in stored.recorded("dimension")} == {"dimension"}
    assert stored.fates() == []
