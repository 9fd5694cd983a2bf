from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from cubes.load import load_cubes
from cubes.segments import bucket_us_sql, segment_range, segment_sql, table_of, touched_segments
from lake.duck import Duck
from lake.times import GRAINS


@pytest.mark.parametrize(
    "grain, segment, first, after",
    [
        ("5m", "2026-02-28", "2026-02-28", "2026-03-01"),
        ("1h", "2028-02", "2028-02-01", "2028-03-01"),
        ("1h", "2026-12", "2026-12-01", "2027-01-01"),
        ("1d", "2028", "2028-01-01", "2029-01-01"),
        ("1d", "2027", "2027-01-01", "2028-01-01"),
    ],
)
def test_segment_ranges(grain: str, segment: str, first: str, after: str) -> None:
    assert [moment.isoformat()[:10] for moment in segment_range(grain, segment)] == [first, after]


def test_touched_segments_of_days() -> None:
    days = [date(2025, 12, 31), date(2026, 1, 1)]
    assert touched_segments(["5m", "1d"], days) == {
        ("5m", "2025-12-31"), ("5m", "2026-01-01"), ("1d", "2025"), ("1d", "2026"),
    }  # fmt: skip
    assert touched_segments(["1h"], []) == set()


@pytest.mark.parametrize("grain", list(GRAINS))
@pytest.mark.parametrize("text", ["1969-12-31T23:59:59.999999", "1970-01-01T00:00:00", "2026-02-28T23:59:59.999999"])
def test_buckets_and_segments_in_sql_are_those_of_python(duck: Duck, grain: str, text: str) -> None:
    ts = datetime.fromisoformat(text).replace(tzinfo=UTC)
    micros = (ts - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    bucket = f"make_timestamptz({bucket_us_sql(grain, str(micros))})"
    expected = GRAINS[grain].floor(ts)
    assert duck.sql(f"SELECT {bucket}, {segment_sql(grain, bucket)}") == [
        (expected, GRAINS[grain].segment_of(expected))
    ]


def test_the_table_has_the_definition_in_its_name_and_a_column_for_each_state() -> None:
    cube = load_cubes()["serving"]
    ref = table_of(cube)
    assert ref.path(Path("lake")) == Path("lake/cubes/serving") / cube.digest
    assert [state.name for state in cube.states] == ref.schema.names[-1 - len(cube.states) : -1]
    assert str(ref.schema.field("sum_e2e_ms").type) == "decimal128(38, 6)"
    assert ref.partitions == ("grain", "segment")
