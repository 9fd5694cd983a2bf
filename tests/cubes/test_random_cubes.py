"""Random cubes over random rows in a random life: every value of every cell is what plain Python says.

FLEETCUBE_TEST_EXAMPLES=500 tries that many other examples; what fails prints its definition, its steps, and the code
that reruns it.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from askedcube import ask_all
from histogramoracle import observations, percentile
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st
from pastoracle import Past
from randomcubes import definition_text, definitions
from randomlake import POINTS, Lake
from randomworld import World, clean_lake
from valueoracle import Form, Key, agrees, cells, distinct, percentiles, slot, tally, values

from cubes import buckets, histograms, measures
from cubes.distinct import count_sql, smallest_sql

SHARES = ("0", "0.01", "0.25", "0.5", "0.9", "0.999", "1")
LONG = int(os.environ.get("FLEETCUBE_TEST_EXAMPLES", "0"))
_KINDS = ("take",) * 6 + ("land",) * 2 + ("build",) * 2 + ("lookup", "check", "check", *["retain"] * 5, *sorted(POINTS))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(_KINDS),
        st.integers(0, 10**6),
        st.none() | st.tuples(st.integers(0, 5), st.integers(1, 2)),
    ),
    min_size=2,
    max_size=12,
)
LENGTHS_S = {"5s": 5, "15s": 15, "30s": 30, "1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "1d": 86400}
WORDS = tuple(histograms.WORDS.values())  # the middle, the lower and the upper end
READ = {"decimal": Decimal, "integer": int}
Cells = Mapping[Key, list[dict[str, Any]]]
CHUNKS = st.sampled_from((1, 30, 8_000_000))


# A life in which much happens, whatever chance brings.
BY_HAND = Form(
    fact="samples",
    grains=("5m", "1h", "1d", "1w"),
    week_starts="wednesday",
    dimensions=("metric", "site"),
    joins=(),
    bands=(("band0", "value", ("0", "2", "15")),),
    cuboids=(("metric",),),
    groups=(),
    measures={
        "rows": {"count": "*"},
        "mean": {"time_avg": "value"},
        "latest": {"last": "value"},
        "spread": {"quantiles": "value", "grains": ["1h", "1d", "1w"]},
        "pods": {"distinct": "pod", "grains": ["1d", "1w"], "exact_to": 16},
    },
)
LIFE = [
    ("take", 53, None), ("take", 52, None), ("merge", 1, None), ("refresh", 3, (1, 1)), ("take", 57, (3, 1)),
    ("compact", 2, None), ("undo", 1, (0, 1)), ("build", 1, None), ("vacuum", 1, None),
]  # fmt: skip


# One in which rows, cells and dimensions expire, with names that change and histograms of many bounds.
AGEING = Form(
    fact="samples",
    grains=("5m", "1h", "1d", "1mo"),
    week_starts="monday",
    dimensions=("metric", "site", "host"),
    joins=(),
    bands=(),
    cuboids=(("metric", "host"), ("metric", "site"), ("metric",)),
    groups=(),
    measures={
        "rows": {"count": "*"},
        "mean": {"time_avg": "value"},
        "spread": {"stddev": "value"},
        "pods": {"distinct": "pod", "grains": ["1h", "1d", "1mo"], "exact_to": 16, "without": ["host"]},
        "delay": {"quantiles": "counts", "grains": ["1h", "1d", "1mo"], "without": ["site"]},
    },
    keep={"5m": 10, "1h": 100},
    age_out={"host": 45, "site": 400},
)
AGES = [
    ("take", 53, None), ("lookup", 8, None), ("take", 17, None), ("retain", 5, None), ("take", 18, None),
    ("lookup", 9, None), ("build", 1, None), ("retain", 12, (1, 2)), ("take", 55, None), ("erase", 3, None),
    ("merge", 1, None), ("build", 1, None), ("compact", 2, None), ("retain", 3, (2, 1)), ("check", 1, None),
]  # fmt: skip


def live(form: Form, steps: Iterable[Any], *, seed: int, chunk_rows: int, really: bool = False) -> World:
    """Go through the steps, then compare every cell with the oracle, and all digests with one clean build.

    Cells are compared on the way too, wherever the cube must hold all that was sent.
    """
    folder = Path(tempfile.mkdtemp())
    try:
        world = World(folder / "lived", form, chunk_rows=chunk_rows, really=really)
        for step in [("land", seed, None), *steps]:
            world.step(*step)
            if step[0] in ("retain", "check") and world.settled:
                told(world, seed)
        world.finish()
        world.agrees()
        told(world, seed)
        survivors = world.survivors()
        if not world.past and (survivors or world.lake.built):
            once = clean_lake(folder / "clean", world) if survivors else None
            assert world.lake.verified().digests == (once.verified().digests if once else ())
        return world
    finally:
        shutil.rmtree(folder)


def told(world: World, seed: int) -> None:
    """Every cell, and some answers by the names of now, are what the rows say."""
    if not world.lake.built:
        return
    world.lake.verified()
    rows = world.held()
    compare(world.lake, world.form, world.past.left(cells(world.form, rows)), world.past)
    ask_all(world.lake, world.form, rows, world.past, world.aliases, seed)


@pytest.mark.timeout(0 if LONG else 1200)
@given(definitions(), STEPS, st.integers(0, 10**6), CHUNKS)
@example(BY_HAND, LIFE, 51, 30)
@example(AGEING, AGES, 51, 30)
@settings(max_examples=LONG or 25, derandomize=not LONG, suppress_health_check=list(HealthCheck))
def test_every_cell_is_what_its_rows_say(form: Form, steps: list[Any], seed: int, chunk_rows: int) -> None:
    note(definition_text(form))
    live(form, steps, seed=seed, chunk_rows=chunk_rows)


@pytest.mark.timeout(0 if LONG else 1200)
@given(definitions(), STEPS, st.integers(0, 10**6), CHUNKS)
@settings(max_examples=max(3, LONG // 20), derandomize=not LONG, suppress_health_check=list(HealthCheck))
def test_the_same_where_the_kernel_kills(form: Form, steps: list[Any], seed: int, chunk_rows: int) -> None:
    note(definition_text(form))
    live(form, steps, seed=seed, chunk_rows=chunk_rows, really=True)


def test_a_life_by_hand_in_which_all_of_it_expires() -> None:
    """So that random lives need not happen to meet each kind of deletion."""
    world = live(AGEING, AGES, seed=51, chunk_rows=30)
    assert len(world.past.days) > 3
    assert {grain for grain, _ in world.past.segments} == {"5m", "1h"}
    assert {name for names in world.past.untold.values() for name in names} == {"host", "site"}
    assert world.kills
    assert world.frozen


def compare(lake: Lake, form: Form, wanted: Cells, past: Past) -> None:
    """Every measure of every cell, and every slot and hash beside it, against the oracle's."""
    cube = lake.cube
    measures.install(lake.duck)
    assert {cube.kept(cuboid) for cuboid in cube.cuboids} == form.kept()
    names = [name for name, measure in form.measures.items() if not set(measure) & {"quantiles", "distinct"}]
    found = {key: dict(zip(names, told, strict=True)) for key, *told in _stored(lake, names)}
    assert found.keys() == wanted.keys()
    for key, rows in wanted.items():
        for name, value in values(form, key, rows).items():
            assert agrees(found[key][name], value), (key, name, found[key][name], value)
    for name, measure in form.measures.items():
        checks = {"quantiles": _compare_slots, "distinct": _compare_hashes}
        for kind in checks.keys() & measure.keys():
            check = _compare_histograms if measure[kind] == "counts" else checks[kind]
            kept = {key: rows for key, rows in wanted.items() if past.keeps(form, measure, key)}
            check(lake, name, measure[kind], kept)


def _stored(lake: Lake, names: list[str]) -> Iterator[tuple[Any, ...]]:
    """(key, the named measures' values) of each merged cell."""
    known = {measure.name: measure for measure in lake.cube.measures}
    split = {state.column for state in lake.cube.states if state.function == "fractions"}
    month = "epoch_us(bucket + INTERVAL 1 MONTH) - epoch_us(bucket)"
    cases = " ".join(f"WHEN '{grain}' THEN {seconds}" for grain, seconds in LENGTHS_S.items())
    seconds = f"(CASE grain {cases} WHEN '1mo' THEN ({month}) // 1000000 ELSE 604800 END)"
    finals = "".join(
        f", {measures.final_sql(known[name], seconds=seconds, split=known[name].column in split, others=known)}"
        for name in names
    )
    merges = "".join(f", {measures.merge_sql(state)} AS {measures.quoted(state.name)}" for state in lake.cube.states)
    dims = "".join(f", {measures.quoted(name)}" for name in lake.cube.dimensions)
    by = f"grain, cuboid, bucket{dims}"
    cells = f"SELECT {by}, CAST(sum(rows) AS BIGINT) AS rows{merges} FROM {lake.cells()} WHERE sketch IS NULL"
    for row in lake.duck.sql(f"SELECT grain, cuboid, epoch_us(bucket){dims}{finals} FROM ({cells} GROUP BY {by})"):
        yield _key(lake, row), *row[3 + len(lake.cube.dimensions) :]


def _key(lake: Lake, row: tuple[Any, ...]) -> Key:
    """Of a row that begins with grain, cuboid, start and the dimensions."""
    grain, cuboid, start = row[:3]
    named = dict(zip(lake.cube.dimensions, row[3:], strict=False))
    for one in lake.cube.derived:
        # Cells keep what a lookup says as its text.
        if not one.edges and named[one.name] is not None:
            named[one.name] = READ.get(one.type, str)(named[one.name])
    kept = lake.cube.kept(cuboid)
    assert all(named[name] is None for name in lake.cube.dimensions if name not in kept)
    return ("1w" if grain.startswith("1w") else grain, kept, start, tuple(named[name] for name in kept))


def _columns(lake: Lake) -> str:
    return ", ".join(["grain", "cuboid", "started", *map(measures.quoted, lake.cube.dimensions)])


def _made(lake: Lake, columns: str, where: str) -> str:
    """Relation of the table's rows with `k`, a text that names the cell, and `started`, its start in microseconds."""
    dims = [measures.quoted(name) for name in lake.cube.dimensions]
    texts = ", ".join(f"coalesce(CAST({name} AS VARCHAR), '~')" for name in ("grain", "cuboid", "bucket", *dims))
    cell = ", ".join(["grain", "cuboid", "epoch_us(bucket) AS started", *dims])
    return f"(SELECT concat_ws('|', {texts}) AS k, {cell}, {columns} FROM {lake.cells()} WHERE {where} GROUP BY ALL)"


def _of(rows: list[dict[str, Any]], column: str) -> list[Any]:
    return [row[column] for row in rows if row[column] is not None]


def _held(lake: Lake, slots: str, cells: str) -> dict[Key, dict[int, int]]:
    found: dict[Key, dict[int, int]] = {}
    for row in lake.duck.sql(f"SELECT {_columns(lake)}, slot, n FROM {slots} JOIN {cells} USING (k)"):
        found.setdefault(_key(lake, row), {})[row[-2]] = row[-1]
    return found


def _compare_slots(lake: Lake, name: str, column: str, wanted: Cells) -> None:
    """Slots are equal, percentiles over them within their bound."""
    slots = _made(lake, "slot, CAST(sum(n) AS BIGINT) AS n", f"sketch = '{column}'")
    slots = f"(SELECT k, slot, n FROM {slots})"
    ends = ", ".join(f'{end}("{end}_{column}") AS lowest_{end}' for end in ("min", "max"))
    cells = _made(lake, ends, "sketch IS NULL")
    exact = {key: tally(map(slot, _of(rows, column))) for key, rows in wanted.items()}
    assert _held(lake, slots, cells) == {key: found for key, found in exact.items() if found}
    asked = [
        buckets.quantile_sql(function, share, "lowest_min", "lowest_max")
        for share in SHARES
        for function in ("percentile_disc", "percentile_cont")
    ]
    ranked = f"({buckets.ranked_sql(slots, ['k'])})"
    sql = f"SELECT {_columns(lake)}, {', '.join(asked)} FROM {ranked} JOIN {cells} USING (k)"
    for row in lake.duck.sql(f"{sql} GROUP BY k, {_columns(lake)}, lowest_min, lowest_max"):
        key = _key(lake, row)
        pairs = [value for both in percentiles(wanted[key], column, SHARES) for value in both]
        for told, true in zip(row[-len(pairs) :], pairs, strict=True):
            assert true is None or _near(told, true), (name, key, row, pairs)


def _compare_histograms(lake: Lake, name: str, column: str, wanted: Cells) -> None:
    """What is known of each observation is its bucket's ends; percentiles are read at the rank among them."""
    slots = _made(lake, "slot, CAST(sum(n) AS BIGINT) AS n", f"sketch = '{column}'")
    cells = _made(lake, "sum(rows)", "sketch IS NULL")
    exact = {
        key: [ends for row in rows for ends in observations(row, {row["bounds_id"] or "": row["edges"]})]
        for key, rows in wanted.items()
    }
    held: dict[Key, Counter[tuple[str, ...]]] = {}
    ends = "fc_low_end(fc_lo(slot)) AS low_end, fc_high_end(fc_hi(slot)) AS high_end"
    for row in lake.duck.sql(
        f"SELECT {_columns(lake)}, {ends}, n FROM (SELECT k, slot, n FROM {slots}) JOIN {cells} USING (k)"
    ):
        held.setdefault(_key(lake, row), Counter())[_written(row[-3:-1])] += row[-1]
    assert held == {key: Counter(map(_written, known)) for key, known in exact.items() if known}
    terms = {f"p{place}_{word}": (word, share) for place, share in enumerate(SHARES[1:5]) for word in WORDS}
    asked = histograms.percentiles_sql(f"(SELECT k, slot, n FROM {slots})", ["k"], terms)
    for row in lake.duck.sql(f"SELECT {_columns(lake)}, {', '.join(terms)} FROM ({asked}) JOIN {cells} USING (k)"):
        key = _key(lake, row)
        wants = [value for share in SHARES[1:5] for value in percentile(exact[key], share)]
        for found, true in zip(row[-len(wants) :], wants, strict=True):
            assert _close(found, true), (name, key, row, wants, sorted(exact[key]))


def _close(found: float | None, true: float | None) -> bool:
    if found is None or true is None:
        return found is true
    return math.isclose(found, true, rel_tol=1e-12, abs_tol=1e-12)


def _written(ends: Iterable[float]) -> tuple[str, ...]:
    """Ends to 13 digits, as engines differ in the last of a power."""
    return tuple(f"{end + 0.0:.12e}" for end in ends)


def _near(told: float, true: Fraction) -> bool:
    """Within the bound of the slots, but for what a double itself leaves out."""
    return abs(Fraction(told) - true) <= abs(true) * (Fraction("0.005416") + Fraction(1, 10**12))


def _compare_hashes(lake: Lake, name: str, column: str, wanted: Cells) -> None:
    """The smallest hashes are equal, and the counts that they tell."""
    most = next(one.exact_to for one in lake.cube.measures if one.name == name) + 1
    hashes = _made(lake, "slot, CAST(sum(n) AS BIGINT) AS n", f"sketch = 'distinct:{column}'")
    smallest = f"({smallest_sql(f'(SELECT k, slot, n FROM {hashes})', ['k'], most)})"
    cells = _made(lake, "sum(rows)", "sketch IS NULL")
    exact = {key: distinct(rows, column, most - 1) for key, rows in wanted.items()}
    assert _held(lake, smallest, cells) == {key: found for key, (found, _) in exact.items() if found}
    sql = f"SELECT {_columns(lake)}, {count_sql(most)} FROM {smallest} JOIN {cells} USING (k)"
    for row in lake.duck.sql(f"{sql} GROUP BY k, {_columns(lake)}"):
        assert row[-1] == exact[_key(lake, row)][1], (name, row)
