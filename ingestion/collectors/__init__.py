"""Collectors: each reads one part of the host, and a failing one is a metric, not a crash.

A collector may read /proc and /sys and call the kernel or a driver's library; it needs no root, runs no command and
guesses nothing. What it can't read it leaves out.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

from ingestion.sample import Reading

LIMIT_S: Final = 5.0


class Collector(Protocol):
    """Anything with `collect`; it may keep state between passes, and may raise what it likes."""

    def collect(self, now: datetime) -> Iterable[Reading]:
        """The readings of one pass; counters as increments since the pass before, so the first pass has none."""


@dataclass(frozen=True)
class Sources:
    """Where collectors read: the roots of /proc and /sys, `os.statvfs`, and NVML's module (None: look for it)."""

    proc: Path = Path("/proc")
    sys: Path = Path("/sys")
    statvfs: Callable[[str], os.statvfs_result] = os.statvfs
    nvml: Any = None


def open_collectors(sources: Sources) -> dict[str, Collector]:
    """A new instance of every collector, by name: the registry. Each has `LIMIT_S` seconds for a pass."""
    from ingestion.collectors.cpu import CpuCollector
    from ingestion.collectors.deadline import Deadline
    from ingestion.collectors.disk import DiskCollector
    from ingestion.collectors.gpu import GpuCollector
    from ingestion.collectors.host import HostCollector
    from ingestion.collectors.memory import MemoryCollector
    from ingestion.collectors.network import NetworkCollector

    kinds: Mapping[str, Callable[[Sources], Collector]] = {
        "cpu": CpuCollector,
        "memory": MemoryCollector,
        "disk": DiskCollector,
        "network": NetworkCollector,
        "host": HostCollector,
        "gpu": GpuCollector,
    }
    return {name: Deadline(kind(sources), LIMIT_S) for name, kind in kinds.items()}


def collect_all(
    collectors: Mapping[str, Collector],
    now: datetime,
    report: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Sequence[Reading]:
    """One pass over `collectors`, each followed by its own success, duration and number of readings.

    What a collector gave before it raised is kept; `report` is told why it did.
    """
    readings: list[Reading] = []
    for name, collector in collectors.items():
        started_s, worked, before = clock(), 1, len(readings)
        try:
            for reading in collector.collect(now):
                readings.append(reading)
        except Exception as error:  # noqa: BLE001 - an edge: one broken driver must not silence the whole host
            worked = 0
            report(f"Collector '{name}' failed: {type(error).__name__}: {error}.")
        found, labels = len(readings) - before, {"collector": name}
        readings.append(Reading("agent.collector.success", worked, "1", labels=labels))
        readings.append(Reading("agent.scrape.duration", round(clock() - started_s, 6), "s", labels=labels))
        readings.append(Reading("agent.scrape.samples", found, "{sample}", labels=labels))
    return readings
