"""Which versions of lookups a cube's derived dimensions were made with, and which days a newer version changes.

A build's commit carries the version of each lookup as the transaction number `lookup:<name>`. When a lookup has
changed, the next build makes the days anew for which its rows say something else of the keys that the cube holds; until
then the router leaves the stored values alone (see `cubes.route.source`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

from cubes import histograms
from cubes.derived import held_sql, used_columns
from cubes.expired import expired
from cubes.measures import quoted
from cubes.model import Cube, Derived
from lake import delta, tables
from lake.errors import LakeError
from lake.lookups import load_lookups
from lake.times import coarsest_within_day

if TYPE_CHECKING:
    from pathlib import Path

    from lake.delta import Snapshot
    from lake.duck import Duck


def lookups_of(cube: Cube) -> tuple[str, ...]:
    """The lookups that a cube's cells are made with, in the order of their names."""
    return tuple(sorted({one.lookup for one in histograms.rests_on(cube) if one.lookup}))


def transaction(name: str) -> str:
    """The name of the transaction number that holds a lookup's version."""
    return f"lookup:{name}"


def newest_lookups(lake: Path, cube: Cube) -> dict[str, Snapshot]:
    """The lookups of a cube at their newest versions; LakeError for one that was never loaded."""
    # Workers of another engine read them from a folder of their own.
    lake = lake.resolve()
    found = {name: delta.open_snapshot(lake, tables.lookup(name)) for name in lookups_of(cube)}
    for name, snapshot in found.items():
        if not snapshot.exists:
            raise LakeError(f"the lookup {name} has not been loaded.", todo=f"Run `fleetcube lookup load {name}`.")
    return found


def built_lookups(lake: Path, cube: Cube, cells: Snapshot) -> dict[str, Snapshot]:
    """The lookups at the versions that the cube's cells were made with.

    Errors: LakeError when a version is gone; a build then makes every day anew with the newest.
    """
    versions = {name: cells.txn(transaction(name)) for name in lookups_of(cube)}
    return {
        name: delta.open_snapshot(lake.resolve(), tables.lookup(name), version) for name, version in versions.items()
    }


def changed_days(duck: Duck, lake: Path, cube: Cube, cells: Snapshot, newest: dict[str, Snapshot]) -> frozenset[date]:
    """The days of the cube's cells for which the newest lookups give its keys other values than its build's did."""
    found: set[date] = set()
    for name, snapshot in newest.items():
        version = cells.txn(transaction(name))
        if version is None or version == snapshot.version:
            continue
        if name == histograms.LOOKUP:
            found |= _histogram_days(duck, lake, cube, cells, snapshot)
            continue
        held = _held_days(duck, lake, cube, cells, name)
        try:
            old = delta.open_snapshot(lake, tables.lookup(name), version)
        except LakeError:
            found.update(day for (day,) in duck.sql(f"SELECT DISTINCT day FROM {held}"))
            continue
        if differs(duck, name, old, snapshot, cube.derived):
            sides = [_by_day(duck, name, one, cube.derived, held) for one in (old, snapshot)]
            key = ", ".join(["day", *map(quoted, load_lookups()[name].key)])
            rows = duck.sql(
                f"""SELECT DISTINCT day FROM {sides[0]} AS fc_old FULL JOIN {sides[1]} AS fc_new USING ({key})
                WHERE fc_old.fc_said IS DISTINCT FROM fc_new.fc_said"""
            )
            found.update(day for (day,) in rows)
    return frozenset(found)


def differs(duck: Duck, name: str, old: Snapshot, new: Snapshot, derived: Sequence[Derived]) -> bool:
    """Whether two versions of a lookup say anything different about these dimensions."""
    columns = ", ".join(quoted(column) for column in used_columns(name, derived))
    one, two = (f"SELECT {columns} FROM {duck.scan(snapshot)}" for snapshot in (old, new))
    rows = duck.sql(f"SELECT 1 FROM (({one} EXCEPT ALL {two}) UNION ALL ({two} EXCEPT ALL {one})) LIMIT 1")
    return bool(rows)


def _histogram_days(duck: Duck, lake: Path, cube: Cube, cells: Snapshot, newest: Snapshot) -> set[date]:
    """The days with histograms: all where known bounds became others, else those with unknown ones."""
    only = ""
    try:
        old = delta.open_snapshot(lake, newest.ref, cells.txn(transaction(newest.ref.name)))
        was, now = (f"SELECT bounds_id, bounds FROM {duck.scan(one)}" for one in (old, newest))
        if not duck.sql(f"{was} EXCEPT {now} LIMIT 1"):
            only = f" AND slot = {histograms.UNKNOWN}"
    except LakeError:
        pass  # that version is gone: any bounds may have been others
    daily = coarsest_within_day(cube.grains)
    scan = duck.scan(cells, cells.paths(lambda file: file.partition["grain"] == daily))
    held = f"SELECT DISTINCT CAST(bucket AS DATE) FROM {scan} WHERE sketch = '{histograms.COUNTS}'{only}"
    return {day for (day,) in duck.sql(held)}


def _held_days(duck: Duck, lake: Path, cube: Cube, cells: Snapshot, name: str) -> str:
    """Relation (day, key columns) of what the cube holds, in brackets."""
    daily = coarsest_within_day(cube.grains)
    scan = duck.scan(cells, cells.paths(lambda file: file.partition["grain"] == daily))
    key = ", ".join(quoted(column) for column in load_lookups()[name].key)
    return f"""(SELECT DISTINCT CAST(bucket AS DATE) AS day, {key} FROM {scan}
        WHERE cuboid = {expired(duck, lake, cube, cells).base_sql(cube, daily)} AND sketch IS NULL)"""


def _by_day(duck: Duck, name: str, snapshot: Snapshot, derived: Sequence[Derived], held: str) -> str:
    """Relation (day, key columns, what the lookup says of the key on that day), in brackets."""
    lookup = load_lookups()[name]
    columns = used_columns(name, derived)
    rows = held_sql(lookup, duck.scan(snapshot), columns)
    key = ", ".join(["day", *map(quoted, lookup.key)])
    start, end = "CAST(day AS TIMESTAMPTZ)", "CAST(day + 1 AS TIMESTAMPTZ)"
    shown = [column for column in columns if column not in (*lookup.key, "valid_from", "valid_to")]
    texts = [f"greatest(fc_from, {start})", f"least(fc_to, {end})", *map(quoted, shown)]
    line = ", ".join(f"coalesce(CAST({text} AS VARCHAR), '~')" for text in texts)
    return f"""(SELECT {key}, list(concat_ws('|', {line}) ORDER BY fc_from NULLS FIRST) AS fc_said
        FROM {held} JOIN {rows} USING ({", ".join(map(quoted, lookup.key))})
        WHERE (fc_from IS NULL OR fc_from < {end}) AND (fc_to IS NULL OR fc_to > {start}) GROUP BY ALL)"""
