"""Findings: conditions that hold now, as whoever looked at something tells of them, and what was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

SEVERITIES: Final = ("info", "warning", "critical")
Key = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """A condition that holds now. `rows` counts what it is about, `since` is when it began, `look` says where to look.

    Only `severity` and `rows` decide whether it has changed: texts tell ages, which grow by themselves.
    """

    kind: str
    severity: str
    entity: str
    text: str
    rows: int = 0
    since: datetime | None = None
    look: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What alerts are grouped by."""
        return self.kind, self.entity


@dataclass(frozen=True)
class Scope:
    """What was looked at: whole kinds, or single keys. What lies outside stays as it is, since nobody looked."""

    kinds: frozenset[str] = frozenset()
    keys: frozenset[Key] = frozenset()

    def holds(self, key: Key) -> bool:
        """Whether a missing finding of this key means that its condition is over."""
        return key[0] in self.kinds or key in self.keys
