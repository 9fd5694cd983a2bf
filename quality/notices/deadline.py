"""One deadline over a whole dialogue: names, connecting, TLS, and every line that a server drips in.

A socket's own time-out is for each read alone. Here a clock ends the connection itself, whatever it is at, and the look
up of a name is left behind where it takes too long.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any


class Deadline:
    """A context of at most `seconds` for one connection, which `connect` makes."""

    def __init__(self, seconds: float) -> None:
        """The clock starts when the context is entered."""
        self._seconds, self._end_s = float(seconds), 0.0
        self._over = threading.Event()
        self._clock = threading.Timer(self._seconds, self._end)
        self._clock.daemon = True
        self._held: socket.socket | None = None

    def __enter__(self) -> Deadline:
        self._end_s = time.monotonic() + self._seconds
        self._clock.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._clock.cancel()
        self._clock.join()
        if self._held is not None:
            self._held.close()

    def why(self, error: Exception) -> str:
        """What went wrong, in words: the time is over, or what the error says."""
        if self._over.is_set() or isinstance(error, TimeoutError):
            return f"no answer within {self._seconds:g} s"
        return f"{type(error).__name__}: {error}"

    def connect(self, host: str, port: int) -> socket.socket:
        """A connected socket that is ended in time. Errors: OSError, TimeoutError among them."""
        failed: OSError = TimeoutError()
        for family, kind, protocol, _, address in self._addresses(host, port):
            found = socket.socket(family, kind, protocol)
            try:
                found.settimeout(self._left())
                found.connect(address)
                found.settimeout(self._left())
                # A second handle of the same connection: the first one is lost where TLS takes it over.
                self._held = found.dup()
            except OSError as error:
                found.close()
                failed = error
                continue
            if self._over.is_set():
                self._end()
            return found
        raise failed

    def _left(self) -> float:
        left = self._end_s - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _addresses(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """What a name stands for. The system's look-up knows no time-out: its thread may be left behind."""
        answer = SimpleQueue[list[tuple[Any, ...]] | OSError | UnicodeError]()

        def look_up() -> None:
            try:
                answer.put(list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))
            except (OSError, UnicodeError) as error:
                answer.put(error)

        threading.Thread(target=look_up, daemon=True).start()
        try:
            found = answer.get(timeout=self._left())
        except Empty:
            raise TimeoutError from None
        if isinstance(found, Exception):
            raise found
        return found

    def _end(self) -> None:
        self._over.set()
        held = self._held
        if held is not None:
            with suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)
