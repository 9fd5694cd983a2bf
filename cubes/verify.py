"""Verify a cube: recompute every cell from trusted rows, straight for each cuboid and grain, and compare all of them.

Nothing of the build's way is reused but the states' own definitions: no keys, no derivation of one cuboid or grain
from another, and slots are found by searching the table of bounds instead of taking logarithms. Both sides are read at
the versions that the cube stands on, so a cube may be verified while new rows arrive.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from datetime import time as midnight
from functools import partial
from typing import TYPE_CHECKING, Any

from cubes import buckets, histograms, measures
from cubes.ageout import told_cuboids
from cubes.expired import Expired, expired
from cubes.measures import merge_sql, partial_sql, quoted
from cubes.model import Cube, Sketch
from cubes.segments import segment_sql, table_of
from cubes.source import stood_on
from lake import delta
from lake.times import GRAINS, iso

if TYPE_CHECKING:
    from lake.duck import Duck
    from lake.settings import Settings

_SHOWN = 20
# The hash of cubes.distinct by another way: the digest's first bytes turned round as text, read as a number.
_BYTES = " || ".join(f"substr(md5(fc_value), {at}, 2)" for at in range(15, 0, -2))
_HASH = f"CAST(CAST('0x' || {_BYTES} AS UBIGINT) // 2 AS BIGINT)"


@dataclass(frozen=True)
class VerifyReport:
    """What was compared and what differs.

    `cells` and `slots` count what was recomputed; `differences` counts cells and slots that are missing, too many or
    of another value, and `shown` says the first of them in words. `digests` are those of the stored, merged contents
    by (grain, segment): equal contents give equal digests, however many builds wrote them. `places` are the (grain,
    day) of what differs, `strays` counts what no definition asks for, which has no place; `version` is the table's.
    """

    cube: str
    definition: str
    source: int
    watermark: int
    cells: int
    slots: int
    differences: int
    shown: tuple[str, ...]
    digests: tuple[tuple[str, str, str], ...]
    seconds: float
    places: tuple[tuple[str, date], ...] = ()
    strays: int = 0
    version: int = -1

    @property
    def holds(self) -> bool:
        """Whether every cell and slot is as its rows say."""
        return self.differences == 0


@dataclass(frozen=True)
class _Comparison:
    """Two relations with the same columns, of which `keys` name a cell or slot; equal if the cube is right."""

    title: str
    grain: str
    expected: str
    stored: str
    keys: tuple[str, ...]
    is_slots: bool


def verify(
    settings: Settings,
    duck: Duck,
    cube: Cube,
    *,
    since: date | None = None,
    until: date | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> VerifyReport:
    """Compare the cube's cells of the UTC days from `since` to before `until` (all without them) with trusted rows.

    Without a range, days whose rows have expired are left out: what proved their cells is in the table `deletions`.
    Segments that have aged are compared in the cuboids that they still tell. `progress` is told of each.
    Errors: LakeError when the cube was never built, its source version of trusted is gone, or rows of the range have
    expired.
    """
    started = time.monotonic()
    measures.install(duck)
    cells = delta.open_snapshot(settings.lake, table_of(cube))
    source = stood_on(settings.lake, cube, cells)
    gone = expired(duck, settings.lake, cube, cells)
    if since is not None or until is not None:
        gone.refuse(cube.name, [day for day in gone.days if _in_range(day, since, until)], "verified")
    days = [day for day in source.days() if _in_range(day, since, until) and day not in gone.lasting]
    rows = source.relation(duck, days)
    stored = f"(SELECT * FROM {duck.scan(cells)} WHERE {_within(since, until)} AND {gone.spares(cube.grains)})"
    compared = {False: 0, True: 0}
    strays, shown = _strays(duck, cube, stored, gone)
    differences, places = strays, set[tuple[str, date]]()
    slotted = [one for one in cube.sketches if one.kind == "quantiles" and one.column != histograms.COUNTS]
    for sketch in slotted:
        _find_slots(duck, sketch, rows)
    comparisons = list(_comparisons(cube, rows, stored, since, until, gone=gone))
    for place, comparison in enumerate(comparisons):
        if progress is not None:
            progress(comparison.title, place, len(comparisons))
        count, wrong, texts, days = _compare(duck, comparison)
        compared[comparison.is_slots] += count
        differences += wrong
        shown += texts
        places |= {(comparison.grain, day) for day in days}
    for sketch in slotted:
        duck.execute(f"DROP TABLE fc_found_{sketch.column}")
    return VerifyReport(
        cube=cube.name,
        definition=cube.digest,
        source=source.snapshot.version,
        watermark=source.upto,
        cells=compared[False],
        slots=compared[True],
        differences=differences,
        shown=tuple(shown[:_SHOWN]),
        digests=tuple(_digests(duck, cube, stored)),
        seconds=time.monotonic() - started,
        places=tuple(sorted(places)),
        strays=strays,
        version=cells.version,
    )


def _in_range(day: date, since: date | None, until: date | None) -> bool:
    return (since is None or day >= since) and (until is None or day < until)


def _within(since: date | None, until: date | None) -> str:
    bounds = [f"bucket >= TIMESTAMPTZ '{since} 00:00:00+00'"] if since is not None else []
    bounds += [f"bucket < TIMESTAMPTZ '{until} 00:00:00+00'"] if until is not None else []
    return " AND ".join(bounds) or "true"


def _comparisons(
    cube: Cube, rows: str, stored: str, since: date | None, until: date | None, *, gone: Expired
) -> Iterator[_Comparison]:
    for grain in cube.grains:
        made = _whole_buckets(grain, rows, "ts", since, until)
        made = f"(SELECT * FROM {made} WHERE {gone.spares_sql(grain, _bucket(grain))})"
        held = _whole_buckets(grain, stored, "bucket", since, until)
        for cuboid in gone.cuboids(cube, grain):
            sides = partial(_sides, cube, gone, grain, cuboid, (made, held))
            if told := sides(declared=cube.cuboids):
                yield _cells(cube, grain, cuboid, rows=told[0], stored=told[1])
            for sketch in cube.sketches:
                if grain in sketch.grains and (told := sides(declared=sketch.cuboids)):
                    yield _slots(cube, grain, cuboid, sketch, rows=told[0], stored=told[1])


def _sides(
    cube: Cube, gone: Expired, grain: str, cuboid: int, whole: tuple[str, str], *, declared: Sequence[int]
) -> tuple[str, str] | None:
    """Rows and cells of the segments that tell the cuboid, made of one of the `declared` ones; None: of no segment."""
    found = []
    for relation, start in zip(whole, (_bucket(grain), "bucket"), strict=True):
        places = gone.places(grain, start)
        told = [place for names, place in places if cuboid in told_cuboids(cube, declared, names)]
        if not told:
            return None
        found.append(relation if told == ["true"] else f"(SELECT * FROM {relation} WHERE {' OR '.join(told)})")
    return found[0], found[1]


def _whole_buckets(grain: str, relation: str, column: str, since: date | None, until: date | None) -> str:
    """The relation without weeks or months that lie in the range only in part."""
    if GRAINS[grain].within_day or (since is None and until is None):
        return relation
    first, after = (None if at is None else datetime.combine(at, midnight(), tzinfo=UTC) for at in (since, until))
    bounds = [f"{column} >= TIMESTAMPTZ '{iso(GRAINS[grain].ceil(first))}'"] if first is not None else []
    bounds += [f"{column} < TIMESTAMPTZ '{iso(GRAINS[grain].floor(after))}'"] if after is not None else []
    return f"(SELECT * FROM {relation} WHERE {' AND '.join(bounds)})"


def _cells(cube: Cube, grain: str, cuboid: int, *, rows: str, stored: str) -> _Comparison:
    dims = "".join(f", {quoted(name)}" for name in cube.kept(cuboid))
    partials = "".join(f", {partial_sql(state)} AS {quoted(state.name)}" for state in cube.states)
    merges = "".join(f", {merge_sql(state)} AS {quoted(state.name)}" for state in cube.states)
    return _Comparison(
        title=f"{grain} cells by {', '.join(cube.kept(cuboid)) or 'nothing'}",
        grain=grain,
        expected=f"""SELECT {_bucket(grain)} AS bucket{dims}, count(*) AS rows{partials}
            FROM {rows} GROUP BY {_bucket(grain)}{dims}""",
        stored=f"""SELECT bucket{dims}, CAST(sum(rows) AS BIGINT) AS rows{merges}
            FROM {stored} WHERE grain = '{grain}' AND cuboid = {cuboid} AND sketch IS NULL GROUP BY bucket{dims}""",
        keys=("bucket", *cube.kept(cuboid)),
        is_slots=False,
    )


def _slots(cube: Cube, grain: str, cuboid: int, sketch: Sketch, *, rows: str, stored: str) -> _Comparison:
    dims = "".join(f", {quoted(name)}" for name in cube.kept(cuboid))
    value, distinct = quoted(sketch.column), sketch.kind == "distinct"
    read = f"CAST({value} AS {'VARCHAR' if distinct else 'DECIMAL(38,9)'})"
    counted = f"""SELECT {_bucket(grain)} AS bucket{dims}, {read} AS fc_value, count(*) AS fc_n
        FROM {rows} WHERE {value} IS NOT NULL GROUP BY ALL"""
    slotted = f"({counted}) JOIN fc_found_{sketch.column} ON fc_value = found"
    if distinct:
        slotted = f"(SELECT *, {_HASH} AS slot FROM ({counted}))"
    if sketch.column == histograms.COUNTS:
        observed = histograms.observed_sql(rows, f"{_bucket(grain)} AS bucket{dims},")
        slotted = f"(SELECT *, n AS fc_n FROM ({observed}))"
    rank = f"row_number() OVER (PARTITION BY bucket{dims} ORDER BY slot)"
    smallest = f" QUALIFY {rank} <= {sketch.most}" if distinct else ""
    return _Comparison(
        title=f"{grain} slots of {sketch.name} by {', '.join(cube.kept(cuboid)) or 'nothing'}",
        grain=grain,
        expected=f"""SELECT bucket{dims}, CAST(slot AS BIGINT) AS slot, CAST(sum(fc_n) AS BIGINT) AS n
            FROM {slotted} GROUP BY bucket{dims}, slot{smallest}""",
        stored=f"""SELECT bucket{dims}, slot, CAST(sum(n) AS BIGINT) AS n FROM {stored}
            WHERE grain = '{grain}' AND cuboid = {cuboid} AND sketch = '{sketch.name}'
            GROUP BY bucket{dims}, slot{smallest}""",
        keys=("bucket", *cube.kept(cuboid), "slot"),
        is_slots=True,
    )


def _find_slots(duck: Duck, sketch: Sketch, rows: str) -> None:
    """The slot of each value that occurs, found by its bounds, in a work table."""
    # Slots without a value between their bounds (tiny ones, on the grid of 9 places) would be found as well.
    bounds = "(SELECT slot, lower FROM fc_buckets WHERE lower >= 0 AND upper > lower)"
    duck.execute(
        f"""CREATE OR REPLACE TEMP TABLE fc_found_{sketch.column} AS
        SELECT found, CASE WHEN found = 0 THEN {buckets.ZERO}
            WHEN found < 0 THEN {buckets.NEGATIVE} - b.slot ELSE b.slot END AS slot
        FROM (SELECT DISTINCT CAST({quoted(sketch.column)} AS DECIMAL(38,9)) AS found FROM {rows}) AS v
        ASOF LEFT JOIN {bounds} AS b ON abs(found) > b.lower"""
    )


def _bucket(grain: str) -> str:
    found = GRAINS[grain]
    if found.months:
        return "CAST(strftime(ts, '%Y-%m-01 00:00:00+00') AS TIMESTAMPTZ)"
    length, origin = found.seconds * 1_000_000, found.origin_s * 1_000_000
    # The remainder takes the sign of the time; the second one makes it count from the bucket's start before 1970 too.
    return f"make_timestamptz(epoch_us(ts) - ((epoch_us(ts) - {origin}) % {length} + {length}) % {length})"


def _compare(duck: Duck, comparison: _Comparison) -> tuple[int, int, list[str], list[date]]:
    """How many were expected, how many differ, the first differences in words, and the days of all."""
    # Equal lines of both sides cancel out; nulls are equal to nulls, as in any GROUP BY.
    duck.execute(
        f"""CREATE OR REPLACE TEMP TABLE fc_compared AS
        SELECT * EXCLUDE (fc_side), sum(fc_side) AS fc_balance, count(*) FILTER (WHERE fc_side = 1) AS fc_count
        FROM (SELECT 1 AS fc_side, * FROM ({comparison.expected})
            UNION ALL BY NAME SELECT -1 AS fc_side, * FROM ({comparison.stored}))
        GROUP BY ALL"""
    )
    try:
        keys = ", ".join(quoted(name) for name in comparison.keys)
        [(count, wrong)] = duck.sql(
            f"""SELECT CAST(coalesce(sum(fc_count), 0) AS BIGINT),
                count(DISTINCT row({keys})) FILTER (WHERE fc_balance <> 0) FROM fc_compared"""
        )
        if not wrong:
            return count, 0, [], []
        columns = [str(row[0]) for row in duck.sql("DESCRIBE fc_compared")]
        shown = duck.sql(
            f"SELECT * FROM fc_compared WHERE fc_balance <> 0 ORDER BY {keys}, fc_balance LIMIT {2 * _SHOWN}"
        )
        days = duck.sql("SELECT DISTINCT CAST(bucket AS DATE) FROM fc_compared WHERE fc_balance <> 0")
        return count, wrong, _in_words(comparison, columns, shown), [day for (day,) in days]
    finally:
        duck.execute("DROP TABLE fc_compared")


def _in_words(comparison: _Comparison, columns: list[str], rows: list[tuple[Any, ...]]) -> list[str]:
    """One text per differing cell: its key, and each column that differs with both values."""
    sides: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in rows:
        named = dict(zip(columns, row, strict=True))
        key = tuple(named[name] for name in comparison.keys)
        sides.setdefault(key, {})["by rows" if named["fc_balance"] > 0 else "stored"] = named
    texts = []
    for key, found in sides.items():
        cell = ", ".join(f"{name}={value}" for name, value in zip(comparison.keys, key, strict=True))
        if len(found) == 1:
            what = "is not stored" if "by rows" in found else "has no rows"
        else:
            by_rows, stored = found["by rows"], found["stored"]
            what = "; ".join(
                f"{name} is {stored[name]}, not {by_rows[name]}"
                for name in columns[:-2]
                if stored[name] != by_rows[name]
            )
        texts.append(f"{comparison.title}: {cell}: {what}")
    return texts


def _strays(duck: Duck, cube: Cube, stored: str, gone: Expired) -> tuple[int, list[str]]:
    """Stored rows of a grain, cuboid or sketch that the definition doesn't have, or that should have aged out."""
    planned = []
    for grain in cube.grains:
        for names, place in gone.places(grain):
            kept = "".join(
                f" OR (sketch = '{sketch.name}' AND cuboid IN ({_numbers(told_cuboids(cube, sketch.cuboids, names))}))"
                for sketch in cube.sketches
                if grain in sketch.grains
            )
            cells = f"cuboid IN ({_numbers(told_cuboids(cube, cube.cuboids, names))})"
            planned.append(f"(grain = '{grain}' AND {place} AND {cells} AND (sketch IS NULL{kept}))")
    rows = duck.sql(
        f"""SELECT grain, cuboid, sketch, count(*) FROM {stored}
        WHERE NOT coalesce({" OR ".join(planned)}, false) GROUP BY ALL ORDER BY ALL"""
    )
    texts = [
        f"{grain} cuboid {cuboid} {sketch or 'cells'}: {count} rows that no definition asks for"
        for grain, cuboid, sketch, count in rows
    ]
    return sum(int(row[3]) for row in rows), texts


def _digests(duck: Duck, cube: Cube, stored: str) -> Iterator[tuple[str, str, str]]:
    """(grain, segment, digest): sums of the digests of the merged lines' texts, so that their order doesn't matter."""
    keys = ["cuboid", "bucket", *map(quoted, cube.dimensions), "sketch", "slot"]
    values = ["sum(n)", "sum(rows)", *map(merge_sql, cube.states)]
    # Times as integers and decimals as their text: another engine makes the same lines.
    fields = ["epoch_us(bucket)" if key == "bucket" else key for key in keys] + values
    line = ", ".join(f"coalesce(CAST({field} AS VARCHAR), '~')" for field in fields)
    for grain in cube.grains:
        lines = f"""SELECT {segment_sql(grain, "bucket")} AS segment, concat_ws('|', {line}) AS line
            FROM {stored} WHERE grain = '{grain}' GROUP BY {", ".join(keys)}{_counting(cube, keys)}"""
        for segment, *sums in duck.sql(
            f"""SELECT segment, count(*), sum(md5_number_lower(line)), sum(md5_number_upper(line))
            FROM ({lines}) GROUP BY segment ORDER BY segment"""
        ):
            text = " ".join(str(part) for part in (cube.digest, grain, segment, *sums))
            yield grain, segment, hashlib.sha256(text.encode()).hexdigest()[:32]


def _counting(cube: Cube, keys: list[str]) -> str:
    """QUALIFY that keeps the hashes which count: merged cells may hold more than each needs."""
    most = "".join(f" WHEN '{one.name}' THEN {one.most}" for one in cube.sketches if one.kind == "distinct")
    if not most:
        return ""
    others = ", ".join(key for key in keys if key != "slot")
    rank = f"row_number() OVER (PARTITION BY {others} ORDER BY slot)"
    return f" QUALIFY coalesce({rank} <= CASE sketch{most} END, true)"


def _numbers(cuboids: Iterable[int]) -> str:
    return ", ".join(str(cuboid) for cuboid in cuboids)
