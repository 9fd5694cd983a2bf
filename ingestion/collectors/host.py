"""The host itself: that it is up, since when, its processes and open files."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ingestion.collectors import Sources
from ingestion.collectors.procfs import read_table
from ingestion.sample import Reading

_STAT = {
    "btime": ("host.boot_time", "s"),
    "procs_running": ("host.processes.running", "{process}"),
    "procs_blocked": ("host.processes.blocked", "{process}"),
}


class HostCollector:
    """`host.up` is 1 in every pass: a host that is down says nothing, and shows as missing coverage."""

    def __init__(self, sources: Sources) -> None:
        """Read below `sources.proc`."""
        self._proc = sources.proc

    def collect(self, now: datetime) -> Iterator[Reading]:
        """See the module."""
        yield Reading("host.up", 1, "1")
        for words in read_table(self._proc / "stat"):
            if words[0] in _STAT:
                metric, unit = _STAT[words[0]]
                yield Reading(metric, int(words[1]), unit)
        yield Reading("host.processes", sum(path.name.isdecimal() for path in self._proc.iterdir()), "{process}")
        path = self._proc / "sys" / "fs" / "file-nr"
        if path.exists():
            yield Reading("host.files.open", int(read_table(path)[0][0]), "{file}")
