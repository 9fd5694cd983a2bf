"""What retention leaves of a cube's cells, in plain Python: segments that went, and segments that tell less.

`valueoracle.cells` says what every row would have made; this takes away of it what is on record as gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from valueoracle import Form, Key

Cells = dict[Key, list[dict[str, Any]]]
_BY_DAY, _BY_MONTH = ("5s", "15s", "30s", "1m", "5m"), ("15m", "30m", "1h")


@dataclass
class Past:
    """By the records: `days` without rows, (grain, segment) without cells, and the dimensions that one doesn't tell."""

    days: set[str] = field(default_factory=set)
    segments: set[tuple[str, str]] = field(default_factory=set)
    untold: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)  # days of weeks and months whose days' cells went

    @property
    def lasting(self) -> set[str]:
        """The days of which cells go on telling every row that they ever told."""
        return self.days | self.closed

    def __bool__(self) -> bool:
        return bool(self.days or self.segments or self.untold)

    def left(self, made: Mapping[Key, list[dict[str, Any]]]) -> Cells:
        """The cells that must be there, of those that all rows make."""
        found: Cells = {}
        ways: dict[tuple[str, str, tuple[str, ...]], tuple[str, ...]] = {}
        for (grain, names, start, values), rows in made.items():
            place = (grain, segment(grain, start))
            if place in self.segments:
                continue
            gone = self.untold.get(place, frozenset())
            told = [pair for pair in zip(names, values, strict=True) if pair[0] not in gone]
            kept = tuple(name for name, _ in told)
            # Cuboids that keep the same in the end hold the same: one of them is read.
            if ways.setdefault((*place, kept), names) == names:
                found.setdefault((grain, kept, start, tuple(value for _, value in told)), []).extend(rows)
        return found

    def keeps(self, form: Form, measure: Mapping[str, Any], key: Key) -> bool:
        """Whether a cell has slots or hashes of the measure beside it."""
        grain, kept, start, _ = key
        gone = self.untold.get((grain, segment(grain, start)), frozenset())
        return grain in measure["grains"] and any(
            not set(measure.get("without", ())) & set(names)
            for names in form.kept()
            if tuple(name for name in names if name not in gone) == kept
        )


def segment(grain: str, start: int) -> str:
    """The part of the cube's table in which a bucket lies that starts then."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=start)
    return f"{at:%Y-%m-%d}" if grain in _BY_DAY else f"{at:%Y-%m}" if grain in _BY_MONTH else f"{at:%Y}"
