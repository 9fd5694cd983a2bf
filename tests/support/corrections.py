"""One correction over the requests of a lake, in this process or in one that may be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ingestion.clean import clean
from lake.catalogue import load_catalogue
from lake.duck import connect
from lake.settings import Settings
from quality.erase import erase
from quality.release import release
from quality.undo import undo_batch


def run(lake: Path, what: str) -> None:
    """undo batch 1, erase ann, or release everything that was kept aside."""
    settings = Settings(lake=lake, memory_mib=256, threads=1)
    duck = connect(settings)
    if what == "undo":
        undo_batch(settings, duck, "requests", 1, reason="wrong")
    elif what == "erase":
        erase(settings, duck, "requests", {"user_hash": "ann"}, reason="asked")
    else:
        undo_batch(settings, duck, "requests", 1, reason="wrong")
        release(settings, duck, "requests", {"check": "undone"}, clean=clean, catalogue=load_catalogue())
    duck.connection.close()


def child(lake: Path, what: str, *, fault: str = "") -> int:
    """The same in a process of its own, killed at a fault point; its exit code."""
    environ = {**os.environ, "FLEETCUBE_FAULT": fault, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, __file__, str(lake), what], env=environ, timeout=120).returncode


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
