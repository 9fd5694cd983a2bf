"""Leases: one holder at a time, freed by the holder's death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lake.errors import LakeError
from lake.lease import lease

HOLD = """
import sys, time
from pathlib import Path
from lake.lease import lease
with lease(Path(sys.argv[1]), "trusted/samples"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with (
        pytest.raises(LakeError, match=rf"writing 'trusted/samples' \(process {holder.pid}\)"),
        lease(tmp_path, "trusted/samples"),
    ):
        pass
    with lease(tmp_path, "trusted/requests"):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with lease(tmp_path, "trusted/samples"):
        pass
