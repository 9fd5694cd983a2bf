"""Cubes as they stand in a lake: for lists, and for the picture of a lattice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cubes.build import is_due
from cubes.lattice import draw
from cubes.load import load_cubes, load_specs
from cubes.model import Cube
from cubes.segments import table_of
from cubes.spell import to_sql, to_yaml
from lake.delta import open_snapshot
from lake.duck import connect
from lake.errors import DefinitionError, did_you_mean
from lake.settings import Settings
from lake.tables import BUILDS, trusted


@dataclass(frozen=True)
class CubeState:
    """One cube in one lake; `build` and `watermark` are 0 where it was never built.

    `size_bytes` are those of its newest version, `raw_bytes` those of the fact's trusted rows that are there; `due`
    says that a build would change it.
    """

    name: str
    fact: str
    grains: tuple[str, ...]
    dimensions: tuple[str, ...]
    cuboids: int
    cells: int
    build: int
    watermark: int
    digest: str
    size_bytes: int
    raw_bytes: int
    budget_bytes_per_raw_byte: float | None
    due: bool


def chosen_cubes(settings: Settings, names: Sequence[str] = ()) -> list[Cube]:
    """The named cubes in the given order, or all; an unknown name is refused with the nearest one."""
    known = load_cubes(_own(settings.definitions))
    for name in names:
        if name not in known:
            raise DefinitionError(f"There is no cube '{name}'.", todo=did_you_mean(name, known))
    return [known[name] for name in names] if names else list(known.values())


def cube_states(settings: Settings) -> list[CubeState]:
    """Every declared cube, built or not."""
    return [_state(settings, cube) for cube in chosen_cubes(settings)]


def describe_cube(settings: Settings, name: str) -> str:
    """A cube as text: the picture of its lattice, with cells at each grain where it is built, then the measures."""
    [cube] = chosen_cubes(settings, (name,))
    state = _state(settings, cube)
    cells = _cuboid_cells(settings, cube)
    lines = [
        f"cube {cube.name} over {cube.fact}: {cube.description}".rstrip(": "),
        f"definition {cube.digest}, build {state.build}, up to trusted batch {state.watermark}",
        _size_text(cube, state),
        "",
        *draw(cube, cells),
        "",
        "measures",
    ]
    for measure in cube.measures:
        of = measure.column or (f"where {measure.where}" if measure.where else "rows")
        at = f" at {', '.join(measure.grains)}" if measure.grains else ""
        lines.append(f"  {measure.name:<20} {measure.function}({of}){at}  {measure.description}".rstrip())
    keep = ", ".join(f"{grain} for {days} days" for grain, days in cube.keep)
    lines += ["", f"kept: {keep or 'for ever'}"]
    ages = ", ".join(f"{name} for {days} days" for name, days in cube.age_out)
    return "\n".join([*lines, f"told: {ages}, the other dimensions as long as their cells are kept"] if ages else lines)


def _size_text(cube: Cube, state: CubeState) -> str:
    budget = "no budget" if cube.budget_bytes is None else f"budget {cube.budget_bytes:f}"
    budget += f" from {cube.budget_from_mib} MiB of rows on" if cube.budget_from_mib else ""
    share = f"{state.size_bytes / state.raw_bytes:.2f}" if state.raw_bytes else "-"
    return f"{state.size_bytes:,} bytes, {share} to a byte of the trusted rows that are there ({budget})"


def spell_cube(settings: Settings, name: str, form: str) -> str:
    """A cube's definition written out, in the form yaml or sql."""
    chosen_cubes(settings, (name,))
    spec = load_specs(_own(settings.definitions))[name]
    return to_sql(spec) if form == "sql" else to_yaml(spec)


def _state(settings: Settings, cube: Cube) -> CubeState:
    snapshot = open_snapshot(settings.lake, table_of(cube))
    return CubeState(
        name=cube.name,
        fact=cube.fact,
        grains=cube.grains,
        dimensions=cube.dimensions,
        cuboids=len(cube.cuboids),
        cells=snapshot.rows,
        build=snapshot.txn("build") or 0,
        watermark=snapshot.txn("watermark") or 0,
        digest=cube.digest,
        size_bytes=sum(file.size_bytes for file in snapshot.files),
        raw_bytes=sum(file.size_bytes for file in open_snapshot(settings.lake, trusted(cube.fact)).files),
        budget_bytes_per_raw_byte=None if cube.budget_bytes is None else float(cube.budget_bytes),
        due=is_due(settings.lake, cube),
    )


def _cuboid_cells(settings: Settings, cube: Cube) -> dict[str, dict[str, int]]:
    """{grain: {cuboid: cells}} summed over the builds that the ledger of builds knows; partial cells count each."""
    builds = open_snapshot(settings.lake, BUILDS)
    if not builds.files:
        return {}
    duck = connect(settings)
    found: dict[str, dict[str, int]] = {}
    for (text,) in duck.sql(
        f"SELECT cuboid_rows FROM {duck.scan(builds)} WHERE cube = $cube AND definition = $digest",
        {"cube": cube.name, "digest": cube.digest},
    ):
        for grain, cuboids in json.loads(text).items():
            of_grain = found.setdefault(grain, {})
            for cuboid, count in cuboids.items():
                of_grain[cuboid] = of_grain.get(cuboid, 0) + count
    return found


def _own(folder: Path) -> Path | None:
    return None if folder == Path("") else folder
