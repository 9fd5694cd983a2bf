"""A process that ends with the one that started it, even by `kill -9`: `python -m fleetcube.tied PID ARGUMENTS...`.

On Linux the kernel sends it SIGTERM at its parent's death, so it ends as it does at Ctrl-C. Other systems have no such
thing: there a quick start that is killed leaves its agent, receiver and endpoint running, to be ended by hand.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def tie_to(parent: int) -> bool:
    """End with the process `parent`, which started this one; False where the system can't say when it dies.

    Ends at once (exit code 143, as by SIGTERM) when the parent has died already.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        return False
    if os.getppid() != parent:
        # It died before the kernel knew: nobody will send the signal any more.
        sys.exit(128 + signal.SIGTERM)
    return True


if __name__ == "__main__":
    from fleetcube.__main__ import main

    tie_to(int(sys.argv[1]))
    sys.argv = ["fleetcube", *sys.argv[2:]]
    main()
