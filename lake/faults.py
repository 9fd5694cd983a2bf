"""Named points at which a test kills the process, to prove that a crash there loses and doubles nothing."""

from __future__ import annotations

import os
import signal
from typing import Final

# Read once: a running process can't be armed from outside.
_ARMED: Final = os.environ.get("FLEETCUBE_FAULT", "")
_passes: dict[str, int] = {}


def faultpoint(name: str) -> None:
    """Kill this process with SIGKILL here if FLEETCUBE_FAULT is `name`, or `name:N` at the N-th pass; else nothing.

    A name is `<component>.<step>.<before|after>`; SIGKILL leaves no chance for clean-up, as a power cut would not.
    """
    if not _ARMED:
        return
    wanted, _, nth = _ARMED.partition(":")
    if wanted != name:
        return
    _passes[name] = _passes.get(name, 0) + 1
    if _passes[name] == int(nth or 1):
        os.kill(os.getpid(), signal.SIGKILL)
