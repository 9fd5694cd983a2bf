"""Percentiles of histograms: `approx_percentile(counts, 0.95)` and its bounds, `percentile_low` and `percentile_high`.

They are of the observations behind a fact's rows (see `cubes.histograms`), so they need more of a row than the column
that they name; this pass writes down what. Rows and cells give the same value, to the bit: the slots are all that is
known of a histogram anyway, and so its percentile may stand anywhere in a statement.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlglot import exp

from cubes.histograms import BESIDE, COUNTS, WORDS
from cubes.shares import share_of
from lake.errors import QueryError

if TYPE_CHECKING:
    from cubes.route.statement import Statement
    from cubes.route.view import View

_ENDS: Final = ("percentile_low", "percentile_high")


def observed(statement: Statement, view: View) -> Statement:
    """The statement with percentiles of `counts` as functions of all that they are made of.

    Errors: QueryError for any other percentile of `counts`, and for percentile_low and percentile_high of what is no
    histogram.
    """
    assert statement.tree is not None, "bind comes first"
    if not any(_of_counts(column) for column in statement.tree.find_all(exp.Column)) and not any(
        node.name in _ENDS for node in statement.tree.find_all(exp.Anonymous)
    ):
        return statement
    tree = statement.tree.copy()
    for plain in list(tree.find_all(exp.PercentileCont, exp.PercentileDisc)):
        ordered = plain.parent.expression if isinstance(plain.parent, exp.WithinGroup) else None
        if ordered is not None and any(_of_counts(column) for column in ordered.find_all(exp.Column)):
            todo = "Write approx_percentile(counts, 0.95)."
            raise QueryError("a histogram's observations have no order of their own.", todo=todo, code="42883")
    for node in [node for node in tree.find_all(exp.Anonymous) if node.name in WORDS]:
        value, share = node.expressions
        if not _of_counts(value):
            if node.name in _ENDS:
                todo = f"Write {node.name}(counts, 0.95), or percentile_cont for a plain number."
                raise QueryError(f"{node.name}() takes the counts of histograms.", todo=todo, code="42883")
            continue
        _check(node, value)
        share_of(share.name if isinstance(share, exp.Literal) else share.sql("postgres"))
        beside = [exp.column(name, table=value.args["table"].copy(), quoted=True) for name in BESIDE]
        node.set("this", WORDS[node.name])
        node.set("expressions", [value, share, *beside])
    return replace(statement, tree=tree)


def _of_counts(node: exp.Expr) -> bool:
    return isinstance(node, exp.Column) and node.meta.get("type") == COUNTS


def _check(node: exp.Anonymous, value: exp.Expr) -> None:
    """The counts must be those of a fact's row, beside its other columns, and be read in groups."""
    select = node.find_ancestor(exp.Select)
    sources = [select.args.get("from_"), *(select.args.get("joins") or ())] if select is not None else []
    tables = [source.this for source in sources if source is not None]
    if not any("fact" in table.meta and table.alias == value.args["table"].name for table in tables):
        todo = "Take it where the fact stands in FROM, and select its value outside."
        raise QueryError(f"{node.name}() reads rows of a fact, not of a sub-query.", todo=todo, code="0A000")
    if isinstance(node.parent, exp.Window):
        raise QueryError("a percentile can't be a window function.", todo="Group in a sub-query.", code="0A000")
