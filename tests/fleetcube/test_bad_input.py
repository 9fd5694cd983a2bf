"""Bad input: each ends with an error that says what is wrong and where; nothing is lost, and what was there answers.

A disk that fills up in the middle of a build is in `tests/cubes/test_full_disk.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cubeoracle import TEXT, cells_of_table, expected, publish, random_rows, small_cube

from cubes.build import build
from cubes.load import load_cubes
from cubes.model import Cube
from cubes.segments import table_of
from cubes.session import Session
from cubes.stored import PROPERTY
from cubes.verify import verify
from fleetcube.cli import cli
from lake.delta import DataFile, open_snapshot
from lake.duck import Duck, connect
from lake.errors import FleetcubeError, LakeError
from lake.settings import Settings
from lake.tables import TableRef, trusted

ASKED = (
    "SELECT metric, site, count(value) AS n, sum(value) AS s, max(value) AS m FROM samples GROUP BY 1, 2 ORDER BY 1, 2"
)
OLD, NEW = random_rows(41, 300), random_rows(42, 60)


class Served:
    """A built lake with a session that was open before anything went wrong, and rows that no cube has yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cube: Cube = small_cube(folder, TEXT)
        self.settings = Settings(lake=folder / "lake", definitions=folder / "definitions", memory_mib=256)
        self.settings.lake.mkdir()
        self.duck: Duck = connect(self.settings)
        publish(self.duck, self.settings, OLD, 1)
        build(self.settings, self.duck, self.cube)
        self.session = Session(self.settings, cubes=[self.cube])
        self.answer = self.session.query(ASKED).table
        publish(self.duck, self.settings, NEW, 2)

    def run(self, *words: str) -> tuple[int, str]:
        """The exit code and output of a command over the lake."""
        environ = {"FLEETCUBE_LAKE": str(self.settings.lake), "FLEETCUBE_DEFINITIONS": str(self.settings.definitions)}
        done = CliRunner().invoke(cli, list(words), env=environ)
        if done.exception is not None and not isinstance(done.exception, SystemExit | FleetcubeError):
            raise done.exception
        return done.exit_code, done.output + str(done.exception or "")

    def still_served(self) -> None:
        """The open session and a new one over the same cube answer as before, from cells."""
        with Session(self.settings, cubes=[self.cube]) as other:
            for session in (self.session, other):
                found = session.query(ASKED)
                assert (found.path, found.table) == ("cube", self.answer)
        assert cells_of_table(self.duck, self.settings, self.cube) == expected(OLD, self.cube)

    def builds(self) -> None:
        """When it is mended, a build takes in all that came meanwhile."""
        code, output = self.run("build")
        assert code == 0, output
        assert cells_of_table(self.duck, self.settings, self.cube) == expected([*OLD, *NEW], self.cube)
        assert verify(self.settings, self.duck, self.cube).holds


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    found = Served(tmp_path)
    yield found
    found.session.close()


SITE = "[site, host, metric]"
DEFINITIONS = {
    "an unknown column": (SITE, "[site, hots, metric]", "small.yaml:5:", "'hots' is unknown", "host"),
    "a measure of a text": ("{sum: value}", "{sum: site}", "small.yaml:9:", "'string' has no sum", "decimal"),
    "over the budget": (SITE, f"{SITE}\nbudget: {{cuboids: 2}}", "small.yaml:", "over the budget of 2", "budget"),
    "an unknown measure": ("{min: value}", "{minimum: value}", "small.yaml:10:", "minimum", "min"),
    "no YAML": (SITE, "[site, host", "small.yaml:", "", ""),
}


@pytest.mark.parametrize("case", DEFINITIONS)
def test_a_bad_definition_is_named_with_its_line(served: Served, case: str) -> None:
    old, new, *said = DEFINITIONS[case]
    path = served.folder / "definitions" / "small.yaml"
    good = path.read_text()
    path.write_text(good.replace(old, new, 1))
    for verb in (["build"], ["cube", "verify"], ["cube", "list"]):
        code, output = served.run(*verb)
        assert code == 1, output
        assert all(one in output for one in said), output
    served.still_served()
    path.write_text(good)
    served.builds()


def test_two_cubes_of_one_name_are_refused(served: Served) -> None:
    other = served.folder / "definitions" / "other.yaml"
    other.write_text(TEXT)
    code, output = served.run("build")
    assert code == 1
    assert "small.yaml:2: field cube: there is a cube 'small' already, in " in output, output
    assert "other.yaml:2" in output, output
    served.still_served()
    other.unlink()
    served.builds()


def test_a_cube_over_its_bytes_is_refused_with_the_forecast(served: Served) -> None:
    path = served.folder / "definitions" / "small.yaml"
    good = path.read_text()
    # Another table (one more cuboid), with a budget that no cube keeps, from the first byte on.
    more = good.replace("[metric]]", "[metric], [site, host, metric]]").replace(
        "  lowest:", "  mean: {avg: value}\n  lowest:"
    )
    more = more.replace("[5m, 1h, 1d]", "[1m, 5m, 1h, 1d]")
    path.write_text(f"{more}budget: {{bytes_per_raw_byte: 0.01, from_mib: 0}}\n")
    code, output = served.run("build")
    assert code == 1, output
    assert "0.01" in output, output
    assert "--over-budget" in output, output
    served.still_served()
    changed = load_cubes(path.parent)["small"]
    with Session(served.settings, cubes=[changed]) as session:
        assert session.query(ASKED).table == served.answer, "the older version answers for the one that isn't built"
    path.write_text(good)
    served.builds()


def _cut(path: Path) -> bytes:
    """Leave the first half of a file, and give what it was."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return whole


def _newest(served: Served, ref: TableRef) -> DataFile:
    return max(open_snapshot(served.settings.lake, ref).files, key=lambda file: file.path)


def test_a_half_written_file_that_no_version_names_is_never_read(served: Served) -> None:
    for ref in (trusted("samples"), table_of(served.cube)):
        root = ref.path(served.settings.lake)
        one = root / _newest(served, ref).path
        stray = one.with_name(f"build-99999999-{one.name}")
        stray.write_bytes(one.read_bytes()[: one.stat().st_size // 2])
    served.still_served()
    served.builds()
    assert stray.exists()


@pytest.mark.parametrize("layer", ["rows", "cells"])
def test_a_file_of_the_lake_that_was_cut_is_named(served: Served, layer: str) -> None:
    ref = trusted("samples") if layer == "rows" else table_of(served.cube)
    version = open_snapshot(served.settings.lake, table_of(served.cube)).version
    # Of rows one that the next build reads; of cells each, as a question reads some of them.
    files = [_newest(served, ref)] if layer == "rows" else list(open_snapshot(served.settings.lake, ref).files)
    paths = [ref.path(served.settings.lake) / file.path for file in files]
    kept = {path: _cut(path) for path in paths}
    code, output = served.run("build") if layer == "rows" else served.run("sql", ASKED)
    assert code == 1, output
    assert "Traceback" not in output
    assert any(path.name in output for path in paths), output
    assert open_snapshot(served.settings.lake, table_of(served.cube)).version == version
    for path, whole in kept.items():
        path.write_bytes(whole)
    served.still_served()
    served.builds()


def _protocol(served: Served, ref: TableRef, action: dict[str, Any]) -> Path:
    snapshot = open_snapshot(served.settings.lake, ref)
    log = snapshot.root / "_delta_log" / f"{snapshot.version + 1:020d}.json"
    log.write_text(json.dumps(action) + "\n")
    return log


READER = {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"],
                       "writerFeatures": ["deletionVectors"]}}  # fmt: skip
WRITER = {"protocol": {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["identityColumns"]}}


@pytest.mark.parametrize("layer", ["rows", "cells"])
@pytest.mark.parametrize("action", [READER, WRITER], ids=["reader", "writer"])
def test_a_lake_of_a_newer_version_is_not_touched(served: Served, layer: str, action: dict[str, Any]) -> None:
    ref = trusted("samples") if layer == "rows" else table_of(served.cube)
    log = _protocol(served, ref, action)
    there = sorted(log.parent.parent.rglob("*"))
    if (layer, action) == ("rows", WRITER):
        served.builds()  # rows are only read
        with pytest.raises(LakeError, match=r"Delta writer version 7 \(identityColumns\)"):
            publish(served.duck, served.settings, NEW, 3)
        return
    code, output = served.run("build")
    assert code == 1, output
    assert f"Delta {'reader version 3' if action is READER else 'writer version 7'}" in output, output
    assert str(ref.path(served.settings.lake)) in output
    if action is READER:
        assert sorted(log.parent.parent.rglob("*")) == there
    log.unlink()
    served.still_served()
    served.builds()


def test_a_definition_of_a_newer_program_in_the_lake_is_refused(served: Served) -> None:
    path = served.folder / "definitions" / "small.yaml"
    good = path.read_text()
    snapshot = open_snapshot(served.settings.lake, table_of(served.cube))
    first = snapshot.root / "_delta_log" / f"{0:020d}.json"
    known = first.read_text()
    assert PROPERTY in known
    first.write_text(known.replace('\\"fact\\":', '\\"of_tomorrow\\":1,\\"fact\\":', 1))
    assert first.read_text() != known
    path.write_text(good.replace("[5m, 1h, 1d]", "[1m, 5m, 1h, 1d]"))
    code, output = served.run("build")
    assert code == 1, output
    assert "The stored definition can't be read" in output, output
    first.write_text(known)
    path.write_text(good)
    served.still_served()
    served.builds()
