"""Measure questions: the panels of bench/panels.sql over cubes, over the wire, and as others answer them.

Writes sql.json and sql.md. Everything is over the same Parquet files of one run: sessions and the endpoint of a lake
with one cube (three grains, 32 cuboids), DuckDB on the files, and chDB on a MergeTree with a projection. Answers are
not kept between questions, but for the figure that says so.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from cubes_defs import ADDITIVE_GRAINS, DIMENSIONS, cube_of, settings_in, timed_build
from cubes_lake import PER_DAY, SERIES, START, publish_days
from cubes_peers import by_chdb
from figures import Figure, figure, machine, seconds, write_report

from cubes.compact import compact_cube
from cubes.model import Cube
from cubes.route import route
from cubes.session import Session
from fleetcube.children import Children, free_port
from lake.delta import open_snapshot
from lake.duck import connect
from lake.settings import Settings
from lake.tables import trusted

_ROUNDS = 10


def panels(days: int) -> list[str]:
    """The statements, over data that ends after so many days."""
    end = START + timedelta(days=days)
    values = {"end": f"{end} 00:00:00", "t": f"{end - timedelta(days=1)} 21:17:42"}
    text = Path(__file__).with_name("panels.sql").read_text()
    return [line.format(**values) for line in text.splitlines() if line and not line.startswith("--")]


def times_ms(asks: Sequence[Callable[[], object]]) -> list[float]:
    """Milliseconds of each of them, several rounds, after one that warms up."""
    for ask in asks:
        ask()
    return [seconds(ask) * 1000 for _ in range(_ROUNDS) for ask in asks]


def shares(title: str, found: Sequence[float], p50: float | None, p95: float | None) -> Iterator[Figure]:
    """Median and 95th percentile, each with its bound where one was asked."""
    yield figure(f"{title}, p50", statistics.median(found), "ms", p50)
    yield figure(f"{title}, p95", sorted(found)[int(len(found) * 0.95)], "ms", p95)


def routed(settings: Settings, cube: Cube, statements: Sequence[str]) -> Iterator[Figure]:
    """The router alone, with and without the cache of plans, and how many panels cubes answer."""
    with Session(replace(settings, result_cache_mib=0), cubes=[cube]) as session:
        paths = [session.query(sql).path for sql in statements]
        yield figure("panels answered from cubes, of 20", sum(path.startswith("cube") for path in paths), "")
        view = session.view()
        fresh = times_ms([lambda sql=sql: route(sql, view) for sql in statements])
        yield from shares("router without the plan cache", fresh, 6, 12)
        # The plan as the session itself times it, its plans being kept from the first round on.
        held = [session.query(sql).receipt["latency_ms"]["plan"] for _ in range(_ROUNDS) for sql in statements]
        yield from shares("router with the plan cache", held, 0.5, None)
        yield from shares("session, from text to rows", times_ms(_asks(session, statements)), None, None)


def _asks(session: Session, statements: Sequence[str]) -> list[Callable[[], object]]:
    return [lambda sql=sql: session.query(sql) for sql in statements]


def wire(settings: Settings, definitions: Path, statements: Sequence[str]) -> Iterator[Figure]:
    """The same through psycopg and the endpoint, rows fetched: each statement worked out, and kept answers."""
    for title, kept_mib, bound in (("over the wire, rows fetched", 0, 25), ("over the wire, answers kept", 64, None)):
        yield from shares(title, _over_the_wire(settings, definitions, statements, kept_mib), None, bound)


def _over_the_wire(settings: Settings, definitions: Path, statements: Sequence[str], kept_mib: int) -> list[float]:
    import psycopg

    port = free_port("127.0.0.1", 5433)
    with Children(settings.lake / "_work" / "logs") as children:
        environ = {"FLEETCUBE_DEFINITIONS": str(definitions), "FLEETCUBE_RESULT_CACHE_MIB": str(kept_mib)}
        children.start("serve", "serve", "--lake", str(settings.lake), "--port", str(port), environ=environ)
        children.wait_for_port("serve", "127.0.0.1", port)
        with psycopg.connect(f"host=127.0.0.1 port={port} dbname=fleet user=bench", autocommit=True) as connection:
            asks = [lambda sql=sql: connection.execute(sql).fetchall() for sql in statements]
            return times_ms(asks)


def others(settings: Settings, cube: Cube, statements: Sequence[str], folder: Path) -> Iterator[Figure]:
    """The sum of the 20 panels here, by DuckDB on the files, and by chDB on a MergeTree with a projection."""
    with Session(replace(settings, result_cache_mib=0), cubes=[cube]) as session:
        ours = _sum_s(_asks(session, statements))
    yield figure("sum of the 20 panels, session", ours, "s")
    snapshot = open_snapshot(settings.lake, trusted("samples"))
    duck = connect(settings)
    duck.execute(f"CREATE VIEW samples AS SELECT * FROM {duck.scan(snapshot)}")
    theirs = _sum_s([lambda sql=sql: duck.sql(sql) for sql in statements])
    duck.connection.close()
    yield figure("sum of the 20 panels, DuckDB on the files", theirs, "s")
    # The asked bound is 20 times as fast: at most a twentieth of the time.
    yield figure("panels: session / DuckDB on the files", ours / theirs, "×", 0.05)
    pattern = f"{Path(snapshot.paths()[0]).parent.parent}/*/*.parquet"
    work = {"pattern": pattern, "dimensions": DIMENSIONS, "statements": list(statements)}
    told = by_chdb(folder, "chdb_panels.py", work)
    if told is None:
        return
    yield figure(f"chDB {told['version']}: load into a MergeTree with a projection", told["load_s"], "s")
    yield figure("sum of the 20 panels, chDB", told["seconds"], "s")
    yield figure("panels: session / chDB", ours / told["seconds"], "×", 1)


def _sum_s(asks: Sequence[Callable[[], object]]) -> float:
    """Seconds of all of them, one after another: the best of three rounds."""
    return min(sum(seconds(ask) for ask in asks) for _ in range(3))


def history(folder: Path, memory_mib: int, days: int) -> Iterator[Figure]:
    """p95 of the panels that look at two days, over a tenth of the history and over all of it."""
    found = []
    for count in (max(2, days // 10), days):
        place = folder / f"days-{count}"
        settings = settings_in(place, memory_mib)
        duck = connect(settings)
        publish_days(settings, duck, 0, count, 1)
        cube = cube_of(place, ADDITIVE_GRAINS, 32)
        timed_build(settings, duck, cube)
        compact_cube(settings, duck, cube, whole=True)
        duck.connection.close()
        statements = [sql for sql in panels(count) if " - INTERVAL" in sql]
        with Session(replace(settings, result_cache_mib=0), cubes=[cube]) as session:
            times = sorted(times_ms(_asks(session, statements)))
        found.append(times[int(len(times) * 0.95)])
        yield figure(f"panels of two days over {count} days of history, p95", found[-1], "ms")
        shutil.rmtree(place)
    yield figure("p95 with ten times the history / without", found[1] / found[0], "×", 1.3)


def main() -> None:
    """Make the lake, measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=100_000_000, help="samples (whole days)")
    parser.add_argument("--memory-mib", type=int, default=2048, help="the engine's memory limit")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no report")
    asked = parser.parse_args()
    facts, found = machine(), []
    days = max(2, round(asked.rows / (SERIES * PER_DAY)))
    with tempfile.TemporaryDirectory(prefix="bench-sql-") as name:
        folder = Path(name)
        settings = settings_in(folder, asked.memory_mib)
        duck = connect(settings)
        found.append(figure("rows of samples", publish_days(settings, duck, 0, days, 1), "rows"))
        cube = cube_of(folder, ADDITIVE_GRAINS, 32)
        found.append(figure("build of the cube", timed_build(settings, duck, cube)[0], "s"))
        # As `fleetcube upkeep` does: a first build leaves a file of each of its chunks in a month's segment.
        kept = seconds(lambda: compact_cube(settings, duck, cube, whole=True))
        found.append(figure("upkeep of its files", kept, "s"))
        duck.connection.close()
        statements = panels(days)
        parts = (
            lambda: routed(settings, cube, statements),
            lambda: wire(settings, folder / "definitions", statements),
            lambda: others(settings, cube, statements, folder),
            lambda: history(folder, asked.memory_mib, days),
        )
        for part in parts:
            for one in part():
                print(f"{one.name}: {one.value:,.4g} {one.unit}", flush=True)
                found.append(one)
    if not asked.dry:
        write_report(found, facts, name="sql", command="make bench-sql")


if __name__ == "__main__":
    main()
