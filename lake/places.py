"""Where a lake lies: a folder of this host, or a prefix of an object store with a home folder here.

A lake is a local path everywhere in the code. That of an object store is `<home>/s3:/<bucket>/<prefix>`: its tables
and what hosts share lie at `s3://<bucket>/<prefix>`, all else (locks, spill, the inbox, secrets) in that very folder.
So a path says by itself where it leads, in any process. Standard library only; no object is touched here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from lake.errors import ConfigError

SCHEME: Final = "s3://"
_MARK: Final = "/s3:/"
# A pathlib path has lost one of the slashes.
_STORE: Final = re.compile(r"s3:(?:/+(?P<rest>.*))?", re.DOTALL)
_OTHER: Final = re.compile(r"[a-z][a-z0-9+.-]+:/")
# Names that mean the same in a URL, a file name and SQL; a bucket's are fewer still, and the store checks those.
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class SharedFile:
    """A file or object of a lake: its path, bytes, and when it was last written."""

    path: Path
    size_bytes: int
    changed: datetime


def lake_path(text: str, home: Path, source: str = "lake") -> Path:
    """The lake that `text` names: a path as it is, or for `s3://bucket/prefix` its folder below `home`.

    Errors: ConfigError, naming `source`, for other schemes, a missing bucket, or names that would need escaping.
    """
    found = _STORE.fullmatch(text)
    if found is None:
        if _OTHER.match(text):
            raise ConfigError(
                f"'{text}' is no place for a lake.",
                where=source,
                todo="Name a folder, or a bucket and prefix as s3://bucket/prefix.",
            )
        return Path(text)
    parts = (found["rest"] or "").rstrip("/").split("/")
    bad = [part for part in parts if not _SEGMENT.fullmatch(part) or set(part) == {"."}]
    if bad:
        what = (
            f"'{bad[0]}' can't be part of a place in an object store" if bad[0] else "The name of the bucket is missing"
        )
        raise ConfigError(
            f"{what} in '{text}'.",
            where=source,
            todo="Write s3://bucket/prefix with letters, digits, '_', '.' and '-'.",
        )
    return home.expanduser().absolute().joinpath("s3:", *parts)


def is_remote(path: Path | str) -> bool:
    """Whether what is shared of the lake at (or above) this path lies in an object store."""
    return _MARK in str(path)


def address(path: Path | str) -> str:
    """Where a table, or a file of one, really is: its URL in the object store, or the path itself.

    >>> address("/home/ada/.fleetcube/s3:/bucket/lake/trusted/samples")
    's3://bucket/lake/trusted/samples'
    >>> address("lake/trusted/samples")
    'lake/trusted/samples'
    """
    text = str(path)
    _, mark, rest = text.rpartition(_MARK)
    return SCHEME + rest if mark else text
