"""CPU: busy share of every core and of all together, modes, load, switches and pressure, from /proc."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from ingestion.collectors import Sources
from ingestion.collectors.procfs import Increments, read_pressure, read_table
from ingestion.sample import Reading

# Columns of a cpu line in /proc/stat; guest time (two more) is already inside user and nice.
_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class CpuCollector:
    """Shares are of the ticks between two passes, so the first pass has only loads and counts."""

    def __init__(self, sources: Sources) -> None:
        """Read below `sources.proc`."""
        self._proc = sources.proc
        self._increments = Increments()
        self._ticks: dict[str, Sequence[int]] = {}

    def collect(self, now: datetime) -> Iterator[Reading]:
        """See the module."""
        cores = 0
        for words in read_table(self._proc / "stat"):
            if words[0].startswith("cpu"):
                cores += words[0] != "cpu"
                yield from self._shares(words[0], [int(word) for word in words[1 : 1 + len(_MODES)]])
            elif words[0] == "ctxt":
                yield from self._counter("cpu.context_switches", int(words[1]))
            elif words[0] == "intr":
                yield from self._counter("cpu.interrupts", int(words[1]))
        yield Reading("cpu.count.logical", cores, "{cpu}")
        for name, text in zip(("1m", "5m", "15m"), read_table(self._proc / "loadavg")[0], strict=False):
            yield Reading(f"cpu.load.{name}", float(text), "1")
        yield from read_pressure(self._increments, self._proc, "cpu", "cpu.pressure.waiting")

    def _shares(self, core: str, ticks: Sequence[int]) -> Iterator[Reading]:
        last = self._ticks.get(core)
        self._ticks[core] = ticks
        if last is None:
            return
        # The kernel lets idle and iowait step back a little: that is no reset.
        spent = {mode: max(new - old, 0) for mode, new, old in zip(_MODES, ticks, last, strict=False)}
        total = sum(spent.values())
        if not total:
            return
        busy = round(1 - (spent["idle"] + spent.get("iowait", 0)) / total, 9)
        if core != "cpu":
            yield Reading("cpu.core.utilization", busy, "1", device=core)
            return
        yield Reading("cpu.utilization", busy, "1")
        for mode in ("user", "system", "idle", "iowait", "steal"):
            if mode in spent:
                yield Reading(f"cpu.{mode}", round(spent[mode] / total, 9), "1")

    def _counter(self, metric: str, total: int) -> Iterator[Reading]:
        step = self._increments.step((metric,), total)
        if step is not None:
            yield Reading(metric, step, "{event}")
