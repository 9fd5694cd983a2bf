"""Group Parquet files into an AggregatingMergeTree of base cells with chDB; run by the Python of chDB's environment.

Usage: chdb_base.py FILES, a JSON list of Parquet paths. Prints {"version", "seconds", "cells"}.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from chdb import session

DIMENSIONS = ("site", "cluster", "environment", "host", "device", "hardware", "model", "metric")


def main() -> None:
    """Make the table, fill it, and tell what it took: the better of two."""
    paths = json.loads(Path(sys.argv[1]).read_text())
    dimensions = ", ".join(DIMENSIONS)
    texts = ", ".join(f"{name} LowCardinality(Nullable(String))" for name in DIMENSIONS)
    # A file() may take many paths by a pattern; the samples' days are folders below one.
    pattern = f"{Path(paths[0]).parent.parent}/*/*.parquet"
    with tempfile.TemporaryDirectory(prefix="bench-chdb-") as folder:
        connection = session.Session(folder)
        connection.query("CREATE DATABASE bench")
        found = []
        for number in range(2):
            connection.query(
                f"""CREATE TABLE bench.base{number} (bucket DateTime('UTC'), {texts},
                n SimpleAggregateFunction(sum, UInt64), c SimpleAggregateFunction(sum, UInt64),
                s SimpleAggregateFunction(sum, Decimal(38, 9)),
                lo SimpleAggregateFunction(min, Nullable(Decimal(38, 9))),
                hi SimpleAggregateFunction(max, Nullable(Decimal(38, 9))),
                w SimpleAggregateFunction(sum, Decimal(38, 12)), ws SimpleAggregateFunction(sum, Decimal(38, 3)))
                ENGINE = AggregatingMergeTree ORDER BY (bucket, {dimensions}) SETTINGS allow_nullable_key = 1"""
            )
            started = time.perf_counter()
            connection.query(
                f"""INSERT INTO bench.base{number} SELECT toStartOfFiveMinutes(ts) AS bucket, {dimensions},
                count(), count(value), sum(value), min(value), max(value),
                sum(value * interval_s), sumIf(interval_s, value IS NOT NULL)
                FROM file('{pattern}', Parquet) GROUP BY ALL"""
            )
            found.append(time.perf_counter() - started)
        cells = int(str(connection.query("SELECT sum(1) FROM bench.base1 FINAL", "TabSeparated")).strip())
        version = str(connection.query("SELECT version()", "TabSeparated")).strip()
    print(json.dumps({"version": version, "seconds": min(found), "cells": cells}))


if __name__ == "__main__":
    main()
