"""The same work by others: chDB's base GROUP BY in a process of its own, and Spark's GROUP BY CUBE over the rows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from cubes_defs import AGGREGATES, defined, settings_in, timed_build
from cubes_lake import PER_DAY, SERIES, publish_days
from figures import Figure, figure, seconds

from cubes.build import build
from cubes.spark.session import spark_session
from lake.delta import open_snapshot
from lake.duck import connect
from lake.tables import trusted

_CHDB = Path(sys.prefix) / "chdb" / "bin" / "python"
_SIX = ("site", "cluster", "environment", "host", "hardware", "model")
_SPARK_ROWS = 20_000_000


def by_chdb(folder: Path, script: str, work: Any) -> dict[str, Any] | None:
    """What a script tells that chDB's own environment runs on `work` (as JSON); None, said aloud, where it is not."""
    if not _CHDB.exists():
        print(f"SKIPPED: no chDB in {_CHDB.parent.parent}; `make chdb` installs it.", file=sys.stderr, flush=True)
        return None
    file = folder / "chdb.json"
    file.write_text(json.dumps(work))
    done = subprocess.run([_CHDB, Path(__file__).with_name(script), file], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def chdb_base(folder: Path, paths: Sequence[str]) -> Iterator[Figure]:
    """Seconds in which chDB groups the same files into an AggregatingMergeTree of the base cells alone."""
    told = by_chdb(folder, "chdb_base.py", list(paths))
    if told is None:
        return
    yield figure(f"chDB {told['version']}: base GROUP BY into an AggregatingMergeTree", told["seconds"], "s")
    yield figure("chDB: base cells", told["cells"], "rows")


def spark(folder: Path, memory_mib: int, rows: int) -> Iterator[Figure]:
    """64 cuboids by Spark as an engine, and by Spark's own GROUP BY CUBE over the rows, into Parquet."""
    settings = replace(settings_in(folder, memory_mib), engine="spark", spark_memory_mib=4096)
    duck = connect(settings)
    days = max(1, round(min(rows, _SPARK_ROWS) / (SERIES * PER_DAY)))
    yield figure("Spark: rows of samples", publish_days(settings, duck, 0, days, 1), "rows")
    # Values of different metrics don't add up, so every cuboid keeps the metric.
    every = [(*names, "metric") for count in range(len(_SIX)) for names in combinations(_SIX, count)]
    cube = defined(folder, ("5m",), (*_SIX, "metric"), every)
    session = spark_session(settings)
    session.range(10).count()  # the start of Spark is no part of either
    ours, cells = timed_build(settings, duck, cube)
    yield figure("Spark as an engine: 64 cuboids, committed", ours, "s")
    paths = open_snapshot(settings.lake, trusted("samples")).paths()
    session.read.parquet(*paths).createOrReplaceTempView("samples")
    text = f"""SELECT window(ts, '5 minutes').start AS bucket, metric, {", ".join(_SIX)}, {AGGREGATES}
        FROM samples GROUP BY window(ts, '5 minutes'), metric, CUBE({", ".join(_SIX)})"""
    target = folder / "cube.parquet"
    theirs = seconds(lambda: session.sql(text).write.option("compression", "zstd").parquet(str(target)))
    made = session.read.parquet(str(target)).count()
    if made != cells:
        raise SystemExit(f"Spark's CUBE made {made} cells, the engine {cells}: not the same work.")
    yield figure("Spark's GROUP BY CUBE over the rows, into Parquet", theirs, "s")
    yield figure("Spark as an engine / Spark's GROUP BY CUBE", ours / theirs, "×", 0.1)
    embedded = build(replace(settings, engine="duckdb"), duck, replace(cube, name="embedded")).seconds
    yield figure("DuckDB engine: the same 64 cuboids", embedded, "s")
    session.stop()
    duck.connection.close()
