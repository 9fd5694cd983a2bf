"""Measure fleetcube on this machine: ingest, build, queries, agent. Writes report.json and report.md.

Every ratio compares two things measured in this run, over the same files, in the same process settings.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from figures import Figure, figure, machine, p50_p95, seconds, write_report

from cubes.session import Session
from fleetcube.children import Children, free_port
from fleetcube.cube_state import chosen_cubes
from fleetcube.pipeline import Pipeline
from fleetcube.tour import QUESTIONS, tour_times
from ingestion.frames import Frame
from ingestion.sample import Record, encode_record
from ingestion.spool import Spool
from ingestion.tokens import ensure_token
from lake.delta import open_snapshot
from lake.settings import Settings
from lake.tables import trusted

REQUESTS = 1_000_000
REPEATS = 30
AGENT_S = 40


def quick_start(folder: Path) -> Iterator[Figure]:
    """`fleetcube up --once` as a process of its own, and the largest resident memory of it or a child."""
    command = [sys.executable, "-m", "fleetcube", "up", "--once", "--lake", str(folder / "up")]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"fleetcube up --once ended with {process.returncode}")
    yield figure("quick start, from nothing to the end of the tour", time.perf_counter() - started, "s", 120)
    yield figure("quick start, peak resident memory", usage.ru_maxrss / 1024, "MiB", 2048)


def ingest(pipeline: Pipeline) -> Iterator[Figure]:
    """Rows a second of a simulated week into landing, and of landing through the gate."""
    counts: dict[str, int] = {}
    took = seconds(lambda: counts.update(pipeline.simulate(hosts=16, days=7, requests=REQUESTS, seed=1)))
    rows = sum(counts.values())
    yield figure("rows simulated and landed", rows, "rows")
    yield figure("simulate and land", rows / took, "rows/s")
    took = seconds(pipeline.gate)
    yield figure("gate: clean, check, judge, publish", rows / took, "rows/s")


def journal(pipeline: Pipeline) -> Iterator[Figure]:
    """Rows a second from agents' records in the journal into landing."""
    row = {"ts": "2026-01-01T00:00:00.000000Z", "metric": "cpu.utilization", "value": "0.5", "host": "bench"}
    sent = "2026-01-01T00:00:00.000000Z"
    records = [Record("bench", "boot", seq, "samples", sent, (row,) * 50) for seq in range(1, 2001)]
    with closing(Spool(pipeline.settings.lake / "_inbox")) as spool:
        for record in records:
            spool.append([Frame(record.agent, record.boot, record.seq, "samples", 1, encode_record(record))])
        spool.seal()
    took = seconds(pipeline.land)
    yield figure("land agents' records from the journal", 2000 * 50 / took, "rows/s")


def build(pipeline: Pipeline) -> Iterator[Figure]:
    """Each cube's first build beside DuckDB's own GROUP BY of its base over the same Parquet files."""
    for cube in chosen_cubes(pipeline.settings):
        snapshot = open_snapshot(pipeline.settings.lake, trusted(cube.fact))
        keys = ", ".join(f'"{name}"' for name in cube.dimensions)
        value = {"samples": "value", "requests": "e2e_ms", "evaluations": "value"}[cube.fact]
        plain = (
            "CREATE OR REPLACE TEMP TABLE plain AS SELECT time_bucket(INTERVAL 5 MINUTE, ts) AS bucket, "
            f"{keys}, count(*), sum({value}), min({value}), max({value}) "
            f"FROM {pipeline.duck.scan(snapshot)} GROUP BY ALL"
        )
        base = min(seconds(lambda text=plain: pipeline.duck.execute(text)) for _ in range(2))
        pipeline.duck.execute("DROP TABLE plain")
        took = seconds(lambda name=cube.name: pipeline.build([name]))
        yield figure(
            f"build {cube.name}: {snapshot.rows:,} rows, {len(cube.cuboids)} cuboids, {len(cube.grains)} grains",
            took,
            "s",
        )
        yield figure(f"build {cube.name} / DuckDB's base GROUP BY", took / base, "×")


def queries(settings: Settings) -> Iterator[Figure]:
    """The tour's questions through both doors of one session."""
    times = tour_times(settings)
    with Session(settings) as session:
        for number, question in enumerate(QUESTIONS, 1):
            sql = question.sql.format(**times)
            ours = p50_p95(lambda text=sql: session.query(text), REPEATS)
            raw = p50_p95(lambda text=sql: session.query(text, raw=True), max(5, REPEATS // 3))
            path = session.query(sql).path
            for share, mine, theirs in zip(("p50", "p95"), ours, raw, strict=True):
                yield figure(f"question {number} ({path}) {share}", mine, "ms")
                yield figure(f"question {number} on raw rows {share}", theirs, "ms")
            yield figure(f"question {number}: raw / cube, p50", raw[0] / ours[0], "×")


def agent(settings: Settings) -> Iterator[Figure]:
    """CPU share and resident memory of an agent that reads this host every 10 s, from /proc."""
    port = free_port("127.0.0.1", 8321)
    name = socket.gethostname()
    ensure_token(settings.token_file, name)
    lake = str(settings.lake)
    with Children(settings.lake / "_work" / "logs") as children:
        children.start("receiver", "receive", "--lake", lake, "--port", str(port))
        children.wait_for_port("receiver", "127.0.0.1", port)
        address = f"http://127.0.0.1:{port}"
        environ = {"FLEETCUBE_SPOOL": str(settings.spool)}
        children.start("agent", "agent", "--lake", lake, "--agent", name, "--receiver", address, environ=environ)
        time.sleep(5)
        pid = children.pid("agent")
        before = _cpu_s(pid)
        time.sleep(AGENT_S)
        yield figure("agent CPU, one reading in 10 s", (_cpu_s(pid) - before) / AGENT_S * 100, "% of a core", 2)
        yield figure("agent resident memory", _rss_mib(pid), "MiB", 100)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) / 1024


def lake_size(settings: Settings) -> Iterator[Figure]:
    """Bytes of a trusted row and of a cube's cells."""
    for fact in ("samples", "requests"):
        snapshot = open_snapshot(settings.lake, trusted(fact))
        yield figure(
            f"trusted {fact}, bytes a row", sum(file.size_bytes for file in snapshot.files) / snapshot.rows, "B"
        )
    from cubes.segments import table_of

    for cube in chosen_cubes(settings):
        cells = sum(file.size_bytes for file in open_snapshot(settings.lake, table_of(cube)).files)
        rows = sum(file.size_bytes for file in open_snapshot(settings.lake, trusted(cube.fact)).files)
        yield figure(f"cube {cube.name}: bytes / trusted bytes", cells / rows, "×")


def main() -> None:
    """Measure everything in a lake of its own, which is removed at the end."""
    facts = machine()
    folder = Path(tempfile.mkdtemp(prefix="fleetcube-bench-"))
    figures: list[Figure] = []
    try:
        settings = Settings(lake=folder / "lake", spool=folder / "spool")
        pipeline = Pipeline(settings)
        parts = (
            lambda: quick_start(folder),
            lambda: ingest(pipeline),
            lambda: build(pipeline),
            lambda: queries(settings),
            lambda: lake_size(settings),
            lambda: journal(pipeline),
            lambda: agent(settings),
        )
        for part in parts:
            for found in part():
                print(f"{found.name:<70} {found.value:>14,.4g} {found.unit}", flush=True)
                figures.append(found)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        figures.append(figure("peak resident memory of the whole run", peak, "MiB", 2048))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write_report(figures, facts)
    print(json.dumps({"figures": len(figures), "fall short": [f.name for f in figures if f.holds is False]}))


if __name__ == "__main__":
    main()
