"""How much a percentile of histograms can be off: the width of the buckets that it fell in, told by the receipt.

The answer equals that of the rows; what it is off is what the histograms themselves never said. The receipt asks the
same block once more for both bounds of each group, and names the widest; a value above the last bound (or below the
first) has no bound at all, and a notice says so beside the answer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from cubes.histograms import WORDS
from cubes.route.blocks import blocks
from cubes.route.match import match
from cubes.route.pushdown import pushdown
from cubes.route.rewrite import rewrite
from cubes.route.statement import Statement
from cubes.route.tile import tile

if TYPE_CHECKING:
    import pyarrow as pa

    from cubes.route.view import View

_MIDDLE: Final = WORDS["approx_percentile"]
_BOUNDS: Final = "percentile_low and percentile_high of the same group are its bounds"
_OPEN: Final = "above the last bound or below the first, where a histogram says no more"


def beyond(statement: Statement, table: pa.Table) -> tuple[str, ...]:
    """A notice for each column of an answer with percentiles that lie outside all bounds."""
    found = []
    for place, node in _middles(statement).items():
        values = table.column(place).to_pylist() if node is not None else []
        for bad, words in ((math.inf, "above the last bound"), (-math.inf, "below the first bound")):
            if count := sum(1 for value in values if value == bad):
                name = statement.outputs[place][0]
                end = "percentile_low" if bad > 0 else "percentile_high"
                found.append(f"{name}: {count} of {len(values)} lie {words} of their histograms; {end} names it.")
    return tuple(found)


def widths(statement: Statement, view: View) -> dict[int, dict[str, Any]]:
    """What the receipt says of each output column that is a percentile of histograms: relative_error, and a note."""
    found: dict[int, dict[str, Any]] = {}
    for place, node in _middles(statement).items():
        widest = None if node is None else _widest(statement, node, view)
        note = _OPEN if node is not None and widest is None else "the width of the buckets that the histograms came in"
        found[place] = {"relative_error": widest, "note": f"{note}; {_BOUNDS}"}
    return found


def _middles(statement: Statement) -> dict[int, exp.Expr | None]:
    """Places of outputs that are percentiles of histograms, with the aggregate; None where it stands inside more."""
    found: dict[int, exp.Expr | None] = {}
    for block in statement.blocks:
        items = block.select.expressions
        if not any(_is_middle(node) for node in block.select.find_all(exp.Anonymous)):
            continue
        if [item.alias for item in items] != [name for name, _ in statement.outputs]:
            # Some outer query makes its columns of them: any double may be one.
            found.update({place: None for place, (_, kind) in enumerate(statement.outputs) if kind == "double"})
            continue
        for place, item in enumerate(items):
            bare = item.this.this if isinstance(item.this, exp.Filter) else item.this
            if any(_is_middle(node) for node in item.find_all(exp.Anonymous)):
                found[place] = item.this if _is_middle(bare) else None
    return found


def _is_middle(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name == _MIDDLE


def _widest(statement: Statement, node: exp.Expr, view: View) -> float | None:
    """The greatest error of any group, as a share of its value; None where some has no bound."""
    select = node.find_ancestor(exp.Select)
    assert select is not None, "an aggregate stands in a SELECT"
    asked = select.copy()
    for clause in ("order", "limit", "offset", "distinct"):
        asked.set(clause, None)
    items = []
    for place, word in enumerate(WORDS.values()):
        one = node.copy()
        (one.this if isinstance(one, exp.Filter) else one).set("this", word)
        items.append(exp.alias_(one, f"c{place}", quoted=True))
    asked.set("expressions", items)
    found = Statement(statement.text, statement.raw, asked, tuple((f"c{place}", "double") for place in range(3)))
    for step in (blocks, match, tile, rewrite, pushdown):
        found = step(found, view)
    open_ended = "c0 IS NULL OR isinf(c0) OR isinf(c1) OR isinf(c2) OR (c0 = 0 AND c1 < c2)"
    off = "CASE WHEN c1 = c2 THEN 0 ELSE greatest(c2 - c0, c0 - c1) / abs(c0) END"
    text = f"""SELECT count(*) FILTER (WHERE {open_ended}), max({off}) FILTER (WHERE NOT ({open_ended}))
        FROM ({found.sql}) WHERE c1 IS NOT NULL"""
    unbounded, widest = view.duck.sql(text)[0]
    return None if unbounded else float(widest or 0.0)
