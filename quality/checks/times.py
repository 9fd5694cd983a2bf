"""Checks on time: a clock that runs ahead, or that never was set."""

from __future__ import annotations

from typing import Final

from quality.checks import Policy, RowCheck, register

# Clocks of a fleet differ; beyond this a row would sit in buckets that readers take for the future.
FUTURE_BOUND_S: Final = 600


@register("ts")
def future(_: Policy) -> RowCheck:
    """More than ten minutes after the moment it was received."""
    ahead = "CAST(date_diff('second', received_at, ts) AS VARCHAR)"
    reason = f"'column ts: ' || CAST(ts AS VARCHAR) || ' lies ' || {ahead} || ' s after it was received'"
    return RowCheck("future", f"ts > received_at + INTERVAL {FUTURE_BOUND_S} SECOND", reason)


@register("ts")
def before_2000(_: Policy) -> RowCheck:
    """Before the year 2000: a clock that was never set, or a wrong unit of time."""
    reason = "'column ts: ' || CAST(ts AS VARCHAR) || ' lies before the year 2000; is the time format right?'"
    return RowCheck("before_2000", "ts < TIMESTAMPTZ '2000-01-01 00:00:00+00'", reason)
