"""Engines for pieces of work that run side by side, each with its share of threads and memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lake.duck import connect

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.settings import Settings


@contextmanager
def own_engine(settings: Settings, *, threads: int, memory_mib: int, spill_in: Path | None = None) -> Iterator[Duck]:
    """An engine for one piece of work, with its share of threads and memory.

    What it spills lies in a folder of its own (in `spill_in`, or the system's folder for such), and goes with it.
    """
    spill = Path(tempfile.mkdtemp(prefix="fleetcube-spill-", dir=spill_in))
    duck = connect(replace(settings, threads=threads, memory_mib=memory_mib), spill=spill)
    try:
        yield duck
    finally:
        duck.connection.close()
        shutil.rmtree(spill, ignore_errors=True)
