"""Progress and log lines: a bar-like line when a person watches, JSON lines for machines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from lake.times import iso, utc_now


class Progress:
    """Says what runs and how long it took, on standard error; `form` is text or json."""

    def __init__(self, form: str = "text", stream: TextIO | None = None) -> None:
        """Write to `stream` (standard error by default); a terminal gets a line that is rewritten in place."""
        self._json = form == "json"
        self._stream = stream or sys.stderr
        self._live = not self._json and self._stream.isatty()

    def say(self, text: str, **fields: Any) -> None:
        """One line for good; in JSON form with `fields` and the time."""
        if self._json:
            print(json.dumps({"at": iso(utc_now()), "message": text, **fields}), file=self._stream, flush=True)
        else:
            self._clear()
            print(text, file=self._stream, flush=True)

    def note(self, text: str) -> None:
        """Where a long step stands; kept only on a terminal, where the next line takes its place."""
        if self._live:
            self._clear()
            print(f"  … {text}", end="", file=self._stream, flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step and, when it ends well, the seconds it took."""
        started = time.monotonic()
        self.note(title)
        yield
        seconds = time.monotonic() - started
        self.say(f"  {title:<58} {seconds:6.1f} s", seconds=round(seconds, 3))

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[2K", end="", file=self._stream)
