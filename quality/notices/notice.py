"""A notice: one message about one kind of thing, of one state, with an item for each entity.

Names and texts come from rows and hosts, so they are data from outside: control characters and line ends are taken out
here, once, and every channel escapes as its own format wants.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

SEVERITIES: Final = ("info", "warning", "critical")
SHOWN: Final = 20
_LONGEST: Final = 1000
# C0, C1, line and paragraph separators, and what turns the direction of a text.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(frozen=True)
class Item:
    """What is wrong with one entity: how many rows it is about, since when, and where to look (commands, paths)."""

    entity: str
    text: str
    rows: int = 0
    since: str = ""
    look: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notice:
    """A message. `id` is the same for every try to deliver it, so that a receiver can drop repeats."""

    id: str
    at: str
    kind: str
    severity: str
    state: str
    items: tuple[Item, ...]
    lake: str = ""
    more: int = 0

    @property
    def title(self) -> str:
        """One line: severity, what, and of how many."""
        count = len(self.items) + self.more
        what = {"cleared": "over", "changed": "changed"}.get(self.state, "")
        of = self.items[0].entity if count == 1 else f"{count} of kind {self.kind}"
        return f"[{self.severity}] {self.kind}: {of}{f' ({what})' if what else ''}"

    def lines(self) -> list[str]:
        """The message as plain text."""
        found = [self.title, f"lake {self.lake}" if self.lake else "", ""]
        for one in self.items:
            found.append(f"{one.entity}: {one.text}")
            found += [f"  rows: {one.rows:,}"] if one.rows else []
            found += [f"  since: {one.since}"] if one.since else []
            found += [f"  look: {place}" for place in one.look]
        if self.more:
            found.append(f"and {self.more} more: fleetcube alerts list --kind {self.kind}")
        return found

    def body(self) -> bytes:
        """The message as canonical JSON, one line of ASCII."""
        told = {"format": "fleetcube.notice.1", "title": self.title, **asdict(self)}
        return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()


def notice(identity: str, at: str, head: tuple[str, str, str], items: Sequence[Item], *, lake: str = "") -> Notice:
    """A notice of (kind, severity, state) with clean texts; what is beyond 20 items is counted."""
    kind, severity, state = (clean(text) for text in head)
    shown = tuple(
        Item(clean(one.entity), clean(one.text), one.rows, clean(one.since), tuple(map(clean, one.look)))
        for one in items[:SHOWN]
    )
    return Notice(clean(identity), at, kind, severity, state, shown, clean(lake), max(0, len(items) - SHOWN))


def read_notice(told: dict[str, Any]) -> Notice:
    """The notice of a body that was kept."""
    items = tuple(Item(**{**one, "look": tuple(one["look"])}) for one in told["items"])
    names = ("id", "at", "kind", "severity", "state", "lake", "more")
    return Notice(items=items, **{name: told[name] for name in names})


def clean(text: str) -> str:
    """A text on one line, without what could forge lines or colours, and not endless."""
    plain = _CONTROL.sub(" ", text).strip()
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}… ({len(plain)} characters)"
