"""Network interfaces: bytes, packets, errors, drops and loss from /proc/net/dev; TCP retransmits; link state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from ingestion.collectors import Sources
from ingestion.collectors.procfs import Increments, read_table
from ingestion.sample import Reading

# (index of the column behind the interface's name in /proc/net/dev, metric, unit)
_COUNTERS = (
    (0, "network.receive.bytes", "By"),
    (1, "network.receive.packets", "{packet}"),
    (2, "network.receive.errors", "{error}"),
    (3, "network.receive.dropped", "{packet}"),
    (8, "network.transmit.bytes", "By"),
    (9, "network.transmit.packets", "{packet}"),
    (10, "network.transmit.errors", "{error}"),
    (11, "network.transmit.dropped", "{packet}"),
)
_TCP = {"RetransSegs": "network.tcp.retransmits", "OutSegs": "network.tcp.segments"}


class NetworkCollector:
    """Every interface but the loopback, which never loses anything and carries the host's talk with itself."""

    def __init__(self, sources: Sources) -> None:
        """Read below `sources.proc` and `sources.sys`."""
        self._proc, self._sys = sources.proc, sources.sys
        self._increments = Increments()

    def collect(self, now: datetime) -> Iterator[Reading]:
        """See the module."""
        text = (self._proc / "net" / "dev").read_text(encoding="utf-8", errors="replace")
        for line in text.splitlines()[2:]:
            name, _, numbers = line.strip().partition(":")  # old kernels put no space behind the colon
            if name != "lo":
                yield from self._traffic(name, numbers.split())
                yield from self._link(name)
        yield from self._tcp()

    def _traffic(self, name: str, words: Sequence[str]) -> Iterator[Reading]:
        steps: dict[str, float] = {}
        for column, metric, unit in _COUNTERS:
            step = self._increments.step((name, metric), int(words[column]))
            if step is not None:
                steps[metric] = step
                yield Reading(metric, step, unit, device=name)
        dropped = sum(steps.get(f"network.{way}.dropped", 0) for way in ("receive", "transmit"))
        packets = sum(steps.get(f"network.{way}.packets", 0) for way in ("receive", "transmit"))
        if dropped + packets:
            yield Reading("network.loss", round(dropped / (dropped + packets), 9), "1", device=name)

    def _link(self, name: str) -> Iterator[Reading]:
        folder = self._sys / "class" / "net" / name
        state = _first_word(folder / "operstate")
        if state in ("up", "down"):  # virtual interfaces say 'unknown'
            yield Reading("network.link.up", int(state == "up"), "1", device=name)
        speed = _first_word(folder / "speed")
        if speed.isdecimal():  # Mbit/s; -1 where it is not known
            yield Reading("network.link.speed", int(speed) * 125_000, "By/s", device=name)

    def _tcp(self) -> Iterator[Reading]:
        path = self._proc / "net" / "snmp"
        lines = [words for words in read_table(path) if words[0] == "Tcp:"] if path.exists() else []
        totals = dict(zip(*lines, strict=True)) if len(lines) == 2 else {}
        for name, metric in _TCP.items():
            step = self._increments.step((metric,), int(totals[name])) if name in totals else None
            if step is not None:
                yield Reading(metric, step, "{segment}")


def _first_word(path: Path) -> str:
    """The content of a small kernel file; empty if the device does not have it or will not say."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
