"""Progress and log lines: a bar-like line when a person watches, JSON lines for machines."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO

from lake.times import iso, utc_now

_CLEAR: Final = "\r\x1b[2K"


class Progress:
    """Says what runs and how long it took, on standard error; `form` is text or json."""

    def __init__(self, form: str = "text", stream: TextIO | None = None) -> None:
        """Write to `stream` (standard error by default); a terminal gets a line that is rewritten in place."""
        self._json = form == "json"
        self._stream = stream or sys.stderr
        self._live = not self._json and self._stream.isatty()

    def say(self, text: str, **fields: Any) -> None:
        """One line for good; in JSON form with `fields` and the time."""
        print(self._line(text, fields), end="", file=self._stream, flush=True)

    def interject(self, text: str) -> None:
        """The same from within a signal's handler: past the stream, which the interrupted code may be writing to."""
        # Nobody may be there to read it; what the signal asks for goes on.
        with suppress(OSError):
            os.write(self._stream.fileno(), self._line(text, {}).encode())

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

    def _line(self, text: str, fields: Mapping[str, Any]) -> str:
        if self._json:
            return json.dumps({"at": iso(utc_now()), "message": text, **fields}) + "\n"
        return f"{_CLEAR if self._live else ''}{text}\n"

    def _clear(self) -> None:
        if self._live:
            print(_CLEAR, end="", file=self._stream)
