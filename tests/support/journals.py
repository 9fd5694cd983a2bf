"""What agents pushed, as a receiver's journal holds it; and the real command line over a lake of tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ingestion.frames import Frame
from ingestion.sample import Record, encode_record
from ingestion.spool import Spool

RECEIVED_US = 1_767_484_800_000_000  # 2026-01-04


def fleetcube(lake: Path, *arguments: str, fault: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own, that a fault may kill."""
    return subprocess.run(
        [sys.executable, "-m", "fleetcube", *arguments, "--lake", str(lake)],
        env={**os.environ, "FLEETCUBE_FAULT": fault, **environ},
        capture_output=True,
        text=True,
        timeout=120,
    )


def started(lake: Path, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
    """Start the real command; its lines go to a file."""
    command = [sys.executable, "-m", "fleetcube", *arguments, "--lake", str(lake)]
    with log.open("ab") as file:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)


def records() -> list[Record]:
    """3 hosts, values good and bad, a repeat, a conflict and a declared gap."""
    found = []
    for host in ("a", "b", "c"):
        for seq in range(1, 21):
            value = "nan" if seq == 7 else f"0.{seq:02d}"
            row = {"metric": "cpu.utilization", "value": value, "host": host, "site": "s", "interval_s": "60"}
            rows = ({**row, "ts": f"2026-01-0{1 + seq % 3}T00:{seq:02d}:00.000000Z"},)
            found.append(Record(host, "boot", seq, "samples", "2026-01-04T00:00:00.000000Z", rows))
    found += [found[3], found[25]]
    found.append(Record("a", "boot", 21, "samples", "2026-01-04T00:00:00.000000Z", lost=4, reason="dropped"))
    changed = tuple({**row, "value": "0.99"} for row in found[9].rows)
    found.append(Record("a", "boot", 10, "samples", "2026-01-04T00:00:00.000000Z", changed))
    return found


def append(lake: Path, pushed: Sequence[Record]) -> None:
    """Put records into the lake's journal as one sealed segment."""
    with closing(Spool(lake / "_inbox")) as spool:
        for record in pushed:
            kind = "gap" if record.lost else "record"
            content = encode_record(record)
            spool.append([Frame(record.agent, record.boot, record.seq, "samples", RECEIVED_US, content, kind)])
        spool.seal()
