"""What comes before a cube's first build: its budget is held, and cells of an older version are taken over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cubes.build import BuildResult
from cubes.expired import expired, spans
from cubes.plan.changes import compare
from cubes.plan.evolve import evolve
from cubes.plan.forecast import forecast, refuse_over_budget
from cubes.plan.versions import old_versions
from cubes.segments import table_of
from lake import delta, tables
from lake.errors import LakeError

if TYPE_CHECKING:
    from cubes.model import Cube
    from lake.duck import Duck
    from lake.settings import Settings

Progress = Callable[[str, int, int], None]


def make_ready(
    settings: Settings,
    duck: Duck,
    cube: Cube,
    *,
    over_budget: bool = False,
    from_rows: bool = False,
    progress: Progress | None = None,
) -> BuildResult | None:
    """Prepare a cube that was never built: gives the build made of an older version's cells, if there was one.

    `over_budget` skips the budget of bytes, `from_rows` builds anew from the rows that trusted has. Errors:
    DefinitionError over budget; LakeError when only the older version still holds what has expired.
    """
    if delta.open_snapshot(settings.lake, table_of(cube)).txn("build") is not None:
        return None
    raw_bytes = sum(file.size_bytes for file in delta.open_snapshot(settings.lake, tables.trusted(cube.fact)).files)
    limited = cube.budget_bytes is not None and not over_budget
    if limited and raw_bytes > cube.budget_from_mib << 20:
        refuse_over_budget(forecast(settings, duck, cube, progress=progress))
    older = old_versions(settings.lake, cube)
    if not older or from_rows:
        return None
    made = evolve(settings, duck, cube, older[0], progress=progress)
    gone = expired(duck, settings.lake, older[0].cube).days
    if made is None and gone:
        raise LakeError(
            f"Cube {cube.name} can't be made of its older version's cells ({compare(older[0].cube, cube).reason}), and "
            f"the rows of {spans(sorted(gone))} have expired: a build from rows would not hold those days.",
            todo="Declare it as a cube of another name, so that both answer, or give those days up: "
            f"`fleetcube build {cube.name} --from-rows`.",
        )
    return made
