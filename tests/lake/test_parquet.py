"""Parquet as texts: digits stay, doubles become their shortest decimal, what has no text is refused by name."""

from __future__ import annotations

import math
import random
import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.duck import Duck
from lake.errors import DefinitionError, TransportError
from lake.lookup_store import lookup_rows
from lake.lookups import load_lookups
from lake.parquet import parquet_rows, parquet_texts, scan_parquet


def read(duck: Duck, path: Path, *names: str) -> list[tuple[Any, ...]]:
    texts = ", ".join(parquet_texts(path, names))
    return duck.sql(f"SELECT {texts} FROM {scan_parquet(path)} ORDER BY file_row_number")


def test_every_type_that_has_a_text(duck: Duck, tmp_path: Path) -> None:
    at = datetime(2026, 3, 1, 4, 5, 6, 7000)
    wanted = {
        "text": (pa.string(), "it's", "it's"),
        "coded": (pa.dictionary(pa.int32(), pa.string()), "a", "a"),
        "whole": (pa.int64(), -(2**63), str(-(2**63))),
        "unsigned": (pa.uint64(), 2**64 - 1, str(2**64 - 1)),
        "exact": (pa.decimal128(38, 20), Decimal("123456789012345678.10000000000000000001"),
                  "123456789012345678.10000000000000000001"),
        "double": (pa.float64(), 0.1, "0.1"),
        "flag": (pa.bool_(), True, "true"),
        "day": (pa.date32(), date(2026, 3, 1), "2026-03-01"),
        "zoned": (pa.timestamp("us", "Europe/Oslo"), at.replace(tzinfo=UTC), "2026-03-01T04:05:06.007Z"),
        "local": (pa.timestamp("ms"), at, "2026-03-01T04:05:06.007"),
        "counts": (pa.list_(pa.int64()), [1, 2, 3], "[1,2,3]"),
        "labels": (pa.map_(pa.string(), pa.string()), [("a", "1")], '{"a":"1"}'),
        "object": (pa.struct([("a", pa.string())]), {"a": "x"}, '{"a":"x"}'),
        "nothing": (pa.null(), None, None),
        "a \"b'": (pa.string(), "quoted", "quoted"),
    }  # fmt: skip
    path = tmp_path / "a.parquet"
    schema = pa.schema([(name, kind) for name, (kind, _, _) in wanted.items()])
    rows = [{name: value for name, (_, value, _) in wanted.items()}, dict.fromkeys(wanted)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    assert read(duck, path, *wanted) == [tuple(text for _, _, text in wanted.values()), (None,) * len(wanted)]
    assert parquet_rows(path) == 2


def test_doubles_are_their_shortest_decimals(duck: Duck, tmp_path: Path) -> None:
    rng = random.Random(7)
    bits = (struct.unpack("d", struct.pack("Q", rng.getrandbits(64)))[0] for _ in range(20_000))
    values = [value for value in bits if math.isfinite(value)] + [rng.randrange(10**9) / 1000 for _ in range(20_000)]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": values, "y": pa.array(values).cast(pa.float32(), safe=False)}), path)
    found = read(duck, path, "x", "y")
    assert [Decimal(text) for text, _ in found] == [Decimal(repr(value)) for value in values]
    singles = pq.read_table(path)["y"].to_pylist()
    back = [struct.unpack("f", struct.pack("f", float(text)))[0] for _, text in found]
    assert back == singles


@pytest.mark.parametrize(
    "kind, value",
    [
        (pa.binary(), b"x"),
        (pa.time64("us"), time(1, 2, 3)),
        (pa.decimal256(60, 2), Decimal("1.10")),
        (pa.list_(pa.float64()), [0.1]),
        (pa.struct([("a", pa.decimal128(10, 2))]), {"a": Decimal("1.10")}),
    ],
)
def test_what_has_no_exact_text_is_refused(tmp_path: Path, kind: pa.DataType, value: Any) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": pa.array([value], kind)}), path)
    with pytest.raises(DefinitionError, match=r"Column 'x' is of type .*, which can't be read"):
        parquet_texts(path, ["x"])


def test_columns_and_files_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"Model": ["a"], "host": ["b"], "HOST": ["c"]}), path)
    for name, told in (("modle", "is missing"), ("model", "the file has Model"), ("host", "is there twice")):
        with pytest.raises(DefinitionError, match=told):
            parquet_texts(path, [name])
    path.write_bytes(b"PAR1 and then nothing of the kind")
    with pytest.raises(TransportError, match="no Parquet file"):
        parquet_texts(path, ["a"])


def test_rows_of_a_lookup(duck: Duck, tmp_path: Path) -> None:
    sites = load_lookups()["sites"]
    rows = [
        {"cluster": "c1", "site": "oslo", "region": None, "country": "NOR", "pue": 1.1, "valid_from": None,
         "valid_to": datetime(2026, 1, 1)},
        {"cluster": "c1", "site": "oslo", "region": "n", "country": "NOR", "pue": 1.15,
         "valid_from": datetime(2026, 1, 1), "valid_to": None},
    ]  # fmt: skip
    path = tmp_path / "sites.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert lookup_rows(duck, sites, path) == (
        ("oslo", "c1", None, "NOR", "1.1", None, "2026-01-01T00:00:00Z"),
        ("oslo", "c1", "n", "NOR", "1.15", "2026-01-01T00:00:00Z", None),
    )
    pq.write_table(pa.Table.from_pylist([*rows, rows[0]]), path)
    with pytest.raises(DefinitionError, match="is there already, on line 1") as caught:
        lookup_rows(duck, sites, path)
    assert caught.value.where == f"{path}:3"
