"""Measures of a definition: the states and sketches that they become, and errors that say what to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from cubeoracle import TEXT, small_cube

from cubes.model import Sketch
from lake.errors import DefinitionError


def test_every_function_becomes_states_and_sketches(tmp_path: Path) -> None:
    functions = ("variance", "var_pop", "stddev", "stddev_pop", "last", "rate", "integral", "coverage")
    more = "".join(f"  m_{name}: {{{name}: value}}\n" for name in functions)
    text = TEXT + more + "  pods: {distinct: pod, without: [host]}\n  share: {ratio: {of: high, over: samples}}\n"
    cube = small_cube(tmp_path, text)
    assert [state.name for state in cube.states] == [
        "count_value", "fractions_value", "last_at_value", "last_value", "max_value", "min_value", "squares_value",
        "sum_interval_s", "sum_value", "weight_value", "weighted_value", "where_high",
    ]  # fmt: skip
    assert cube.sketches == (
        Sketch("pod", ("5m", "1h", "1d"), (0b100, 0b101), "distinct", 1025),
        Sketch("value", ("1h", "1d"), (0b100, 0b101)),
    )
    assert [sketch.name for sketch in cube.sketches] == ["distinct:pod", "value"]
    [share] = [measure for measure in cube.measures if measure.name == "share"]
    assert (share.function, share.of, share.over) == ("ratio", "high", "samples")


def test_how_many_hashes_are_kept_is_part_of_the_digest(tmp_path: Path) -> None:
    digests = {
        small_cube(tmp_path, TEXT + f"  pods: {{distinct: pod{more}}}\n").digest for more in ("", ", exact_to: 16")
    }
    assert len(digests) == 2


@pytest.mark.parametrize(
    "measure, message",
    [
        ("{distinct: value}", "values of type 'decimal' are not counted as distinct ones"),
        ("{distinct: pod, exact_to: 3}", "exact_to"),
        ("{distinct: pod, relative_error: 0.1}", "relative_error belongs to quantiles"),
        ("{sum: value, exact_to: 99}", "exact_to belongs to distinct"),
        ("{distinct: pod, grains: [5m]}", "distinct are kept at the coarsest grains"),
        ("{last: pod}", "type 'string' has no last"),
        ("{stddev: pod}", "type 'string' has no"),
        ("{ratio: {of: hihg, over: samples}}", "Did you mean 'high'"),
        ("{ratio: {of: time_mean, over: samples}}", "'time_mean' neither counts nor adds up"),
    ],
)
def test_errors_say_what_is_wrong(tmp_path: Path, measure: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        small_cube(tmp_path, TEXT + f"  more: {measure}\n")
