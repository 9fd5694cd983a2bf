"""Malformed messages in numbers: the server answers a good client after them, and holds no more than before.

FLEETCUBE_TEST_WIRE=100000 sends that many; FLEETCUBE_TEST_SEED changes them.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from wirefuzz import visit

MESSAGES = int(os.environ.get("FLEETCUBE_TEST_WIRE", "3000"))
SEED = int(os.environ.get("FLEETCUBE_TEST_SEED", "20261121"))
PER_VISIT = 10


def held() -> tuple[int, int, int]:
    """MiB resident, open files and threads of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20, len(os.listdir("/proc/self/fd")), threading.active_count()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_malformed_messages_leave_nothing_behind(
    serving: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps every record of the log until the end of a test, which would be counted as the server's.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging, "lastResort", None)
    with serving(start_s=2.0, statement_s=5.0) as endpoint:

        def run(part: int, messages: int) -> None:
            dice = random.Random(SEED + part)
            for _ in range(messages // PER_VISIT):
                visit(endpoint.port, dice, PER_VISIT)

        def calm() -> None:
            ended = time.monotonic() + 30
            while (endpoint.server.clients or endpoint.server._tasks) and time.monotonic() < ended:
                time.sleep(0.02)
            assert (endpoint.server.clients, len(endpoint.server._tasks)) == (0, 0)

        # What is loaded and cached at the first of each kind is no leak.
        run(-1, max(1000, MESSAGES // 3))
        calm()
        before = held()
        begun = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, range(4), [MESSAGES // 4] * 4))
        calm()
        after = held()
        with capsys.disabled():
            spent = time.monotonic() - begun
            print(f"\n{MESSAGES} malformed messages, seed {SEED}: {spent:.0f} s, held {before} -> {after}")
        assert endpoint.alive()
        assert after[0] - before[0] < 40
        assert abs(after[1] - before[1]) <= 4
        assert after[2] - before[2] <= 16
