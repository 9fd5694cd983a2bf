"""Disks: operations, bytes and time from /proc/diskstats, and the space of file systems."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from ingestion.collectors import Sources
from ingestion.collectors.procfs import Increments, read_pressure, read_table
from ingestion.sample import Reading

_SECTOR_BYTES = 512  # the unit of /proc/diskstats, whatever the device's own sector is
_VIRTUAL = re.compile(r"(loop|ram|zram|fd|sr)\d+")
# No room of their own, or on another host, whose silence would hang the agent.
_SKIPPED = frozenset(
    "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs "
    "overlay proc pstore ramfs rpc_pipefs securityfs selinuxfs squashfs sysfs tmpfs tracefs "
    "9p afs ceph cifs lustre nfs nfs4 smb3".split()
)
# (index of the column in /proc/diskstats, metric, unit, divisor, factor)
_COUNTERS = (
    (3, "disk.read.operations", "{operation}", 1, 1),
    (5, "disk.read.bytes", "By", 1, _SECTOR_BYTES),
    (6, "disk.read.time", "s", 1000, 1),
    (7, "disk.write.operations", "{operation}", 1, 1),
    (9, "disk.write.bytes", "By", 1, _SECTOR_BYTES),
    (10, "disk.write.time", "s", 1000, 1),
    (12, "disk.io.time", "s", 1000, 1),
    (13, "disk.io.weighted_time", "s", 1000, 1),
)


class DiskCollector:
    """Whole devices only: a partition's traffic is in its disk's, and would be counted twice."""

    def __init__(self, sources: Sources) -> None:
        """Read below `sources.proc` and `sources.sys`; ask `sources.statvfs` for space."""
        self._proc, self._sys, self._statvfs = sources.proc, sources.sys, sources.statvfs
        self._increments = Increments()

    def collect(self, now: datetime) -> Iterator[Reading]:
        """See the module."""
        for words in read_table(self._proc / "diskstats"):
            name = words[2]
            # /sys/block lists whole devices; '!' stands there for '/'.
            if not _VIRTUAL.fullmatch(name) and (self._sys / "block" / name.replace("/", "!")).exists():
                yield from self._traffic(name, words)
        yield from self._space()
        yield from read_pressure(self._increments, self._proc, "io", "disk.pressure.waiting")

    def _traffic(self, name: str, words: Sequence[str]) -> Iterator[Reading]:
        steps: dict[str, float] = {}
        for column, metric, unit, divisor, factor in _COUNTERS:
            step = self._increments.step((name, metric), int(words[column]) * factor)
            if step is not None:
                steps[metric] = step / divisor if divisor > 1 else step
                yield Reading(metric, steps[metric], unit, device=name)
        yield Reading("disk.queue.depth", int(words[11]), "{operation}", device=name)
        for way in ("read", "write"):
            if operations := steps.get(f"disk.{way}.operations"):
                latency_s = round(steps[f"disk.{way}.time"] / operations, 9)
                yield Reading(f"disk.{way}.latency", latency_s, "s", device=name)

    def _space(self) -> Iterator[Reading]:
        """One set of readings per file system, at its first mount point."""
        seen: set[str] = set()
        for device, mount, kind, options, *_ in read_table(self._proc / "self" / "mounts"):
            skipped = (
                kind in _SKIPPED or kind.startswith("fuse.")
            ) and mount != "/"  # a container's root is an overlay
            if skipped or device in seen:
                continue
            seen.add(device)
            path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), mount)
            try:
                found = self._statvfs(path)
            except PermissionError:
                continue  # another user's mount: not ours to report
            labels = {"mount": path}
            total, free = found.f_blocks * found.f_frsize, found.f_bfree * found.f_frsize
            available = found.f_bavail * found.f_frsize
            yield Reading("filesystem.limit", total, "By", device, labels=labels)
            yield Reading("filesystem.usage", total - free, "By", device, labels=labels)
            yield Reading("filesystem.available", available, "By", device, labels=labels)
            if total - free + available:
                share = round((total - free) / (total - free + available), 9)
                yield Reading("filesystem.utilization", share, "1", device, labels=labels)
            yield Reading("filesystem.inodes.free", found.f_favail, "{inode}", device, labels=labels)
            yield Reading("filesystem.readonly", int("ro" in options.split(",")), "1", device, labels=labels)
