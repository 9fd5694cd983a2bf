"""A figure of the report, the machine's facts, and the two files that hold them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lake.times import iso, utc_now

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """One measured number; `bound` is the asked limit (None where none was asked) and `holds` whether it is kept.

    It is the greatest value that was asked, or the `least`.
    """

    name: str
    value: float
    unit: str
    bound: float | None = None
    holds: bool | None = None
    measured_at: str = ""
    least: bool = False


def figure(name: str, value: float, unit: str, at_most: float | None = None) -> Figure:
    """A figure measured now, rounded to four digits that count."""
    kept = None if at_most is None else value <= at_most
    return Figure(name, float(f"{value:.4g}"), unit, at_most, kept, iso(utc_now()))


def count(name: str, value: int, unit: str = "", *, at_least: int | None = None, at_most: int | None = None) -> Figure:
    """A figure counted now, with all its digits."""
    bound = at_most if at_least is None else at_least
    kept = None if bound is None else (value >= bound if at_least is not None else value <= bound)
    return Figure(name, value, unit, bound, kept, iso(utc_now()), least=at_least is not None)


def seconds(work: Callable[[], Any]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def p50_p95(work: Callable[[], Any], times: int) -> tuple[float, float]:
    """Median and 95th percentile of the wall milliseconds of `times` calls, after one that warms up."""
    work()
    found = sorted(seconds(work) * 1000 for _ in range(times))
    return statistics.median(found), found[min(len(found) - 1, int(len(found) * 0.95))]


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next((line.split(":")[1].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")), "")
    memory = next((int(line.split()[1]) // 1024 for line in _read("/proc/meminfo") if line.startswith("MemTotal")), 0)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=FOLDER)
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_mib": memory,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {
            name: version(name) for name in ("duckdb", "deltalake", "pyarrow", "sqlglot", "great-expectations")
        },
        "commit": commit.stdout.strip(),
        "load_average": [round(number, 2) for number in os.getloadavg()],
    }


def write_report(
    figures: Sequence[Figure], facts: dict[str, Any], *, name: str = "report", command: str = "make bench"
) -> None:
    """<name>.json and <name>.md beside this file; `command` is what measures them."""
    content = {"machine": facts, "figures": [asdict(found) for found in figures]}
    (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
    lines = [
        "# Figures",
        "",
        f"Measured in one run by `{command}`, on a shared machine: trust ratios more than times.",
        "",
        f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_mib']} MiB, {facts['system']}, "
        f"Python {facts['python']}, "
        + ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
        + f"; commit {facts['commit']}; load at the start {facts['load_average']}.",
        "",
        "| figure | value | unit | asked | holds |",
        "|---|---:|---|---|---|",
    ]
    for found in figures:
        asked = "" if found.bound is None else f"at {'least' if found.least else 'most'} {found.bound:,g}"
        holds = {None: "", True: "yes", False: "**no, falls short**"}[found.holds]
        shown = f"{found.value:,}" if isinstance(found.value, int) else f"{found.value:,.4g}"
        lines.append(f"| {found.name} | {shown} | {found.unit} | {asked} | {holds} |")
    (FOLDER / f"{name}.md").write_text("\n".join(lines) + "\n")


def _read(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
