"""What collectors share: tables of the kernel, totals turned into increments, and pressure stall times."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ingestion.sample import Reading


@dataclass
class Increments:
    """Turns totals into increments. A total that fell has been reset: then the new total is the increment."""

    _last: dict[tuple[str, ...], float] = field(default_factory=dict)

    def step(self, key: tuple[str, ...], total: float) -> float | None:
        """What was added to the counter `key` since its last step; None at its first."""
        last = self._last.get(key)
        self._last[key] = total
        if last is None:
            return None
        return total - last if total >= last else total


def read_pressure(increments: Increments, proc: Path, resource: str, metric: str) -> Iterable[Reading]:
    """The pressure stall time of `resource`; nothing on a kernel without it."""
    path = proc / "pressure" / resource
    if not path.exists():
        return []
    try:
        words = read_table(path)[0]
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:  # compiled in, and turned off at boot
            return []
        raise
    step = increments.step((metric,), int(words[-1].removeprefix("total=")))
    return [] if step is None else [Reading(metric, step / 1_000_000, "s")]


def read_table(path: Path) -> list[list[str]]:
    """The words of each line of a kernel table."""
    return [line.split() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
