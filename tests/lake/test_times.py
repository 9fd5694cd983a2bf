"""Grains: floors, ceilings and segments."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lake.times import GRAINS, iso

AT = datetime(2026, 3, 31, 23, 57, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("grain", "floor", "ceil", "segment"),
    [
        ("5m", "2026-03-31T23:55:00", "2026-04-01T00:00:00", "2026-03-31"),
        ("1h", "2026-03-31T23:00:00", "2026-04-01T00:00:00", "2026-03"),
        ("1d", "2026-03-31T00:00:00", "2026-04-01T00:00:00", "2026"),
    ],
)
def test_buckets(grain: str, floor: str, ceil: str, segment: str) -> None:
    start, end = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (floor, ceil))
    found = GRAINS[grain]
    assert (found.floor(AT), found.ceil(AT), found.ceil(start)) == (start, end, start)
    assert found.segment_of(found.floor(AT)) == segment
    before = datetime(1969, 12, 31, 23, 59, tzinfo=UTC)
    assert found.floor(before) < before < found.ceil(before)


def test_one_text_form() -> None:
    assert iso(AT) == "2026-03-31T23:57:30.000005Z"
