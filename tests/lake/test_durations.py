"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from lake.durations import named_seconds, seconds_of, told
from lake.errors import ConfigError


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("5m", 300), ("6h", 21_600), (" 1d ", 86_400)])
def test_lengths(text: str, seconds: int) -> None:
    assert seconds_of(text, "--every") == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "0s", "-1m", "5 m", "1.5h", "5M", "٣m", "99999999s"])
def test_what_is_no_length(text: str) -> None:
    with pytest.raises(ConfigError, match="is no length of time"):
        seconds_of(text, "--every")


def test_lists_by_name() -> None:
    assert named_seconds("upkeep=1h, verify=30s", {"upkeep", "verify"}, "x") == {"upkeep": 3600, "verify": 30}
    assert named_seconds("", {"upkeep"}, "x") == {}
    with pytest.raises(ConfigError, match=r"setting run_intervals.*no 'upkep'.*Did you mean 'upkeep'"):
        named_seconds("upkep=1h", {"upkeep", "verify"}, "setting run_intervals")


def test_lengths_for_people() -> None:
    assert [told(seconds) for seconds in (0.4, 119, 120, 5399, 5400)] == ["0 s", "119 s", "2 min", "90 min", "1.5 h"]
