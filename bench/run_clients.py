"""Measure many clients at once: 50 of them, one query a second each, for two minutes beside a running build.

Every answer is compared with what DuckDB says of the rows of each version that the build had published: one that
equals none of them is wrong, one whose parts come from two of them is a half version, and one that is older than what
was published before it was asked is stale. Writes clients.json and clients.md.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from cubes_defs import ADDITIVE_GRAINS, cube_of, settings_in, timed_build
from cubes_lake import PER_DAY, SERIES, START, publish_days
from figures import Figure, figure, machine, write_report

from cubes.compact import compact_cube
from fleetcube.children import Children, free_port
from lake.delta import open_snapshot
from lake.duck import connect
from lake.settings import Settings
from lake.tables import trusted

_LATE_S = 1.0


@dataclass
class Asked:
    """One answer: which statement, when it was due, sent and there (seconds of the monotonic clock), and its rows."""

    place: int
    due: float
    sent: float
    done: float
    rows: Any


@dataclass
class Published:
    """A version that clients may see: the trusted version that the cube was built of, and when its build had ended."""

    source: int
    at: float


@dataclass
class Run:
    """What the clients and the builder did."""

    asked: list[Asked] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    built_rows: int = 0


def statements(days: int) -> list[str]:
    """What is asked, over data that began with so many days."""
    day = START + timedelta(days=days - 1)
    values = {"first": f"{START} 00:00:00", "day": f"{day} 00:00:00", "t": f"{day} 04:17:42"}
    text = (Path(__file__).parent / "clients.sql").read_text()
    return [line.format(**values) for line in text.splitlines() if line and not line.startswith("--")]


async def clients(run: Run, port: int, sqls: Sequence[str], count: int, seconds: float) -> None:
    """`count` clients, each with a statement due every second, each beginning at another moment of it."""
    import psycopg

    begun = time.monotonic() + 1.0

    async def one(number: int) -> None:
        place = f"host=127.0.0.1 port={port} user=client{number} dbname=fleet"
        async with await psycopg.AsyncConnection.connect(place, autocommit=True) as connection:
            for turn in range(int(seconds)):
                due = begun + turn + number / count
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                at, sent = (number + turn) % len(sqls), time.monotonic()
                try:
                    cursor = await connection.execute(sqls[at].encode())
                    rows = tuple(await cursor.fetchall())
                    run.asked.append(Asked(at, due, sent, time.monotonic(), rows))
                except psycopg.Error as error:
                    run.errors.append(f"{error.sqlstate}: {error}")

    await asyncio.gather(*(one(number) for number in range(count)))


def read_published(run: Run, log: Path) -> None:
    """What the builder wrote: a line for each build, of the trusted version, the moment of its end, and rows."""
    for line in log.read_text().splitlines():
        source, at, rows = line.split()
        run.published.append(Published(int(source), float(at)))
        run.built_rows += int(rows)


def allowed(settings: Settings, sources: Sequence[int], sqls: Sequence[str]) -> list[list[Any]]:
    """By statement, what it answers at each trusted version: DuckDB on the rows, nothing of ours but the file list."""
    duck = connect(replace(settings, memory_mib=4096))
    found: list[list[Any]] = [[] for _ in sqls]
    for source in sources:
        snapshot = open_snapshot(settings.lake, trusted("samples"), source)
        duck.execute(f"CREATE OR REPLACE VIEW samples AS SELECT * FROM {duck.scan(snapshot)}")
        for place, sql in enumerate(sqls):
            found[place].append(plain(duck.sql(sql)))
    duck.connection.close()
    return found


def plain(rows: Sequence[Sequence[Any]]) -> tuple[tuple[Any, ...], ...]:
    """Rows whose times are UTC, however the client shows them."""
    return tuple(tuple(_utc(value) for value in row) for row in rows)


def _utc(value: Any) -> Any:
    return value.replace(tzinfo=value.tzinfo or UTC) if isinstance(value, datetime) else value


def judged(run: Run, right: Sequence[Sequence[Any]]) -> Iterator[Figure]:
    """Wrong answers, half versions, stale ones."""
    wrong = halves = stale = 0
    for one in run.asked:
        rows, may = plain(one.rows), list(right[one.place])
        if rows not in may:
            wrong += 1
            parts = {row for version in may for row in version}
            halves += all(row in parts for row in rows)
            continue
        newest = max(place for place, version in enumerate(may) if version == rows)
        before = max((place for place, version in enumerate(run.published) if version.at <= one.sent), default=0)
        stale += newest < before
    yield figure("answers", len(run.asked), "")
    yield figure("versions published meanwhile", len(run.published) - 1, "")
    yield figure("rows that the build took in meanwhile", run.built_rows, "rows")
    yield figure("errors", len(run.errors), "", 0)
    yield figure("answers that no published version gives", wrong, "", 0)
    yield figure("of these, made of rows of several versions", halves, "", 0)
    yield figure("answers older than what was published when they were asked", stale, "", 0)


def latencies(run: Run) -> Iterator[Figure]:
    """Milliseconds from the moment that a statement was sent, and from the one that it was due."""
    for name, found in (
        ("from sent to rows fetched", sorted((one.done - one.sent) * 1000 for one in run.asked)),
        ("from due to rows fetched", sorted((one.done - one.due) * 1000 for one in run.asked)),
    ):
        yield figure(f"{name}, p50", statistics.median(found), "ms")
        for share, bound in ((0.95, None), (0.99, 1000.0)):
            yield figure(f"{name}, p{share * 100:g}", found[int(len(found) * share)], "ms", bound)
        yield figure(f"{name}, most", found[-1], "ms")


def build_on(settings: Settings, folder: Path, log: Path, first: int, every_s: int) -> None:
    """The builder, in a process of its own: publish a day, build, and again, until it is ended."""
    duck, cube = connect(settings), cube_of(folder, ADDITIVE_GRAINS, 32)
    batch = 2
    while True:
        rows = publish_days(settings, duck, first + batch, 1, batch, every_s=every_s)
        source = open_snapshot(settings.lake, trusted("samples")).version
        timed_build(settings, duck, cube)
        with log.open("a") as file:
            file.write(f"{source} {time.monotonic()} {rows}\n")
        batch += 1


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measured(folder: Path, asked: argparse.Namespace) -> Iterator[Figure]:
    """Make the lake, run the clients beside the builder, and judge what came back."""
    settings, days = settings_in(folder, asked.memory_mib), max(2, round(asked.rows / (SERIES * PER_DAY)))
    duck = connect(settings)
    yield figure("rows of samples at the start", publish_days(settings, duck, 0, days, 1), "rows")
    cube = cube_of(folder, ADDITIVE_GRAINS, 32)
    yield figure("build of the cube", timed_build(settings, duck, cube)[0], "s")
    # As `fleetcube upkeep` leaves a cube that has lived for more than a day.
    yield figure("compaction of the cube", _seconds(lambda: compact_cube(settings, duck, cube, whole=True)), "s")
    duck.connection.close()
    run, log, sqls = Run(), folder / "published", statements(days)
    run.published.append(Published(open_snapshot(settings.lake, trusted("samples")).version, 0.0))
    log.touch()
    port = free_port("127.0.0.1", 5433)
    with Children(folder / "logs") as children:
        environ = {"FLEETCUBE_DEFINITIONS": str(folder / "definitions")}
        children.start("serve", "serve", "--lake", str(settings.lake), "--port", str(port), environ=environ)
        children.wait_for_port("serve", "127.0.0.1", port, timeout_s=120)
        again = [__file__, "--builder", str(folder), "--days", str(days), "--memory-mib", str(asked.memory_mib)]
        builder = subprocess.Popen([sys.executable, *again, "--every-s", str(asked.every_s)])
        try:
            asyncio.run(clients(run, port, sqls, asked.clients, asked.seconds))
            if builder.poll() is not None:
                raise SystemExit(f"the builder ended by itself ({builder.returncode})")
        finally:
            builder.terminate()
            builder.wait()
    read_published(run, log)
    # The builder may have published a version that it did not live to tell.
    last = open_snapshot(settings.lake, trusted("samples")).version
    sources = [one.source for one in run.published]
    for error in sorted(set(run.errors))[:5]:
        print(error)
    yield from latencies(run)
    yield from judged(run, allowed(settings, [*sources, *([last] if last not in sources else [])], sqls))


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=10_000_000, help="samples at the start (whole days)")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--every-s", type=int, default=120, help="seconds between samples of the days that are built")
    parser.add_argument("--memory-mib", type=int, default=2048, help="the builder's memory limit")
    parser.add_argument("--dry", action="store_true", help="print the figures, write no report")
    parser.add_argument("--builder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--days", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.builder is not None:
        settings = settings_in(asked.builder, asked.memory_mib)
        build_on(settings, asked.builder, asked.builder / "published", asked.days, asked.every_s)
    facts, found = machine(), []
    with tempfile.TemporaryDirectory(prefix="bench-clients-") as name:
        for one in measured(Path(name), asked):
            print(f"{one.name}: {one.value:,.4g} {one.unit}", flush=True)
            found.append(one)
    if not asked.dry:
        write_report(found, facts, name="clients", command="make bench-clients")


if __name__ == "__main__":
    main()
