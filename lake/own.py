"""The user's own facts, lookups and suites: one folder (setting `declarations`) for a whole process.

`facts/`, `lookups/` and `suites/` in it hold documents of the same form as the shipped ones. Nobody passes the folder
along: like the shipped declarations it is the same wherever one looks, and it is read once. The command line says which
one it is before anything else runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from lake.errors import ConfigError

_P = ParamSpec("_P")
_R = TypeVar("_R")
_PARTS = ("facts", "lookups", "suites")

_folder: Path | None = None
_forget: list[Callable[[], None]] = []


def use_own(folder: Path) -> None:
    """Take declarations from this folder beside the shipped ones, from now on; the empty path takes none.

    Errors: ConfigError for a folder that is not there or holds none of its parts.
    """
    global _folder
    chosen = None if folder == Path("") else folder.resolve()
    if chosen == _folder:
        return
    if chosen is not None and not any((chosen / part).is_dir() for part in _PARTS):
        what = "holds no folder facts or lookups" if chosen.is_dir() else "is not there"
        todo = "Correct the setting `declarations`; docs/own-facts.md shows such a folder."
        raise ConfigError(f"The folder of declarations {what}.", where=str(folder), todo=todo)
    _folder = chosen
    for forget in _forget:
        forget()


def own_part(part: str) -> Path | None:
    """The folder of one part (facts, lookups, suites), None where the user has none."""
    found = None if _folder is None else _folder / part
    return found if found is not None and found.is_dir() else None


def once(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """`functools.cache` for what is made of declarations: forgotten when their folder changes."""
    cached = cache(function)
    _forget.append(cached.cache_clear)
    return cast(Callable[_P, _R], cached)
