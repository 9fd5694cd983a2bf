"""Objects as files for DuckDB, which reads and writes `s3://` through this: its own extension would be a download.

An object is written once under a name of its own (see `Duck.write`) and never changed, so what was read of it stays
good. The first request for an object fetches its tail: that is its length, a Parquet file's footer, and of a small
file everything. Tails are kept for the process, the longest unused going first.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

import fsspec

from lake.objects import Place, place_of
from lake.store_access import translated

_TAIL_BYTES: Final = 1 << 20
_KEPT_BYTES: Final = 128 << 20
# One moment for all: files that never change need no better, and the engine's own cache goes by it.
_WRITTEN: Final = datetime(2000, 1, 1, tzinfo=UTC)


class ObjectFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """The part of a file system that DuckDB calls for files of known names."""

    protocol = "s3"
    cachable = False

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        """A whole object to read, or one to write that appears when it is closed."""
        with translated(path):
            return _Reading(path) if "r" in mode else _Writing(path)

    def size(self, path: str) -> int:
        """Bytes of an object."""
        with translated(path):
            return _TAILS.of(path)[0]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """What DuckDB asks of an object before it reads it."""
        return {"name": path, "size": self.size(path), "type": "file"}

    def modified(self, path: str) -> datetime:
        """The same for every object."""
        return _WRITTEN

    def glob(self, path: str, **_: Any) -> list[str]:
        """The name itself: names come out of a table's log and are never patterns."""
        return [path]

    def isdir(self, path: str) -> bool:
        """True: folders need no making."""
        return True

    def isfile(self, path: str) -> bool:
        """False: asked only of files to write, whose names are new."""
        return False

    def exists(self, path: str, **_: Any) -> bool:
        """False, as `isfile`."""
        return False


class _Reading:
    """An object open for reading."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._object = place_of(path)
        self._length, self._tail = _TAILS.of(path)
        self._place = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + (0, self._place, self._length)[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, length: int = -1) -> bytes:
        start = self._place
        end = self._length if length < 0 else min(self._length, start + length)
        before = self._length - len(self._tail)
        if start >= end:
            return b""
        self._place = end
        if start >= before:
            return self._tail[start - before : end - before]
        with translated(self._path):
            return bytes(self._object.client.get_range(self._object.key, start=start, end=end))

    def close(self) -> None:
        pass


class _Writing:
    """An object open for writing; an error of a part or at the close reaches the statement that writes."""

    def __init__(self, path: str) -> None:
        import obstore

        self._path = path
        self._file = obstore.open_writer((place := place_of(path)).client, place.key)
        self._length = 0

    def write(self, data: bytes) -> int:
        with translated(self._path):
            self._file.write(data)
        self._length += len(data)
        return len(data)

    def tell(self) -> int:
        return self._length

    def flush(self) -> None:
        pass

    def close(self) -> None:
        with translated(self._path):
            self._file.close()


class _Tails:
    """Length and last bytes of objects, for all connections of the process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str], tuple[int, bytes]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def of(self, path: str) -> tuple[int, bytes]:
        """Length and tail of an object, fetched at first use."""
        place: Place = place_of(path)
        name = (id(place.client), path)
        with self._lock:
            held = self._kept.get(name)
            if held is not None:
                self._kept.move_to_end(name)
                return held
        got = place.client.get(place.key, options={"range": {"suffix": _TAIL_BYTES}})
        found = (int(got.meta["size"]), bytes(got.bytes()))
        with self._lock:
            if name not in self._kept:
                self._kept[name] = found
                self._bytes += len(found[1])
            while self._bytes > _KEPT_BYTES:
                _, (_, gone) = self._kept.popitem(last=False)
                self._bytes -= len(gone)
        return found


_TAILS: Final = _Tails()
