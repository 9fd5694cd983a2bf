"""The outbox: what is to be told, on disk until a channel has taken it. A channel that fails keeps its notices.

A file for each notice and channel, `<lake>/_work/notices/<channel>/<number>-<place>-<id>.json`, and `_failing.json`
beside them: how often the channel failed in a row, why, and when it is tried again. A draft is a notice whose events
are not in the lake yet: it is known by a number above the lake's newest, and goes away if they never come to be there.
A file that can't be read holds up no other: whoever holds the lease puts it aside as `<name>.damaged`, where it stays
for a person to see.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from lake.intents import sync_folder, work_folder
from quality.notices.notice import Notice, read_notice

MOST: Final = 10_000
_FAILING: Final = "_failing.json"
_DAMAGED: Final = ".damaged"
_Told = TypeVar("_Told")


@dataclass(frozen=True)
class Waiting:
    """A notice that a channel has not taken yet."""

    path: Path
    channel: str
    number: int
    notice: Notice


@dataclass(frozen=True)
class Failing:
    """A channel that did not take a notice: failures in a row, the last reason, seconds since 1970 of the next try."""

    failures: int
    why: str
    next_s: float


class Outbox:
    """The files of one lake's notices. Whoever changes them holds the lease of the alerts."""

    def __init__(self, lake: Path) -> None:
        """`lake` is the lake's local path (of one in an object store: its home)."""
        self._root = work_folder(lake, "notices")

    def put(self, channel: str, number: int, notice: Notice, place: int = 0) -> bool:
        """Keep a notice for a channel, durably; the same again replaces itself. False where the box is full.

        They are taken in the order of `number`, those of one number in that of `place`.
        """
        folder = self._root / channel
        folder.mkdir(exist_ok=True)
        path = folder / f"{number:012d}-{place:04d}-{notice.id}.json"
        if not path.exists() and len(list(folder.glob("[0-9]*.json"))) >= MOST:
            return False
        _write(path, {"number": number, "notice": json.loads(notice.body())})
        return True

    def waiting(self) -> list[Waiting]:
        """Every kept notice that can be read, by channel and number."""
        found = (_read(path, _waiting) for path in self._notices())
        return [one for one in found if isinstance(one, Waiting)]

    def damaged(self) -> list[Path]:
        """The files that can't be read, and those that were put aside and still lie there."""
        return sorted([*self._unreadable(), *self._root.glob(f"*/*{_DAMAGED}")])

    def put_aside(self) -> list[Path]:
        """Rename what can't be read, so that it is in nobody's way; gives the new paths."""
        found = []
        for path in self._unreadable():
            aside = path.with_name(f"{path.name}{_DAMAGED}")
            # Where even that fails it is named again each time.
            with suppress(OSError):
                path.rename(aside)
            found.append(aside if aside.exists() else path)
        return found

    def drop_drafts(self, last: int) -> None:
        """Take away the notices whose events were never recorded."""
        for one in self.waiting():
            if one.number > last:
                self.drop(one)

    def drop(self, one: Waiting) -> None:
        """Forget a notice that was taken."""
        one.path.unlink(missing_ok=True)
        sync_folder(one.path.parent)

    def failing(self) -> dict[str, Failing]:
        """The channels that failed the last time, by name."""
        found = {path.parent.name: _read(path, _failing) for path in sorted(self._root.glob(f"*/{_FAILING}"))}
        return {name: told for name, told in found.items() if isinstance(told, Failing)}

    def note(self, channel: str, failing: Failing | None) -> None:
        """Remember that a channel failed, or (None) that it works again."""
        folder = self._root / channel
        folder.mkdir(exist_ok=True)
        if failing is None:
            (folder / _FAILING).unlink(missing_ok=True)
        else:
            _write(folder / _FAILING, asdict(failing))

    def _notices(self) -> list[Path]:
        return sorted(self._root.glob("*/[0-9]*.json"))

    def _unreadable(self) -> list[Path]:
        kinds = [(path, _waiting) for path in self._notices()]
        more = [(path, _failing) for path in sorted(self._root.glob(f"*/{_FAILING}"))]
        return [path for path, make in [*kinds, *more] if _read(path, make) is _BAD]


class _Bad:
    """Stands for what a file that can't be read would have held."""


_BAD: Final = _Bad()


def _waiting(path: Path, told: dict[str, Any]) -> Waiting:
    return Waiting(path, path.parent.name, int(told["number"]), read_notice(told["notice"]))


def _failing(_: Path, told: dict[str, Any]) -> Failing:
    return Failing(int(told["failures"]), str(told["why"]), float(told["next_s"]))


def _read(path: Path, make: Callable[[Path, dict[str, Any]], _Told]) -> _Told | _Bad | None:
    """What a file holds; None where whoever holds the lease has taken it away meanwhile."""
    try:
        return make(path, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        # Torn, or not of this form: a file from outside may hold anything.
        return _BAD


def _write(path: Path, content: dict[str, Any]) -> None:
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(content, file, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    sync_folder(path.parent)
