"""Memory and swap, from /proc/meminfo and /proc/vmstat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime

from ingestion.collectors import Sources
from ingestion.collectors.procfs import Increments, read_pressure, read_table
from ingestion.sample import Reading

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_COUNTERS = {
    "pswpin": ("swap.in", _PAGE_BYTES, "By"),
    "pswpout": ("swap.out", _PAGE_BYTES, "By"),
    "pgmajfault": ("memory.faults.major", 1, "{fault}"),
    "oom_kill": ("memory.oom_kills", 1, "{event}"),
}


class MemoryCollector:
    """'In use' is what is not available, as the kernel estimates it; a host without swap has no swap share."""

    def __init__(self, sources: Sources) -> None:
        """Read below `sources.proc`."""
        self._proc = sources.proc
        self._increments = Increments()

    def collect(self, now: datetime) -> Iterator[Reading]:
        """See the module."""
        table = read_table(self._proc / "meminfo")
        sizes = {words[0].rstrip(":"): int(words[1]) * 1024 for words in table if words[-1] == "kB"}
        total, available = sizes["MemTotal"], sizes["MemAvailable"]
        yield Reading("memory.limit", total, "By")
        yield Reading("memory.usage", total - available, "By")
        yield Reading("memory.available", available, "By")
        yield Reading("memory.utilization", round((total - available) / total, 9), "1")
        yield Reading("memory.cached", sizes["Cached"], "By")
        yield Reading("memory.buffers", sizes["Buffers"], "By")
        yield Reading("swap.limit", sizes["SwapTotal"], "By")
        used = sizes["SwapTotal"] - sizes["SwapFree"]
        yield Reading("swap.usage", used, "By")
        if sizes["SwapTotal"]:
            yield Reading("swap.utilization", round(used / sizes["SwapTotal"], 9), "1")
        for words in read_table(self._proc / "vmstat"):
            if words[0] in _COUNTERS:
                metric, factor, unit = _COUNTERS[words[0]]
                step = self._increments.step((metric,), int(words[1]) * factor)
                if step is not None:
                    yield Reading(metric, step, unit)
        yield from read_pressure(self._increments, self._proc, "memory", "memory.pressure.waiting")
