"""Compaction of a cube: the partial cells of a segment are merged into one sorted file, by the states' own merge.

A cube is a log of partial cells, so merging some of them changes no answer: `verify` gives the same digests before and
after. A segment that the last build wrote to may have several files, a quiet one has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cubes.measures import merge_sql, quoted
from cubes.model import Cube, Sketch
from cubes.segments import table_of
from lake import delta
from lake.compact import Compacted, Layout, compact
from lake.lease import lease

if TYPE_CHECKING:
    from lake.delta import DataFile
    from lake.duck import Duck
    from lake.settings import Settings


def compact_cube(settings: Settings, duck: Duck, cube: Cube, *, whole: bool = False) -> Compacted:
    """Merge the files of segments that have too many; with `whole`, leave one file to each segment.

    Errors: LakeError while another process builds or compacts this cube.
    """
    ref = table_of(cube)
    with lease(settings.lake, ref.key):
        newest = f"build-{delta.open_snapshot(settings.lake, ref).txn('build') or 0:08d}"

        def most(files: Sequence[DataFile]) -> int:
            written_to = any(newest in file.path for file in files)
            return settings.segment_files if written_to and not whole else 1

        return compact(duck, settings.lake, ref, layout_of(cube), most=most)


def layout_of(cube: Cube) -> Layout:
    """How the files of a cube's cells are written, and merged."""
    names = ", ".join(f"'{one.name}'" for one in _distinct(cube))
    others = f" FILTER (sketch NOT IN ({names}))" if names else ""
    return Layout(
        stats=("cuboid", "bucket"),
        order="cuboid, sketch NULLS FIRST, bucket",
        merge=lambda scan: merged_sql(cube, scan),
        total=f"(sum(rows), sum(n){others})",
    )


def merged_sql(cube: Cube, cells: str) -> str:
    """SELECT of the merged cells and slots of a relation of partial ones, with the same columns.

    Of hashes that stand for distinct values those stay that count: the smallest of the union.
    """
    keys = ["grain", "segment", "cuboid", "bucket", *map(quoted, cube.dimensions)]
    states = "".join(f", {merge_sql(state)} AS {quoted(state.name)}" for state in cube.states)
    nulls = "".join(f", NULL AS {quoted(state.name)}" for state in cube.states)
    listed = ", ".join(keys)
    return (
        f"SELECT {listed}, NULL AS sketch, NULL AS slot, NULL AS n, sum(rows) AS rows{states}, max(build) AS build "
        f"FROM {cells} WHERE sketch IS NULL GROUP BY {listed} "
        f"UNION ALL SELECT {listed}, sketch, slot, sum(n) AS n, NULL AS rows{nulls}, max(build) AS build "
        f"FROM {cells} WHERE sketch IS NOT NULL GROUP BY {listed}, sketch, slot{_smallest(cube, listed)}"
    )


def _smallest(cube: Cube, keys: str) -> str:
    most = "".join(f" WHEN '{one.name}' THEN {one.most}" for one in _distinct(cube))
    rank = f"row_number() OVER (PARTITION BY {keys}, sketch ORDER BY slot)"
    return f" QUALIFY coalesce({rank} <= CASE sketch{most} END, true)" if most else ""


def _distinct(cube: Cube) -> list[Sketch]:
    return [sketch for sketch in cube.sketches if sketch.kind == "distinct"]
