"""A file system that fills up in the middle of a build: a real one, a few MiB in memory, in a namespace of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# What runs on the small file system. Its lake is there before the disk is full, and is asked while it is full.
CHILD = """
import json, sys
from dataclasses import replace
from pathlib import Path
from cubeoracle import cells_of_table, expected, publish, random_rows, small_cube
from cubes.build import build
from cubes.segments import table_of
from lake import delta
from lake.duck import connect
from lake.errors import FleetcubeError
from lake.settings import Settings

place = Path(sys.argv[1])
settings = Settings(lake=place / "lake", memory_mib=256)
settings.lake.mkdir()
duck, cube = connect(settings), small_cube(place)
old, new = random_rows(1, 200), random_rows(2, 3000)
publish(duck, settings, old, 1)
build(settings, duck, cube)
before = delta.open_snapshot(settings.lake, table_of(cube)).version
publish(duck, settings, new, 2)
filler = place / "filler"
with filler.open("wb", buffering=0) as file:
    for size in (65536, 4096, 1):
        try:
            while file.write(b"x" * size) == size:
                pass
        except OSError:
            pass
    file.truncate(filler.stat().st_size - int(sys.argv[2]) * 1024)
told = {}
try:
    build(settings, duck, cube)
except FleetcubeError as error:
    told["error"] = str(error)
told["version"] = delta.open_snapshot(settings.lake, table_of(cube)).version == before
told["old"] = cells_of_table(duck, settings, cube) == expected(old, cube)
filler.unlink()
told["kind"] = build(settings, duck, cube).kind
told["all"] = cells_of_table(duck, settings, cube) == expected(old + new, cube)
print(json.dumps(told))
"""


@pytest.mark.parametrize("free_kib", [0, 16, 64])
def test_a_full_disk_stops_a_build_and_loses_nothing(tmp_path: Path, free_kib: int) -> None:
    script, place = tmp_path / "child.py", tmp_path / "small"
    script.write_text(CHILD)
    place.mkdir()
    inner = f"mount -t tmpfs -o size=6m tmpfs '{place}' && exec '{sys.executable}' '{script}' '{place}' {free_kib}"
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*command, f"mount -t tmpfs tmpfs '{place}'"], capture_output=True, check=False).returncode:
        pytest.skip("SKIPPED LOUDLY: this system lets nobody mount a file system of his own, so no disk can be filled")
    path = ":".join(part for part in sys.path if part)
    done = subprocess.run(
        [*command, inner],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert "No space left" in told["error"]
    assert told == {"error": told["error"], "version": True, "old": True, "kind": "build", "all": True}
