"""Time zones over UTC buckets: which lengths of bucket a zone's offsets and their changes leave whole.

The engine itself is asked for the offsets, since another copy of the zone data may know other rules.
"""

from __future__ import annotations

from datetime import UTC, datetime
from math import gcd
from typing import TYPE_CHECKING, Final

from cubes.route.span import Window, moment
from lake.duck import text_literal
from lake.errors import QueryError, did_you_mean
from lake.times import EPOCH

if TYPE_CHECKING:
    from lake.duck import Duck

_MOST_YEARS: Final = 60
# (zone, year) -> (moment in microseconds, offset in seconds from then on): asked once in a process.
_known: dict[tuple[str, int], tuple[tuple[int, int], ...]] = {}


def granule_s(zone: str, window: Window, duck: Duck) -> int:
    """The greatest number of seconds that divides each offset of the zone in a range, and each moment of a change.

    Buckets of a length that divides it lie within one bucket of the zone's own clock. 0: the zone is UTC there, so
    every bucket does; 1 for ranges that are open or longer than 60 years. QueryError (22023) for an unknown zone.
    """
    if window.start is None or window.end is None:
        return 1
    years = range(moment(window.start).year, moment(window.end).year + 1)
    if len(years) > _MOST_YEARS:
        return 1
    periods = [period for year in years for period in _periods(zone, year, duck)]
    found = 0
    for place, (start, offset) in enumerate(periods):
        after = periods[place + 1][0] if place + 1 < len(periods) else window.end
        if start >= window.end or after <= window.start:
            continue
        changed = place > 0 and periods[place - 1][1] != offset and start > window.start
        found = gcd(found, offset, start // 10**6 if changed else 0)
    return found


def _periods(zone: str, year: int, duck: Duck) -> tuple[tuple[int, int], ...]:
    """The zone's offsets in a year, each with the moment from which it holds."""
    key = (zone, year)
    if key not in _known:
        start, end = (_us(datetime(at, 1, 1, tzinfo=UTC)) for at in (year, year + 1))
        found = [(at, offset) for at, offset, _ in _changes(zone, start, end, 3600, duck)]
        # A change lies within the hour before the sample that shows it: look at each of its seconds.
        exact = [found[0]]
        for at, _ in found[1:]:
            hour = _changes(zone, at - 3600 * 10**6, at + 1, 1, duck)
            exact += [(second, offset) for second, offset, first in hour if not first]
        _known[key] = tuple(exact)
    return _known[key]


def _changes(zone: str, start: int, end: int, step_s: int, duck: Duck) -> list[tuple[int, int, bool]]:
    """(moment, offset, whether it is the first) of the samples whose offset is not that of the sample before."""
    clock = f"make_timestamptz(us) AT TIME ZONE {text_literal(zone)}"
    text = f"""SELECT us, offset_s, before IS NULL FROM (
            SELECT us, offset_s, lag(offset_s) OVER (ORDER BY us) AS before FROM (
                SELECT us, (epoch_us({clock}) - us) // 1000000 AS offset_s
                FROM range({start}, {end}, {step_s * 10**6}) AS samples(us)))
        WHERE offset_s IS DISTINCT FROM before ORDER BY us"""
    try:
        return [(at, offset, first) for at, offset, first in duck.sql(text)]
    except QueryError:
        names = [name for (name,) in duck.sql("SELECT name FROM pg_timezone_names()")]
        if zone.lower() in {name.lower() for name in names}:
            raise
        near = did_you_mean(zone, names)
        raise QueryError(f"there is no time zone '{zone}'.", todo=near, code="22023") from None


def _us(at: datetime) -> int:
    return (at - EPOCH) // (moment(1) - EPOCH)
