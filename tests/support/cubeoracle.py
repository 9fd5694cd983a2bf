"""The slow truth about cubes in plain Python: rows to cells and slots by dictionaries, sharing no code with cubes/."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, setcontext
from pathlib import Path
from typing import Any

import pyarrow as pa

from cubes.load import load_cubes
from cubes.model import Cube
from cubes.segments import table_of
from lake import delta, tables
from lake.duck import Duck
from lake.settings import Settings

# Exact: sums of values of very different sizes need more than the usual 28 digits.
setcontext(Context(prec=100))

Cells = dict[tuple[Any, ...], Any]

TEXT = """
cube: small
fact: samples
grains: [5m, 1h, 1d]
dimensions: [site, host, metric]
cuboids: [[site, metric], [host, metric], [metric]]
measures:
  samples: {count: value}
  total: {sum: value}
  lowest: {min: value}
  highest: {max: value}
  time_mean: {time_avg: value}
  covered_s: {sum: interval_s}
  high: {count: {where: "value > 1"}}
  spread: {quantiles: value, relative_error: 0.01, grains: [1h, 1d], without: [host]}
"""
# More measures, to be put behind TEXT.
MORE = """\
  deviation: {stddev: value}
  latest: {last: value}
  pods: {distinct: pod, exact_to: 16, grains: [1h, 1d], without: [host]}
"""
PODS = 17  # hashes that a cell keeps of `pods`
SECONDS = {"5m": 300, "1h": 3600, "1d": 86400}


def small_cube(tmp_path: Path, text: str = TEXT + MORE) -> Cube:
    """A cube of the text's definition."""
    folder = tmp_path / "definitions"
    folder.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(text)
    return load_cubes(folder)["small"]


def random_rows(seed: int, count: int, days: int = 3) -> list[dict[str, Any]]:
    """Samples with nulls, zeros, negative and tiny values, over a few days around the turn of a year."""
    rng = random.Random(seed)
    start = datetime(2025, 12, 31, tzinfo=UTC)
    values = (Decimal(0), Decimal("0.000000001"), Decimal(2), Decimal("-4"), Decimal("700000000000000000.5"))
    return [
        {
            "ts": start + timedelta(microseconds=rng.randrange(days * 86400 * 10**6)),
            "metric": rng.choice(("gpu.power", "cpu.utilization")),
            "value": rng.choice(
                (None, rng.choice(values), *[Decimal(rng.randrange(-(10**12), 10**13)).scaleb(-9)] * 6)
            ),
            "interval_s": rng.choice((None, Decimal("15.000"), Decimal("60.000"))),
            "site": rng.choice(("eu", "us", None)),
            "host": rng.choice(("a", "b", "c", None)),
            "pod": rng.choice((None, "", "pod-é", *(f"pod-{number}" for number in range(40)))),
        }
        for _ in range(count)
    ]


def publish(
    duck: Duck,
    settings: Settings,
    rows: Iterable[dict[str, Any]],
    batch: int,
    removes: Iterable[delta.DataFile] = (),
) -> delta.Snapshot:
    """Publish samples as a gate batch; a row that has a `batch` keeps it (rewritten files hold older rows)."""
    ref = tables.trusted("samples")
    full = [
        {**dict.fromkeys(ref.schema.names), "agent": "t", "boot": "", "seq": place, "idx": 0, "batch": batch, **row}
        | {"day": row["ts"].date()}
        for place, row in enumerate(rows)
    ]
    duck.register("made", pa.Table.from_pylist(full, schema=ref.schema))
    files = duck.write("SELECT * FROM made", settings.lake, ref, f"gate-{batch}", stats=("batch",))
    duck.unregister("made")
    snapshot = delta.open_snapshot(settings.lake, ref)
    return delta.commit(
        settings.lake, ref, snapshot, adds=files if full else [], removes=list(removes), txns={"gate": batch}
    )


def cells_of_rows(rows: Iterable[dict[str, Any]], cuboids: Iterable[tuple[str, ...]]) -> Cells:
    """What the small cube must hold: (grain, cuboid, bucket, values) -> states, and with a slot -> count."""
    made: Cells = defaultdict(lambda: defaultdict(list))
    slots: Cells = defaultdict(int)
    hashes: Cells = defaultdict(lambda: defaultdict(int))
    for row in rows:
        for grain, seconds in SECONDS.items():
            bucket = datetime.fromtimestamp(row["ts"].timestamp() // seconds * seconds, UTC)
            for kept in cuboids:
                key = (grain, kept, bucket, tuple(row[name] for name in kept))
                made[key]["rows"].append(1)
                for name in ("value", "interval_s"):
                    made[key][name].append(row[name])
                made[key]["ts"].append(row["ts"])
                if grain != "5m" and "host" not in kept and row.get("pod") is not None:
                    hashes[key][hash_of(row["pod"])] += 1
                if grain != "5m" and "host" not in kept and row["value"] is not None:
                    slots[(*key, slot_of(row["value"]))] += 1
    smallest = {(*key, found): cell[found] for key, cell in hashes.items() for found in sorted(cell)[:PODS]}
    return {key: _states(cell) for key, cell in made.items()} | dict(slots) | smallest


def hash_of(text: str) -> tuple[str, int]:
    """The 63 bits by which a value is counted, marked so that it is no slot."""
    number = 0
    for place, byte in enumerate(hashlib.md5(text.encode("utf-8")).digest()[:8]):
        number += byte * 256**place
    return ("hash", number // 2)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _states(cell: dict[str, list[Any]]) -> dict[str, Any]:
    values = [value for value in cell["value"] if value is not None]
    weights = [
        weight for value, weight in zip(cell["value"], cell["interval_s"], strict=True) if None not in (value, weight)
    ]
    weighted = [
        value * weight
        for value, weight in zip(cell["value"], cell["interval_s"], strict=True)
        if None not in (value, weight)
    ]
    latest = max(
        ((at, value) for at, value in zip(cell["ts"], cell["value"], strict=True) if value is not None), default=None
    )
    known = [weight for weight in cell["interval_s"] if weight is not None]
    return {
        "rows": len(cell["rows"]),
        "count_value": len(values),
        "sum_value": sum(values) if values else None,
        "min_value": min(values, default=None),
        "max_value": max(values, default=None),
        "weighted_value": sum(weighted) if weighted else None,
        "weight_value": sum(weights) if weights else None,
        "sum_interval_s": sum(known) if known else None,
        "where_high": sum(value > 1 for value in values),
        # Of each square, what stands before the point and what stands after it.
        "squares_value": sum(Decimal(int(value * value)) for value in values) if values else None,
        "fractions_value": sum(value * value - int(value * value) for value in values) if values else None,
        "last_value": latest[1] if latest else None,
        "last_at_value": int((latest[0] - _EPOCH) / timedelta(microseconds=1)) if latest else None,
    }


def slot_of(value: Decimal) -> int:
    """The slot by its definition, in whole numbers: the least i with |value|**64 <= 2**i."""
    if value == 0:
        return -1_000_000
    whole, unit = abs(int(value.scaleb(9))) ** 64, 10**576
    slot = whole.bit_length() - unit.bit_length() - 2
    while whole << max(0, -slot) > unit << max(0, slot):
        slot += 1
    return slot if value > 0 else -2_000_000 - slot


def cells_of_table(duck: Duck, settings: Settings, cube: Cube) -> Cells:
    """What the cube's table holds, merged in Python."""
    merged: Cells = {}
    hashes: Cells = {}
    for row in duck.table(f"SELECT * FROM {duck.scan(delta.open_snapshot(settings.lake, table_of(cube)))}").to_pylist():
        kept = cube.kept(row["cuboid"])
        key = (row["grain"], kept, row["bucket"].astimezone(UTC), tuple(row[name] for name in kept))
        assert all(row[name] is None for name in set(cube.dimensions) - set(kept))
        if row["sketch"] == "distinct:pod":
            found = hashes.setdefault(key, {})
            found[("hash", row["slot"])] = found.get(("hash", row["slot"]), 0) + row["n"]
            continue
        if row["sketch"] is not None:
            merged[(*key, row["slot"])] = merged.get((*key, row["slot"]), 0) + row["n"]
            continue
        cell = merged.setdefault(key, {})
        both = [(one.get("last_at_value"), one.get("last_value")) for one in (cell, row)]
        for name in ("rows", *(state.name for state in cube.states)):
            held = [value for value in (cell.get(name), row[name]) if value is not None]
            merge = {"min": min, "max": max}.get(name.split("_")[0], sum)
            cell[name] = merge(held) if held else None
        if "last_value" in cell:
            cell["last_at_value"], cell["last_value"] = max(
                (pair for pair in both if pair[0] is not None), default=(None, None)
            )
    return merged | {(*key, one): found[one] for key, found in hashes.items() for one in sorted(found)[:PODS]}


def expected(rows: Iterable[dict[str, Any]], cube: Cube) -> Cells:
    """`cells_of_rows` for the cuboids of a cube."""
    names = {"rows", *(state.name for state in cube.states)}
    hashed = any(sketch.kind == "distinct" for sketch in cube.sketches)
    return {
        key: {name: cell[name] for name in names} if isinstance(cell, dict) else cell
        for key, cell in cells_of_rows(rows, [cube.kept(cuboid) for cuboid in cube.cuboids]).items()
        if hashed or not isinstance(key[-1], tuple) or key[-1][:1] != ("hash",)
    }
