"""A block's answer as one relation: partial states from cells and rows, merged once, under the user's own SELECT.

The relation has a column per key (k0, ...) and per aggregate (a0, ...); the SELECT around it keeps its expressions,
HAVING (as WHERE), DISTINCT, windows, order and limit. Slots of percentiles are merged beside and joined by the keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlglot import exp

from cubes.buckets import crosses_sql, quantile_sql, ranked_sql, slots_sql
from cubes.distinct import count_sql, hash_sql, smallest_sql
from cubes.histograms import observed_sql, percentiles_sql
from cubes.route.hoist import JOINED
from cubes.route.implied import implied
from cubes.route.kinds import kind
from cubes.route.lower import engine_sql
from cubes.route.sets import sets_sql
from cubes.route.source import Source, sources
from cubes.route.window import conjuncts
from lake.errors import QueryError

if TYPE_CHECKING:
    from cubes.route.sketched import Distinct, Quantile
    from cubes.route.statement import Block, Part, Statement, Term
    from cubes.route.tile import Plan
    from cubes.route.view import View

_RELATION = "fc_block"
# Keys and aggregates: the user's expression, its column in the relation, its kind.
_Named = Sequence[tuple[exp.Expr, str, str]]


@dataclass(frozen=True)
class Answered:
    """A block that cubes answer, with the SQL that counts the rows behind it."""

    fact: str
    plan: Plan
    rows_sql: str


def rewrite(statement: Statement, view: View) -> Statement:
    """The statement's tree with every planned block in terms of cells and edges."""
    tree, answered = statement.tree, list[Answered]()
    blocks, plans = list(statement.blocks), list(statement.plans)
    # Inner blocks first: an outer one takes what stands inside its expressions along.
    for place, (block, plan) in reversed(list(enumerate(zip(statement.blocks, statement.plans, strict=True)))):
        if plan is None:
            continue
        read = sources(plan, view)
        reason = _too_many(block, plan, read, view) or _crossing(block, plan, read, view)
        if reason:
            blocks[place], plans[place] = replace(block, reason=reason), None
            continue
        select = _outer(block, _relation(block, plan, read))
        answered.append(Answered(block.fact, plan, _rows_sql(block, plan, read)))
        if block.select is tree:
            tree = select
        else:
            block.select.replace(select)
    return replace(statement, tree=tree, answered=tuple(reversed(answered)), blocks=tuple(blocks), plans=tuple(plans))


def _relation(block: Block, plan: Plan, read: Sequence[Source]) -> str:
    """SQL of the merged relation, in brackets."""
    keys = list(block.keys)
    group = f" GROUP BY {', '.join(keys)}" if keys else ""
    group = sets_sql(block.sets) if block.sets else group
    told = [f"GROUPING({', '.join(names)}) AS {name}" for name, (_, names) in block.told.items()]
    # Without keys there is one row, whether or not anything is merged.
    alone = "count(*) AS one" if block.terms or block.sets else "1 AS one"
    merged = ", ".join([*keys, *told, *(_merge(part) for part in block.parts)]) or alone
    union = " UNION ALL ".join(_partial(block, plan, source) for source in read)
    states = f"SELECT {merged} FROM ({union}){group}"
    finals = [f"{term.final} AS {term.name}" for term in block.terms if term.final]
    tables = [f"fc_merged AS MATERIALIZED ({states})"]
    joins = "fc_merged"
    for place, terms in enumerate(_by_slots(block)):
        tables.append(f"fc_q{place} AS ({_quantiles(block, plan, read, terms)})")
        same = " AND ".join(f"fc_merged.{key} IS NOT DISTINCT FROM fc_q{place}.{key}" for key in keys) or "true"
        joins += f" LEFT JOIN fc_q{place} ON {same}"
        finals += [f"fc_q{place}.{term.name} AS {term.name}" for term in terms]
    for place, (term, distinct) in enumerate((term, term.distinct) for term in block.terms if term.distinct):
        counted = count_sql(_most(plan, distinct))
        by = f" GROUP BY {', '.join(keys)}" if keys else ""
        columns = ", ".join([*keys, f"{counted} AS n"])
        tables.append(f"fc_d{place} AS (SELECT {columns} FROM ({_hashes(block, plan, read, distinct)}){by})")
        same = " AND ".join(f"fc_merged.{key} IS NOT DISTINCT FROM fc_d{place}.{key}" for key in keys) or "true"
        joins += f" LEFT JOIN fc_d{place} ON {same}"
        finals.append(f"coalesce(fc_d{place}.n, 0) AS {term.name}")
    columns = ", ".join([*(f"fc_merged.{key}" for key in (*keys, *block.told)), *finals]) or "one"
    if len(tables) == 1:
        return f"(SELECT {columns} FROM ({states}) AS fc_merged)"
    return f"(WITH {', '.join(tables)} SELECT {columns} FROM {joins})"


def _partial(block: Block, plan: Plan, source: Source) -> str:
    """Keys and states of one source, one row for each cell or fact row."""
    columns = [f"{engine_sql(node)} AS {name}" for name, node in block.keys.items()]
    for part in block.parts:
        value = _state(part, plan, source)
        columns.append(f"CAST({value} AS {part.type}) AS {part.name}" if part.type else f"{value} AS {part.name}")
    where = _where(block, _certain(plan, source))
    return f"SELECT {', '.join(columns) or '1 AS one'} FROM {_from(block, source.sql)}{where}"


def _from(block: Block, relation: str) -> str:
    """What stands after FROM, with a relation in the place of the fact; lookups are joined as the user wrote it."""
    if not block.beside:
        return f"{relation} AS {_quoted(block.alias)}"
    parts = [node.copy() for node in block.beside]
    for node in parts:
        table = node.this if isinstance(node, exp.Join) else node
        if table.alias == block.alias:
            table.set("this", exp.Var(this=relation))
    # A join by comma brings its comma along.
    texts = [engine_sql(node).strip() for node in parts]
    return " ".join(texts)


def _state(part: Part, plan: Plan, source: Source) -> str:
    if not source.cells:
        return engine_sql(part.row)
    kept = plan.kept.get(part.name)
    return _own(plan.block, kept) if kept else engine_sql(part.cell)


def _certain(plan: Plan, source: Source) -> list[exp.Expr]:
    """The parts of WHERE that needn't be asked of a source."""
    return implied(plan.block, plan.cube.cube) if source.cells else []


def _where(block: Block, certain: Sequence[exp.Expr], *more: exp.Expr | None) -> str:
    asked = [node for node in conjuncts(block.where) if node not in certain]
    conditions = [node for node in (*asked, *more) if node is not None]
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
    if wanted[0].histogram:
        named = {term.name: (one.function, one.share) for term, one in zip(terms, wanted, strict=True)}
        return percentiles_sql(f"({slots})", keys, named)
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
        where = _where(block, _certain(plan, source), condition)
        own = [_own(block, "slot"), _own(block, "n")]
        return f"SELECT {', '.join([*keys, *own])} FROM {_from(block, slots)}{where}"
    if quantile.histogram:
        relation = f"{_from(block, source.sql)}{_where(block, [], condition)}"
        return observed_sql(relation, "".join(f"{key}, " for key in keys), f"{_quoted(block.alias)}.")
    value = exp.column(quantile.column, table=block.alias, quoted=True)
    columns = ", ".join([*keys, f"{slots_sql(engine_sql(value))} AS slot", "1 AS n"])
    where = _where(block, [], condition, value.is_(exp.Null()).not_())
    return f"SELECT {columns} FROM {_from(block, source.sql)}{where}"


def _most(plan: Plan, distinct: Distinct) -> int:
    return next(one.most for one in plan.cube.cube.sketches if one.name == distinct.sketch)


def _hashes(block: Block, plan: Plan, read: Sequence[Source], distinct: Distinct) -> str:
    """Keys and the smallest hashes of each, from cells and rows."""
    keys = [f"{engine_sql(node)} AS {name}" for name, node in block.keys.items()]
    value = exp.column(distinct.column, table=block.alias, quoted=True)
    parts = []
    for source in read:
        if source.cells:
            relation, columns = source.slots[distinct.sketch], [_own(block, "slot"), _own(block, "n")]
            where = _where(block, _certain(plan, source), distinct.condition)
        else:
            relation, columns = source.sql, [f"{hash_sql(engine_sql(value))} AS slot", "1 AS n"]
            where = _where(block, [], distinct.condition, value.is_(exp.Null()).not_())
        parts.append(f"SELECT {', '.join([*keys, *columns])} FROM {_from(block, relation)}{where}")
    return smallest_sql(f"({' UNION ALL '.join(parts)})", list(block.keys), _most(plan, distinct))


def _too_many(block: Block, plan: Plan, read: Sequence[Source], view: View) -> str:
    """Why hashes can't give an exact number of distinct values that was asked for; empty where they can."""
    for term in block.terms:
        if term.distinct is None or not term.distinct.exact:
            continue
        most, keys = _most(plan, term.distinct), list(block.keys)
        by = f" GROUP BY {', '.join(keys)}" if keys else ""
        counts = f"SELECT count(*) AS n FROM ({_hashes(block, plan, read, term.distinct)}){by}"
        if view.duck.sql(f"SELECT coalesce(max(n), 0) FROM ({counts})")[0][0] >= most:
            return f"more than {most - 1} values of {term.distinct.column} in a group; approx_count_distinct estimates"
    return ""


def _crossing(block: Block, plan: Plan, read: Sequence[Source], view: View) -> str:
    """Why slots don't bound a percentile: in some group it lies between a negative and a positive value; else empty."""
    for terms in _by_slots(block):
        wanted = [one for term in terms if (one := term.quantile) is not None and one.function == "percentile_cont"]
        # Rows that the cube lacks may bring the first negative value, and what a user is told must not tell of others'.
        unknown = plan.tail or view.policy is not None
        if not wanted or not (unknown or view.shelf.may_be_negative(plan.cube.snapshot, wanted[0].column)):
            continue
        if any(table.meta.get(JOINED) for node in block.beside for table in node.find_all(exp.Table)):
            # What is joined can't be asked before the whole statement is.
            return f"a percentile of {wanted[0].column}, which may be negative, beside a joined query"
        keys = list(block.keys)
        slots = " UNION ALL ".join(_slots(block, plan, source, wanted[0]) for source in read)
        crosses = " OR ".join(crosses_sql(one.share) for one in wanted)
        by = f" GROUP BY {', '.join(keys)}" if keys else ""
        groups = f"SELECT {crosses} AS crosses FROM ({ranked_sql(f'({slots})', keys)}){by}"
        if view.duck.sql(f"SELECT count(*) FROM ({groups}) WHERE crosses")[0][0]:
            return (
                f"a percentile of {wanted[0].column} lies between a negative and a positive value, where slots don't "
                "bound it; percentile_disc is one of the values"
            )
    return ""


def _rows_sql(block: Block, plan: Plan, read: Iterable[Source]) -> str:
    """How many fact rows the block's predicate lets through, and the seconds that they stand for (NULL: unknown)."""
    timed = any(state.name == "sum_interval_s" for state in plan.cube.cube.states)
    parts = []
    for source in read:
        rows = f"sum({_own(block, 'rows')})" if source.cells else "count(*)"
        where = _where(block, _certain(plan, source))
        weight = _own(block, "sum_interval_s" if source.cells else "interval_s")
        seconds = f"sum({weight})" if timed else "NULL"
        parts.append(f"SELECT {rows} AS n, {seconds} AS s FROM {_from(block, source.sql)}{where}")
    return f"SELECT CAST(coalesce(sum(n), 0) AS BIGINT), sum(s) FROM ({' UNION ALL '.join(parts)})"


def _outer(block: Block, relation: str) -> exp.Select:
    """The user's SELECT over the merged relation."""
    named = [(node, name, kind(node)) for name, node in block.keys.items()]
    named += [(term.node, term.name, term.kind) for term in block.terms]
    named += [(node, name, "integer") for name, (node, _) in block.told.items()]
    select = block.select.copy()
    for clause in ("where", "group", "joins"):
        select.set(clause, None)
    table = exp.Table(this=exp.Var(this=relation), alias=exp.TableAlias(this=exp.to_identifier(_RELATION, quoted=True)))
    select.set("from_", exp.From(this=table))
    for clause in ("expressions", "having", "order", "distinct", "windows"):
        value = select.args.get(clause)
        if isinstance(value, list):
            select.set(clause, [_replaced(node, named) for node in value])
        elif value is not None:
            select.set(clause, _replaced(value, named))
    having = select.args.get("having")
    if having is not None:
        if any(window.parent_select is select for window in having.find_all(exp.Window)):
            todo = "Put the query into a sub-query, and the condition into the WHERE around it."
            raise QueryError("HAVING can't contain window functions.", todo=todo, code="42P20")
        select.set("having", None)
        select.set("where", exp.Where(this=having.this))
    for column in _left_over(select, block.alias):
        raise QueryError(
            f"column '{column.name}' must be in GROUP BY or inside an aggregate.",
            todo=f"Add it to GROUP BY, or write min({column.name}).",
            code="42803",
        )
    return select


def _replaced(node: exp.Expr, named: _Named, *, inside: bool = False) -> exp.Expr:
    """The expression with keys and aggregates as columns of the relation, outermost first.

    In a query of its own (`inside`) the same words mean other rows: there only what is made of nothing but the block's
    columns is the block's. A window's function is no aggregate of the block.
    """
    for wanted, name, its_kind in named:
        if node == wanted and (not inside or _is_outer(node)):
            column = exp.column(name, table=_RELATION, quoted=True)
            column.meta["kind"] = its_kind
            return column
    inside = inside or isinstance(node, exp.Query)
    if not isinstance(node, exp.Window):
        return _with_parts(node, named, inside)
    filtered = node.this if isinstance(node.this, exp.Filter) else None
    _with_parts(node.this.this if filtered else node.this, named, inside)
    if filtered is not None:
        filtered.set("expression", _replaced(filtered.expression, named, inside=inside))
    return _with_parts(node, named, inside, but="this")


def _with_parts(node: exp.Expr, named: _Named, inside: bool, but: str = "") -> exp.Expr:
    for name, value in list(node.args.items()):
        if name != but and isinstance(value, exp.Expr):
            node.set(name, _replaced(value, named, inside=inside))
        elif name != but and isinstance(value, list):
            found = [_replaced(one, named, inside=inside) if isinstance(one, exp.Expr) else one for one in value]
            node.set(name, found)
    return node


def _is_outer(node: exp.Expr) -> bool:
    columns = list(node.find_all(exp.Column))
    return bool(columns) and all(column.meta.get("outer") for column in columns)


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


def _own(block: Block, column: str) -> str:
    """A column of the cells or rows themselves: what is joined beside them may have one of the same name."""
    return f"{_quoted(block.alias)}.{_quoted(column)}"


def _quoted(name: str) -> str:
    return str(exp.to_identifier(name, quoted=True).sql("duckdb"))
