"""The cubes that `bench/run_cubes.py` builds, their plain SQL, and a timed build of one."""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

from cubes.build import build
from cubes.load import load_cubes
from cubes.model import Cube
from lake.duck import Duck
from lake.settings import Settings

DIMENSIONS = ("site", "cluster", "environment", "host", "device", "hardware", "model", "metric")
PLACES = ((), ("site",), ("site", "cluster"), ("site", "cluster", "host"), ("site", "cluster", "host", "device"))
PLAIN = """
  samples: {count: value}
  total: {sum: value}
  lowest: {min: value}
  highest: {max: value}
  time_mean: {time_avg: value}
"""
# Slots of single devices and hosts are nearly as many as their rows: not worth keeping.
SKETCHED = """
  spread: {quantiles: value, grains: [1h, 1d], without: [host, device]}
  pods: {distinct: pod, grains: [1h, 1d], without: [host, device]}
"""
AGGREGATES = """count(*) AS n, count(value) AS c, sum(value) AS s, min(value) AS lo, max(value) AS hi,
    sum(value * interval_s) AS w, sum(interval_s) FILTER (WHERE value IS NOT NULL) AS ws"""
ADDITIVE_GRAINS = ("5m", "1h", "1d")


def cuboids(count: int) -> list[tuple[str, ...]]:
    """That many combinations of the dimensions, the smallest first; the base is one more, which every cube has."""
    flags = list(product((False, True), repeat=3))
    found = [
        (*place, *(name for name, on in zip(("environment", "hardware", "model"), flag, strict=True) if on), "metric")
        for place in PLACES
        for flag in flags
    ]
    return [one for one in found if len(one) < len(DIMENSIONS)][: count - 1]


def cube_of(folder: Path, grains: tuple[str, ...], count: int, measures: str = PLAIN) -> Cube:
    """A cube over the bench's samples with `count` cuboids."""
    return defined(folder, grains, DIMENSIONS, cuboids(count), measures)


def defined(
    folder: Path,
    grains: tuple[str, ...],
    dimensions: tuple[str, ...],
    kept: list[tuple[str, ...]],
    measures: str = PLAIN,
) -> Cube:
    """A cube over the bench's samples with these cuboids beside its base, read from its YAML."""
    listed = ", ".join(f"[{', '.join(names)}]" for names in kept)
    text = (
        f"cube: bench\nfact: samples\ngrains: [{', '.join(grains)}]\ndimensions: [{', '.join(dimensions)}]\n"
        f"cuboids: [{listed}]\nmeasures:{measures}\nbudget: {{cuboids: 64}}\n"
    )
    definitions = folder / "definitions"
    definitions.mkdir(parents=True, exist_ok=True)
    (definitions / "bench.yaml").write_text(text)
    return load_cubes(definitions)["bench"]


def timed_build(settings: Settings, duck: Duck, cube: Cube) -> tuple[float, int]:
    """Wall seconds of a build, and the cells and slots that it wrote."""
    started = time.perf_counter()
    cells = build(settings, duck, cube).cells
    return time.perf_counter() - started, cells


def settings_in(folder: Path, memory_mib: int) -> Settings:
    """Settings of a new lake in the folder."""
    lake = folder / "lake"
    lake.mkdir(parents=True, exist_ok=True)
    return Settings(lake=lake, memory_mib=memory_mib)
