"""A clean end: SIGTERM and SIGINT ask a running loop to stop, and nothing is interrupted half-way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Within it, SIGTERM and SIGINT set `stop`; the handlers that were there come back at its end.

    Off the main thread it does nothing: handlers can't be set there, and whoever started the thread has the event.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [(number, signal.signal(number, handle)) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
