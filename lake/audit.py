"""The audit log: who did what, when, from where, with which result; a chain of lines in which no edit goes unseen.

Lines of JSON by month in `_audit/` of the lake's folder on this host. Each carries a number and the hash of the line
before it, and its own, so a changed, missing, moved or inserted line breaks the chain (`lake.audit_check` names the
place). A cut tail, or one written anew, breaks nothing: that is what checkpoints are for, kept elsewhere. A line that a
crash left torn stays, and the line after it tells of it. Standard library only: a receiver writes here too.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lake.audit_chain import FOLDER, append_events
from lake.errors import LakeError
from lake.private import write_private
from lake.times import iso, utc_now

# Queries wait so long, or so many of them, before they are written together.
_PAUSE_S: Final = 1.0
_BUFFERED: Final = 200
_TEXT_MOST: Final = 8000


@dataclass
class Audit:
    """Appends to the log of a lake. Any number of threads and processes at once; each line is one event.

    `who` and `origin` are what `append` takes when it isn't told: by default the account that runs the process, and
    its number.
    """

    lake: Path
    who: str = ""
    origin: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _waiting: list[dict[str, Any]] = field(default_factory=list, repr=False)
    _timer: threading.Timer | None = field(default=None, repr=False)

    def append(
        self,
        operation: str,
        resource: str = "",
        *,
        who: str = "",
        via: str = "",
        origin: str = "",
        result: str = "ok",
        policy: str = "",
        detail: Mapping[str, Any] | None = None,
        durable: bool = True,
    ) -> None:
        """Write one event; when it returns the event survives a power cut. `via` is a service that acted for `who`.

        Without `durable` (for queries) it is written within a second, or at `flush` or `close`. Errors: LakeError
        where the log can't be written: then don't do what it would have told of.
        """
        event = {
            "at": iso(utc_now()),
            "who": who or self.who or _account(),
            **({"via": via} if via else {}),
            "origin": origin or self.origin or f"pid {os.getpid()}",
            "operation": operation,
            "resource": _cut(resource),
            "result": _cut(result),
            "policy": policy,
            "detail": {name: _cut(value) for name, value in (detail or {}).items()},
        }
        with self._lock:
            if durable or len(self._waiting) >= _BUFFERED:
                self._write(event)
                return
            self._waiting.append(event)
            if self._timer is None:
                self._timer = threading.Timer(_PAUSE_S, self._flush_later)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write what waits. Errors: LakeError as in `append`; it goes on waiting then."""
        with self._lock:
            self._write()

    close = flush

    def _flush_later(self) -> None:
        # What can't be written goes on waiting, and whoever appends next is told.
        with suppress(LakeError):
            self.flush()

    def _write(self, *more: dict[str, Any]) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        events = [*self._waiting, *more]
        if events:
            append_events(self.lake / FOLDER, events)
        self._waiting = []


def _account() -> str:
    """The account of this host under which the process runs."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def digest_of(text: str) -> str:
    """A statement's digest, equal for texts that differ in white space only."""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "surrogatepass")).hexdigest()


def note_settings(audit: Audit, values: Mapping[str, str], of: str = "settings") -> list[str]:
    """Append an event when the settings `of` a server differ from those last known; gives the names of those."""
    path = audit.lake / FOLDER / f"{of}.json"
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    changed = sorted(name for name in {*known, *values} if known.get(name) != values.get(name))
    if changed:
        detail = {name: f"{known.get(name, '')} -> {values.get(name, '')}" for name in changed} if known else values
        audit.append("config", of, detail=detail)
        write_private(path, json.dumps(dict(values), indent=1, sort_keys=True) + "\n")
    return changed


def _cut(value: Any) -> Any:
    """A value as the log keeps it: plain, and no longer than anyone will read."""
    if isinstance(value, (bool, int)) or value is None:
        return value
    text = str(value)
    return text if len(text) <= _TEXT_MOST else f"{text[:_TEXT_MOST]}... ({len(text)} characters)"
