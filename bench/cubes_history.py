"""Builds of few new rows beside much history, and of late rows of one day."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from cubes_defs import ADDITIVE_GRAINS, cube_of, settings_in, timed_build
from cubes_lake import START, publish_days
from figures import Figure, figure

from cubes.build import build
from lake.delta import open_snapshot
from lake.duck import connect
from lake.tables import trusted

_EVERY_S = 50  # seconds between samples: a million rows a day


def incremental(folder: Path, memory_mib: int, rows: int) -> Iterator[Figure]:
    """1 % of new rows beside a first build of a million rows, and the same new rows after 10 and 100 times as many."""
    first = 0.0
    for times in (1, 10, 100):
        if times * 1_000_000 > rows:
            print(f"SKIPPED: {times} × history needs --rows {times * 1_000_000}.", file=sys.stderr, flush=True)
            return
        place = folder / f"history-{times}"
        settings = settings_in(place, memory_mib)
        duck = connect(settings)
        days = times
        count = publish_days(settings, duck, 0, days, 1, every_s=_EVERY_S)
        cube = cube_of(place, ADDITIVE_GRAINS, 16)
        took, _ = timed_build(settings, duck, cube)
        first = first or took
        yield figure(f"{times} × history: first build of {count:,} rows", took, "s")
        took = 0.0
        for number in (2, 3):  # warm: the second of two
            new = publish_days(settings, duck, days + number - 2, 1, number, every_s=_EVERY_S * 100)
            took, _ = timed_build(settings, duck, cube)
        bound = 0.05 * first + 0.5
        yield figure(f"{times} × history: build of {new:,} new rows", took, "s", float(f"{bound:.3g}"))
        duck.connection.close()
        shutil.rmtree(place)


def late(folder: Path, memory_mib: int, rows: int) -> Iterator[Figure]:
    """Late rows that touch one day of 365: cells written beside cells of that day that they touch."""
    settings = settings_in(folder, memory_mib)
    duck = connect(settings)
    publish_days(settings, duck, 0, 365, 1, every_s=17280)
    cube = cube_of(folder, ADDITIVE_GRAINS, 16)
    build(settings, duck, cube)
    publish_days(settings, duck, 100, 1, 2, every_s=17280)
    written = build(settings, duck, cube).cells
    day = START + timedelta(days=100)
    scan = duck.scan(open_snapshot(settings.lake, trusted("samples")))
    touched = 0
    for kept in (cube.kept(cuboid) for cuboid in cube.cuboids):
        for width in ("5 minutes", "1 hour", "1 day"):
            keys = ", ".join((f"time_bucket(INTERVAL '{width}', ts)", *kept))
            text = f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {scan} WHERE day = DATE '{day}' AND batch = 2)"
            touched += duck.sql(text)[0][0]
    yield figure("late rows of 1 day of 365: cells written / touched", written / touched, "×", 1.2)
    duck.connection.close()
