"""Answers that are kept: by the statement's spelling, its versions, the policy and the settings that matter.

The versions are part of what an answer is found by, so one that a publish has overtaken is never given again. Bounded
by bytes, the least recently asked go first; shared by the sessions of a process, from any thread.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyarrow as pa

    from cubes.route.past import Past
    from cubes.route.statement import Statement

# One answer takes at most this part of the whole.
_SHARE: Final = 8
# What an entry takes beside its rows, about.
_BESIDE_BYTES: Final = 8192
Key = tuple[str, ...]


@dataclass(frozen=True)
class Kept:
    """An answer and the versions that it was made from; `barred` and `past` as its view had them."""

    statement: Statement
    versions: Mapping[str, int]
    facts: tuple[str, ...]
    lookups: tuple[str, ...]
    barred: bool
    past: Past | None
    table: pa.Table
    notices: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """What keeping it takes."""
        return int(self.table.nbytes) + len(self.statement.sql) + _BESIDE_BYTES


@dataclass(frozen=True)
class CacheCounts:
    """How often an answer was found, and not; what is kept now."""

    hits: int
    misses: int
    entries: int
    size_bytes: int


class ResultCache:
    """At most `most_bytes` of answers; with 0 nothing is kept."""

    def __init__(self, most_bytes: int) -> None:
        """Empty."""
        self.most_bytes = most_bytes
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._size = self._hits = self._misses = 0
        self._lock = Lock()

    def find(self, key: Key) -> Kept | None:
        """What is kept under a key; whether its versions are still those of now is for the caller to see."""
        with self._lock:
            return self._kept.get(key)

    def note(self, key: Key, *, hit: bool) -> None:
        """Count a question; an answer that was given is the last to go."""
        with self._lock:
            if hit and key in self._kept:
                self._kept.move_to_end(key)
            self._hits += hit
            self._misses += not hit

    def keep(self, key: Key, answer: Kept) -> None:
        """Keep an answer in the place of an older one; one that is too large is not kept."""
        if answer.size_bytes > self.most_bytes // _SHARE:
            return
        with self._lock:
            old = self._kept.pop(key, None)
            self._size += answer.size_bytes - (old.size_bytes if old is not None else 0)
            self._kept[key] = answer
            while self._size > self.most_bytes:
                self._size -= self._kept.popitem(last=False)[1].size_bytes

    @property
    def counts(self) -> CacheCounts:
        """What was found and what is kept."""
        with self._lock:
            return CacheCounts(self._hits, self._misses, len(self._kept), self._size)
