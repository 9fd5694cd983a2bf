"""Cells of a cube's version by grain and cuboid, counted file by file: a publish adds few files to the many there are.

Files never change once a version names them, so what was counted of one holds for every version and for all sessions
of a process; without that each session would read every cell again after each publish, while its statements wait.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Final

from lake.duck import text_literal
from lake.places import address

if TYPE_CHECKING:
    from lake.delta import Snapshot
    from lake.duck import Duck

_Counts = Mapping[tuple[str, int], int]
# A file is known by its path, size and rows: one that was dropped and built again may bear the same name.
_Key = tuple[str, int, int]
_KEPT: Final = 50_000


class _Files:
    """What was counted of each file, the least recently used forgotten first."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._held: OrderedDict[_Key, _Counts] = OrderedDict()

    def get(self, key: _Key) -> _Counts | None:
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: _Key, counts: _Counts) -> None:
        self._held[key] = counts
        while len(self._held) > _KEPT:
            self._held.popitem(last=False)


_FILES: Final = _Files()


def counted_cells(duck: Duck, snapshot: Snapshot) -> _Counts:
    """Partial cells of a cube's version by (grain, cuboid), sketches' rows left out."""
    paths = {address(str(snapshot.root / file.path)): file for file in snapshot.files}
    keys: dict[str, _Key] = {path: (path, file.size_bytes, file.rows) for path, file in paths.items()}
    # One session counts, the others wait for it and find it done.
    with _FILES.lock:
        found = {path: _FILES.get(key) for path, key in keys.items()}
        lacking = [path for path, counts in found.items() if counts is None]
        for path, new in _counted(duck, lacking).items():
            found[path] = new
            _FILES.put(keys[path], new)
    total: Counter[tuple[str, int]] = Counter()
    for counts in found.values():
        total.update(counts or {})
    return total


def _counted(duck: Duck, paths: list[str]) -> dict[str, _Counts]:
    """The cells of each file, in one scan of all of them."""
    found: dict[str, dict[tuple[str, int], int]] = {path: {} for path in paths}
    if paths:
        types = "hive_partitioning = true, hive_types = {'grain': 'VARCHAR', 'segment': 'VARCHAR'}, filename = true"
        scan = f"read_parquet([{', '.join(map(text_literal, paths))}], {types})"
        sql = f"SELECT filename, grain, cuboid, count(*) FROM {scan} WHERE sketch IS NULL GROUP BY ALL"
        for path, grain, cuboid, count in duck.sql(sql):
            found[path][(grain, cuboid)] = count
    return dict(found)
