"""Generated trusted samples for `bench/run_cubes.py`: many series of 15 s samples, written as the gate writes them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

from lake import delta
from lake.delta import DataFile
from lake.duck import Duck
from lake.settings import Settings
from lake.tables import trusted

SERIES = 576  # 12 hosts of 8 devices with 6 metrics
PER_DAY = 5760  # one sample each 15 s
START = date(2026, 1, 1)
_METRICS = ("gpu.power", "gpu.utilization", "gpu.temperature", "gpu.memory_used", "cpu.utilization", "host.power")


def publish_days(
    settings: Settings, duck: Duck, first: int, days: int, batch: int, *, every_s: int = 15, uniform: bool = False
) -> int:
    """Publish whole days of samples from day number `first` as one batch; gives the number of rows.

    Each day is one file in the order of time. Values have three places; a twentieth of them is null. A series stays
    near one level for ten minutes and then takes another, as devices do under jobs; a device runs one pod for four
    hours, of some thousands. With `uniform` every value and pod is drawn anew: no two rows are alike, which is the
    worst that slots can meet.
    """
    ref = trusted("samples")

    def write(place: int) -> list[DataFile]:
        day = START + timedelta(days=place)
        select = f"SELECT *, {batch} AS batch FROM ({_day_sql(day, every_s, uniform)})"
        stem, partition = f"gate-{batch:08d}", {"day": day.isoformat()}
        return duck.cursor().write(select, settings.lake, ref, stem, stats=("batch",), partition=partition)

    # A day is made by one thread of the engine, whatever it may have.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        files = [file for made in pool.map(write, range(first, first + days)) for file in made]
    snapshot = delta.open_snapshot(settings.lake, ref)
    delta.commit(settings.lake, ref, snapshot, adds=files, txns={"gate": batch})
    return sum(file.rows for file in files)


def _day_sql(day: date, every_s: int, uniform: bool) -> str:
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1_000_000)
    steps = 86_400 // every_s
    metrics = ", ".join(f"'{name}'" for name in _METRICS)
    value, pod = "h % 100000", "h // 100000"
    if not uniform:
        # Levels from a tenth of the greatest to it, and noise of up to 3 % of the level above it.
        level = f"(10000 + hash(s, {start} + r // {SERIES} * {every_s} // 600) % 90000)"
        value = f"({level} + h // 20 % ({level} * 3 // 100))"
        pod = f"hash(s // 6, {start} + r // {SERIES} * {every_s} // 14400)"
    known = {
        "agent": "'bench'",
        "boot": "''",
        "seq": f"r // {SERIES}",
        "idx": f"r % {SERIES}",
        "ts": f"make_timestamptz({start} + (r // {SERIES}) * {every_s * 1_000_000})",
        "metric": f"[{metrics}][1 + s % 6]",
        "value": f"CASE WHEN h % 20 > 0 THEN CAST({value} AS DECIMAL(38,9)) * CAST(0.001 AS DECIMAL(4,3)) END",
        "unit": "'1'",
        "interval_s": str(every_s),
        "environment": "CASE WHEN s // 48 < 9 THEN 'prod' ELSE 'test' END",
        "site": "['eu', 'us', 'ap'][1 + s // 192]",
        "cluster": "'cluster-' || (s // 96)",
        "host": "'host-' || (s // 48)",
        "device": "'GPU-' || (s // 6)",
        "hardware": "['h100', 'a100'][1 + s // 48 % 2]",
        "model": "['llama-3', 'qwen-2', 'mixtral', 'phi-4'][1 + s // 6 % 4]",
        "pod": f"'pod-' || ({pod} % 5000)",
    }
    schema = trusted("samples").schema
    columns = ", ".join(
        f'{known.get(name, "NULL")} AS "{name}"' for name in schema.names if name not in ("day", "batch")
    )
    rows = f"SELECT r, r % {SERIES} AS s, hash(r + {start}) AS h FROM range({steps * SERIES}) AS t(r)"
    return f"SELECT {columns} FROM ({rows})"
