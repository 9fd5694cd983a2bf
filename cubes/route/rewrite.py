"""A block's answer as one relation: partial states from cells and rows, merged once, under the user's own SELECT.

The relation has a column per key (k0, ...) and per aggregate (a0, ...); the SELECT around it keeps its expressions,
HAVING (as WHERE), DISTINCT, windows, order and limit. Slots of percentiles are merged beside and joined by the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot import exp

from cubes.buckets import quantile_sql, ranked_sql, slots_sql
from cubes.route.kinds import kind
from cubes.route.lower import engine_sql
from cubes.route.source import Source, sources
from lake.errors import QueryError

if TYPE_CHECKING:
    from cubes.route.statement import Block, Part, Quantile, Statement, Term
    from cubes.route.tile import Plan
    from cubes.route.view import View

_RELATION = "fc_block"


@dataclass(frozen=True)
class Answered:
    """A block that cubes answer, with the SQL that counts the rows behind it."""

    fact: str
    plan: Plan
    rows_sql: str


def rewrite(statement: Statement, view: View) -> Statement:
    """The statement's tree with every planned block in terms of cells and edges."""
    tree, answered = statement.tree, []
    for block, plan in zip(statement.blocks, statement.plans, strict=True):
        if plan is None:
            continue
        read = sources(plan, view)
        select = _outer(block, _relation(block, plan, read))
        answered.append(Answered(block.fact, plan, _rows_sql(block, plan, read)))
        if block.select is tree:
            tree = select
        else:
            block.select.replace(select)
    return replace(statement, tree=tree, answered=tuple(answered))


def _relation(block: Block, plan: Plan, read: Sequence[Source]) -> str:
    """SQL of the merged relation, in brackets."""
    keys = list(block.keys)
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    merged = ", ".join([*keys, *(_merge(part) for part in block.parts)]) or "1 AS one"
    union = " UNION ALL ".join(_partial(block, plan, source) for source in read)
    states = f"SELECT {merged} FROM ({union}){group}"
    finals = [f"{term.final} AS {term.name}" for term in block.terms if term.quantile is None]
    tables = [f"fc_merged AS MATERIALIZED ({states})"]
    joins = "fc_merged"
    for place, terms in enumerate(_by_slots(block)):
        tables.append(f"fc_q{place} AS ({_quantiles(block, plan, read, terms)})")
        same = " AND ".join(f"fc_merged.{key} IS NOT DISTINCT FROM fc_q{place}.{key}" for key in keys) or "true"
        joins += f" LEFT JOIN fc_q{place} ON {same}"
        finals += [f"fc_q{place}.{term.name} AS {term.name}" for term in terms]
    columns = ", ".join([*(f"fc_merged.{key}" for key in keys), *finals]) or "one"
    if len(tables) == 1:
        return f"(SELECT {columns} FROM ({states}) AS fc_merged)"
    return f"(WITH {', '.join(tables)} SELECT {columns} FROM {joins})"


def _partial(block: Block, plan: Plan, source: Source) -> str:
    """Keys and states of one source, one row for each cell or fact row."""
    columns = [f"{engine_sql(node)} AS {name}" for name, node in block.keys.items()]
    for part in block.parts:
        value = _state(part, plan, source)
        columns.append(f"CAST({value} AS {part.type}) AS {part.name}" if part.type else f"{value} AS {part.name}")
    return f"SELECT {', '.join(columns) or '1 AS one'} FROM {source.sql} AS {_quoted(block.alias)}{_where(block)}"


def _state(part: Part, plan: Plan, source: Source) -> str:
    if not source.cells:
        return engine_sql(part.row)
    kept = plan.kept.get(part.name)
    return _quoted(kept) if kept else engine_sql(part.cell)


def _where(block: Block, *more: exp.Expr | None) -> str:
    conditions = [node for node in (block.where, *more) if node is not None]
    return f" WHERE {' AND '.join(f'({engine_sql(node)})' for node in conditions)}" if conditions else ""


def _merge(part: Part) -> str:
    if part.merge == "distinct":
        return f"count(DISTINCT {part.name}) AS {part.name}"
    merged = f"{part.merge}({part.name})"
    return f"CAST({merged} AS {part.type}) AS {part.name}" if part.type else f"{merged} AS {part.name}"


def _by_slots(block: Block) -> list[list[Term]]:
    """Percentiles of the same column under the same condition share their slots."""
    found: dict[tuple[str, exp.Expr | None], list[Term]] = {}
    for term in block.terms:
        if term.quantile is not None:
            found.setdefault((term.quantile.column, term.quantile.condition), []).append(term)
    return list(found.values())


def _quantiles(block: Block, plan: Plan, read: Sequence[Source], terms: Sequence[Term]) -> str:
    """Keys and percentiles: slots of cells and rows, ranked, then read off; clipped by the exact extremes."""
    wanted = [term.quantile for term in terms if term.quantile is not None]
    keys = list(block.keys)
    slots = " UNION ALL ".join(_slots(block, plan, source, wanted[0]) for source in read)
    ranked = ranked_sql(f"({slots})", keys)
    same = " AND ".join(f"fc_ranked.{key} IS NOT DISTINCT FROM fc_merged.{key}" for key in keys) or "true"
    values = [
        f"{quantile_sql(one.function, one.share, _extreme('min', one.low), _extreme('max', one.high))} AS {term.name}"
        for term, one in zip(terms, wanted, strict=True)
    ]
    grouped = [f"fc_ranked.{key}" for key in keys]
    group = f" GROUP BY {', '.join(grouped)}" if grouped else ""
    columns = ", ".join([*grouped, *values])
    return f"SELECT {columns} FROM ({ranked}) AS fc_ranked JOIN fc_merged ON {same}{group}"


def _extreme(function: str, part: str) -> str:
    return f"{function}(fc_merged.{part})"


def _slots(block: Block, plan: Plan, source: Source, quantile: Quantile) -> str:
    keys = [f"{engine_sql(node)} AS {name}" for name, node in block.keys.items()]
    condition = quantile.condition
    if source.cells:
        slots = source.slots[quantile.column]
        where = _where(block, condition)
        return f"SELECT {', '.join([*keys, 'slot', 'n'])} FROM {slots} AS {_quoted(block.alias)}{where}"
    value = exp.column(quantile.column, table=block.alias, quoted=True)
    columns = ", ".join([*keys, f"{slots_sql(engine_sql(value))} AS slot", "1 AS n"])
    where = _where(block, condition, value.is_(exp.Null()).not_())
    return f"SELECT {columns} FROM {source.sql} AS {_quoted(block.alias)}{where}"


def _rows_sql(block: Block, plan: Plan, read: Iterable[Source]) -> str:
    """How many fact rows the block's predicate lets through, and the seconds that they stand for (NULL: unknown)."""
    timed = any(state.name == "sum_interval_s" for state in plan.cube.cube.states)
    parts = []
    for source in read:
        rows = "sum(rows)" if source.cells else "count(*)"
        seconds = ("sum(sum_interval_s)" if source.cells else "sum(interval_s)") if timed else "NULL"
        parts.append(f"SELECT {rows} AS n, {seconds} AS s FROM {source.sql} AS {_quoted(block.alias)}{_where(block)}")
    return f"SELECT CAST(coalesce(sum(n), 0) AS BIGINT), sum(s) FROM ({' UNION ALL '.join(parts)})"


def _outer(block: Block, relation: str) -> exp.Select:
    """The user's SELECT over the merged relation."""
    named = [(node, name, kind(node)) for name, node in block.keys.items()]
    named += [(term.node, term.name, term.kind) for term in block.terms]
    select = block.select.copy()
    for clause in ("where", "group"):
        select.set(clause, None)
    table = exp.Table(this=exp.Var(this=relation), alias=exp.TableAlias(this=exp.to_identifier(_RELATION, quoted=True)))
    select.set("from_", exp.From(this=table))
    for clause in ("expressions", "having", "order", "distinct", "windows"):
        value = select.args.get(clause)
        if isinstance(value, list):
            select.set(clause, [_replaced(node, named) for node in value])
        elif value is not None:
            select.set(clause, _replaced(value, named))
    having = select.args.pop("having", None)
    if having is not None:
        select.set("where", exp.Where(this=having.this))
    for column in _left_over(select, block.alias):
        raise QueryError(
            f"column '{column.name}' must be in GROUP BY or inside an aggregate.",
            todo=f"Add it to GROUP BY, or write min({column.name}).",
            code="42803",
        )
    return select


def _replaced(node: exp.Expr, named: Sequence[tuple[exp.Expr, str, str]]) -> exp.Expr:
    """The expression with keys and aggregates as columns of the relation, outermost first."""
    for wanted, name, its_kind in named:
        if node == wanted:
            column = exp.column(name, table=_RELATION, quoted=True)
            column.meta["kind"] = its_kind
            return column
    for name, value in list(node.args.items()):
        if isinstance(value, exp.Expr):
            node.set(name, _replaced(value, named))
        elif isinstance(value, list):
            node.set(name, [_replaced(one, named) if isinstance(one, exp.Expr) else one for one in value])
    return node


def _left_over(select: exp.Select, alias: str) -> Iterator[exp.Column]:
    """Columns of the fact that neither a key nor an aggregate covers; queries inside have columns of their own."""
    for clause in ("expressions", "where", "order", "distinct", "windows"):
        value = select.args.get(clause)
        for node in value if isinstance(value, list) else [value] if value is not None else []:
            found = node.find_all(exp.Column)
            yield from (
                column
                for column in found
                if column.table != _RELATION
                and (column.find_ancestor(exp.Select) in (select, None) or _of(column, alias))
            )


def _of(column: exp.Column, alias: str) -> bool:
    """Whether a query inside means a column of the block."""
    return bool(column.meta.get("outer")) and column.table == alias


def _quoted(name: str) -> str:
    return str(exp.to_identifier(name, quoted=True).sql("duckdb"))
