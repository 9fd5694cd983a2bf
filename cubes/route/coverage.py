"""Coverage: the share of the expected time that samples stand for, so that a silent sender shows as missing."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from cubes.route.aliases import aliased
from cubes.route.lower import engine_sql
from cubes.route.span import Window, moment
from cubes.route.statement import Block
from lake import tables
from lake.times import iso

if TYPE_CHECKING:
    from cubes.route.view import View

_SERIES = frozenset(("site", "cluster", "host", "device", "metric"))


def coverage(
    fact: str, window: Window, block: Block | None, present_s: Decimal | None, view: View
) -> dict[str, Any] | None:
    """{share, present_s, expected_s}, or {share: None, reason}; None for facts whose rows stand for no time.

    `expected_s` adds up, over the roster's series that the predicate lets through, the seconds of the range in which
    each was expected.
    """
    if fact != "samples":
        return None
    roster = view.table(tables.lookup("roster"))
    if not roster.exists or roster.rows == 0:
        return {"share": None, "reason": "no roster says which series are expected"}
    if window.start is None or window.end is None:
        return {"share": None, "reason": "the range is open"}
    if block is None or block.reason:
        return {"share": None, "reason": "the predicate can't be set against the roster"}
    if block.beside:
        return {"share": None, "reason": "a lookup is joined"}
    if block.where is not None and {column.name for column in block.where.find_all(exp.Column)} - _SERIES:
        return {"share": None, "reason": "the predicate names more than the roster's columns"}
    start, end = (f"TIMESTAMPTZ '{iso(moment(at))}'" for at in (window.start, window.end))
    where = f" WHERE {engine_sql(block.where)}" if block.where is not None else ""
    alias = exp.to_identifier(block.alias, quoted=True).sql("duckdb")
    text = f"""SELECT coalesce(sum(greatest(0, epoch_us(least(coalesce(valid_to, {end}), {end}))
        - epoch_us(greatest(coalesce(valid_from, {start}), {start})))), 0)
        FROM {aliased(view.duck.scan(roster), _SERIES, view)} AS {alias}{where}"""
    expected_s = Decimal(view.duck.sql(text)[0][0]) / 1_000_000
    present = present_s or Decimal(0)
    if expected_s == 0:
        return {"share": None, "reason": "the roster expects nothing in the range"}
    share = float(round(present / expected_s, 6))
    return {"share": share, "present_s": str(present), "expected_s": str(expected_s)}
