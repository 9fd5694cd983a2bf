"""What the hosts of a lake share of it: whether a table is there, names and files below a folder, their texts.

On a local disk these are plain files; in an object store objects. A path is always one below the lake's own path (see
`lake/places.py`). Nothing of the object store is imported for a local lake.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lake.places import SharedFile, is_remote

_LOG: Final = "_delta_log"
_AT_ONCE: Final = 16


def has_table(root: Path) -> bool:
    """Whether a Delta table lies at `root`."""
    return has_files(root / _LOG)


def has_files(folder: Path) -> bool:
    """Whether the folder is there; in an object store: whether anything lies below it."""
    if not is_remote(folder):
        return folder.is_dir()
    from lake.objects import place_of

    return next(place_of(folder).below(), None) is not None


def folder_names(folder: Path) -> list[str]:
    """Names of the folders in a folder, in order; none where it isn't there."""
    if is_remote(folder):
        from lake.objects import place_of

        return place_of(folder).folders()
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def files_below(folder: Path, suffix: str) -> Iterator[SharedFile]:
    """Every file below a folder whose name ends so, in the order of their paths."""
    if is_remote(folder):
        from lake.objects import place_of

        yield from (one for one in place_of(folder).below() if one.path.name.endswith(suffix))
        return
    for path in sorted(folder.rglob(f"*{suffix}")):
        if path.is_file():
            found = path.stat()
            yield SharedFile(path, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def read_texts(paths: Sequence[Path]) -> dict[Path, str]:
    """The texts of small files of one lake, in the order given; an object that has gone meanwhile is left out."""
    if not paths or not is_remote(paths[0]):
        return {path: path.read_text(encoding="utf-8") for path in paths}
    from lake.objects import place_of

    # A request takes milliseconds of waiting, and a log has many entries.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        contents = pool.map(lambda path: place_of(path).get(), paths)
        return {path: content.decode() for path, content in zip(paths, contents, strict=True) if content is not None}


def drop_table(root: Path) -> None:
    """Remove a table with all its files. What a killed drop leaves is no table, or an older version of it, whole."""
    if not is_remote(root):
        # Renamed first: a table that is half deleted must not look like one.
        gone = root.with_name(f"_dropped-{root.name}")
        root.rename(gone)
        shutil.rmtree(gone)
        return
    from lake.objects import delete_objects

    # There is no renaming here. The hint at a checkpoint goes first, then the log from its newest entry to its oldest,
    # so that at each moment it tells of an older version, whose files are still there.
    log = [one.path for one in files_below(root / _LOG, "")]
    for path in sorted(log, key=lambda path: (path.name.startswith("_"), path.name), reverse=True):
        delete_objects([path])
    delete_objects(one.path for one in files_below(root, ""))
