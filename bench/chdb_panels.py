"""Load samples into a MergeTree with a projection and ask it the panels; run by the Python of chDB's environment.

Usage: chdb_panels.py WORK, a JSON object {"pattern", "dimensions", "statements"}. Prints {"version", "load_s",
"seconds"}: seconds of all statements one after another, the best of three rounds.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from chdb import session


def main() -> None:
    """Make the table, fill it, ask."""
    work = json.loads(Path(sys.argv[1]).read_text())
    dimensions = ", ".join(work["dimensions"])
    texts = ", ".join(f"{name} LowCardinality(String)" for name in work["dimensions"])
    filled = ", ".join(f"coalesce({name}, '')" for name in work["dimensions"])
    with tempfile.TemporaryDirectory(prefix="bench-chdb-") as folder:
        connection = session.Session(folder)
        connection.query("CREATE DATABASE bench")
        connection.query("USE bench")
        connection.query(
            f"""CREATE TABLE samples (ts DateTime64(6, 'UTC'), {texts}, value Nullable(Decimal(38, 9)),
            interval_s Decimal(12, 3),
            PROJECTION hourly (SELECT date_trunc('hour', ts) AS h, {dimensions}, count(), count(value), sum(value),
                avg(value), min(value), max(value) GROUP BY h, {dimensions}))
            ENGINE = MergeTree ORDER BY (metric, site, cluster, host, device, ts)"""
        )
        started = time.perf_counter()
        connection.query(
            f"""INSERT INTO samples SELECT ts, {filled}, value, interval_s FROM file('{work["pattern"]}', Parquet)"""
        )
        load_s = time.perf_counter() - started
        rounds = []
        for _ in range(3):
            started = time.perf_counter()
            for statement in work["statements"]:
                connection.query(statement, "TabSeparated")
            rounds.append(time.perf_counter() - started)
        version = str(connection.query("SELECT version()", "TabSeparated")).strip()
    print(json.dumps({"version": version, "load_s": load_s, "seconds": min(rounds)}))


if __name__ == "__main__":
    main()
