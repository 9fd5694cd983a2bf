"""The same question to trusted rows: every fact and lookup that is left in the tree becomes a scan of pinned files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlglot import exp

from cubes.expired import overlap, spans
from cubes.route.hoist import with_tables
from cubes.route.lower import lower
from cubes.route.past import refuse_lost
from cubes.route.policy import barred
from cubes.route.source import rows_sql
from cubes.route.span import Window
from cubes.route.window import split_window
from cubes.segments import segment_range
from lake.errors import QueryError

if TYPE_CHECKING:
    from cubes.route.statement import Statement
    from cubes.route.view import FactState, View


def pushdown(statement: Statement, view: View) -> Statement:
    """The statement with the engine's SQL: rows where no cube answers, files pruned by the time range around them.

    Pruning is safe below any join: a row outside the range that WHERE sets on its ts can't be part of the result.
    """
    assert statement.tree is not None, "bind comes first"
    tree = statement.tree.copy()
    # Every name of the statement, wherever it stands: joins and inner queries may mean any table's. Means over time,
    # and receipts, weigh by interval_s.
    columns = {"interval_s", *(identifier.name for identifier in tree.find_all(exp.Identifier))}
    scanned = []
    for table in list(tree.find_all(exp.Table)):
        if "fact" in table.meta:
            name, window = table.meta["fact"], _window(table, view)
            _refuse_expired(view.fact(name), window, columns)
            refuse_lost(view, view.fact(name), window)
            scanned.append((name, window))
            mine = {column.name for column in tree.find_all(exp.Column) if column.table == table.alias}
            # A derived dimension costs a join: only those that are meant.
            named = columns - (view.derived(name).keys() - mine)
            _scan(table, rows_sql(view.fact(name), [window], view, named))
        elif "lookup" in table.meta:
            _scan(table, barred(view.duck.scan(view.lookup(table.meta["lookup"])), table.meta["lookup"], view))
    finished = lower(tree)
    held = with_tables(finished)
    answered = tuple(replace(one, rows_sql=f"{held}{one.rows_sql}") for one in statement.answered)
    return replace(
        statement,
        tree=tree,
        scanned=tuple(scanned),
        sql=finished.sql("duckdb"),
        answered=answered if held else statement.answered,
    )


def _refuse_expired(state: FactState, window: Window, named: Collection[str]) -> None:
    """A range without its rows would look like one in which nothing happened."""
    gone = [] if window.empty else overlap(state.expired, *window.moments())
    if not gone:
        return
    cubes = [f"{held.cube.name} ({', '.join(held.cube.grains)})" for held in state.cubes]
    whole = f"whole buckets of what a cube keeps: {'; '.join(cubes)}" if cubes else "a cube, which there is none of"
    raise QueryError(
        f"rows of {state.fact.name} of {spans(gone)} have expired, and no cells that are left can answer this.",
        todo=f"Ask from {gone[-1] + timedelta(days=1)} on (WHERE ts >= ...), or for {whole}.{_told_from(state, named)}",
        code="22023",
    )


def _told_from(state: FactState, named: Collection[str]) -> str:
    """From when on cells tell the named dimensions that have aged out of some, by cube and grain."""
    found = ""
    for held in state.cubes:
        for name in sorted({name for names in held.expired.untold.values() for name in names}.intersection(named)):
            ends = {
                grain: [
                    segment_range(of_grain, segment)[1]
                    for (of_grain, segment), names in held.expired.untold.items()
                    if of_grain == grain and name in names
                ]
                for grain in held.cube.grains
            }
            told = [f"at {grain} {f'from {max(at):%Y-%m-%d} on' if at else 'always'}" for grain, at in ends.items()]
            found += f" {name} has aged out: cube {held.cube.name} tells it {', '.join(told)}."
    return found


def _window(table: exp.Table, view: View) -> Window:
    select = table.find_ancestor(exp.Select)
    where = select.args.get("where") if select is not None else None
    window, _ = split_window(where.this if where is not None else None, table.alias, view.duck)
    # Files of no day at all: an empty range still reads nothing.
    return Window(0, 0) if window.empty else window


def _scan(table: exp.Table, sql: str) -> None:
    table.set("this", exp.Var(this=sql))
