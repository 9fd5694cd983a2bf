"""Finds the blocks of a statement: each SELECT over one fact, perhaps with lookups, that groups or aggregates.

Whatever stands around a block (joins, windows over its aggregates, order, outer queries) runs on top of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from cubes.route.beside import bucket_bounds, joined_fact
from cubes.route.grammar import AGGREGATES
from cubes.route.hoist import JOINED, hoisted
from cubes.route.implied import is_of, parts_of
from cubes.route.lower import fixed_now
from cubes.route.parts import PartMaker, Unfit, aggregates, predicate_key
from cubes.route.policy import barred
from cubes.route.sets import grouping_sets, has_sets
from cubes.route.span import Window
from cubes.route.statement import Block, Term
from cubes.route.window import Step, is_time, split_window, time_step
from cubes.route.zones import granule_s
from lake.times import GRAINS

if TYPE_CHECKING:
    from cubes.route.statement import Statement
    from cubes.route.view import View
    from lake.facts import Fact

_NO_PLACE = (exp.Select, exp.SetOperation, exp.Subquery, exp.Window, exp.Exists)


def blocks(statement: Statement, view: View) -> Statement:
    """The statement with its blocks, each either fit for cubes or with the reason why not; now() becomes a literal."""
    assert statement.tree is not None, "bind comes first"
    tree = fixed_now(statement.tree, view.now)
    tree = tree if statement.raw else hoisted(tree)
    found = []
    for select in tree.find_all(exp.Select):
        table = joined_fact(select)
        if table is not None:
            found.append(_block(select, table, tree, view))
    return replace(statement, tree=tree, blocks=tuple(found))


def _block(select: exp.Select, table: exp.Table, tree: exp.Expr, view: View) -> Block:
    name, alias = table.meta["fact"], table.alias
    where = select.args.get("where")
    window, rest = split_window(where.this if where is not None else None, alias, view.duck)
    bare = Block(select, name, alias, window)
    try:
        return _Anatomy(view.fact(name).fact, alias, view).block(bare, rest, tree)
    except Unfit as unfit:
        return replace(bare, reason=str(unfit))


class _Anatomy:
    """Takes one block apart, collecting the dimensions that its keys and conditions need, and the grains ruled out."""

    def __init__(self, fact: Fact, alias: str, view: View) -> None:
        self.fact, self.alias, self.view = fact, alias, view
        self.derived = frozenset(view.derived(fact.name))
        self.dims = {column.name for column in fact.dimensions} | self.derived
        self.lookups: dict[str, str] = {}
        self.joined: set[str] = set()
        self.window = Window()
        self.misfits: dict[str, str] = {}

    def block(self, bare: Block, rest: list[exp.Expr], tree: exp.Expr) -> Block:
        select, self.window = bare.select, bare.window
        group = select.args.get("group")
        items = [item.this for item in select.expressions]
        found = _unique(node for clause in self._clauses(select) for node in aggregates(clause))
        distinct = select.args.get("distinct")
        if distinct is not None and distinct.args.get("on") is not None and not (group or found):
            raise Unfit("DISTINCT ON picks rows")
        if not found and group is None and distinct is None:
            raise Unfit("rows are asked for, not aggregates")
        sets = self._sets(group)
        if group is None:
            keys = [] if found else items
        else:
            keys = [node for listed in sets for node in listed] if sets else group.expressions
        beside = self._beside(select)
        needed = [*keys, *(join.args["on"] for join in beside[1:] if join.args.get("on"))]
        dims = frozenset(name for node in needed for name in self.uses(node)).union(*map(self._filters, rest))
        maker = PartMaker(self.fact, self.alias, self.uses, derived=self.derived, hashed=self._hashed())
        terms = tuple(maker.term(node, f"a{place}") for place, node in enumerate(found))
        # Long rows are filtered by these; cells are not, whose parts have the dimensions of theirs.
        if self.joined and any(term.distinct for term in terms):
            raise Unfit("distinct values beside a joined query are counted from rows")
        sketched = [one.condition for term in terms for one in (term.quantile, term.distinct) if one]
        dims = dims.union(*(self.uses(node) for node in sketched if node is not None))
        _only_shown(select, terms, tree)
        if sets and any(term.quantile or term.distinct for term in terms):
            raise Unfit("percentiles and distinct values over grouping sets are computed from rows")
        named = {f"k{place}": node.copy() for place, node in enumerate(_unique(keys))}
        where = exp.and_(*[node.copy() for node in rest]) if rest else None
        bare = replace(bare, where=where, keys=named, misfits=self.misfits, beside=beside)
        bare = replace(bare, sets=_by_name(sets, named), told=self._told(select, named))
        return replace(bare, parts=tuple(maker.parts), terms=terms, dims=dims)

    def _sets(self, group: exp.Group | None) -> list[tuple[exp.Expr, ...]]:
        """The sets of keys of a GROUP BY that has some; else nothing."""
        if group is None or not has_sets(group):
            return []
        sets = grouping_sets(group)
        if sets is None:
            raise Unfit("so many grouping sets are computed from rows")
        return sets

    def _told(self, select: exp.Select, named: Mapping[str, exp.Expr]) -> dict[str, tuple[exp.Expr, tuple[str, ...]]]:
        """Each GROUPING() by a name, with the names of the keys that it asks about."""
        asked = _unique(node for clause in self._clauses(select) for node in clause.find_all(exp.Grouping))
        for node in asked:
            if any(one not in named.values() for one in node.expressions):
                raise Unfit(f"{_shown(node)} asks about what is no key")
        return {
            f"g{place}": (node, tuple(name for one in node.expressions for name, key in named.items() if key == one))
            for place, node in enumerate(asked)
        }

    def _beside(self, select: exp.Select) -> tuple[exp.Expr, ...]:
        """What stands after FROM, first item first, with lookups as scans; () where the fact stands alone."""
        if not select.args.get("joins"):
            return ()
        found = [node.copy() for node in (select.args["from_"].this, *select.args["joins"])]
        for node in found:
            table = node.this if isinstance(node, exp.Join) else node
            if JOINED in table.meta:
                self.joined.add(table.alias_or_name)
            if "lookup" in table.meta:
                self.lookups[table.alias] = table.meta["lookup"]
                name = table.meta["lookup"]
                scan = barred(self.view.duck.scan(self.view.lookup(name)), name, self.view)
                table.set("this", exp.Var(this=scan))
        return tuple(found)

    def _hashed(self) -> frozenset[str]:
        """Columns whose distinct values a cube counts by hashes, and none keeps as a dimension."""
        cubes = [state.cube for state in self.view.fact(self.fact.name).cubes]
        kept = {name for cube in cubes for name in cube.dimensions}
        return frozenset(one.column for cube in cubes for one in cube.sketches if one.kind == "distinct") - kept

    def _clauses(self, select: exp.Select) -> list[exp.Expr]:
        clauses = [*select.expressions, select.args.get("having"), select.args.get("order")]
        clauses += [select.args.get("distinct"), *(select.args.get("windows") or ())]
        return [clause for clause in clauses if clause is not None]

    def uses(self, node: exp.Expr) -> frozenset[str]:
        """The dimensions of an expression that a cell can evaluate; Unfit for any other expression."""
        if isinstance(node, exp.Column):
            return self._column(node)
        if isinstance(node, _NO_PLACE):
            raise Unfit("a sub-query or window stands inside the block")
        if type(node) in AGGREGATES or isinstance(node, exp.Filter):
            raise Unfit("an aggregate stands inside another expression of the block")
        if isinstance(node, exp.Is) and is_time(node.this, self.alias):
            return frozenset()
        step = time_step(node, self.alias, self.view.duck)
        if step is not None:
            self._rule_out(node, step)
            return frozenset()
        if self._meets_lookup(node):
            return frozenset()
        return frozenset(name for child in node.iter_expressions() for name in self.uses(child))

    def _filters(self, node: exp.Expr) -> frozenset[str]:
        """The columns of a part of WHERE; one that a cube filters by itself may name what is no dimension."""
        try:
            return self.uses(node)
        except Unfit:
            cubes = [state.cube for state in self.view.fact(self.fact.name).cubes if state.cube.where]
            if is_of(node, self.alias) and any(predicate_key(node) in parts_of(cube.where) for cube in cubes):
                return frozenset(column.name for column in node.find_all(exp.Column))
            raise

    def _rule_out(self, node: exp.Expr, step: Step) -> None:
        """Note the grains in whose buckets an expression of time is not constant; Unfit when none is left."""
        span = 0
        if step.zone.upper() != "UTC":
            held = self.view.fact(self.fact.name).window
            span = granule_s(step.zone, self.window.meet(held), self.view.duck)
        for name, grain in GRAINS.items():
            if name not in step.grains:
                self.misfits.setdefault(name, f"{name} buckets don't fit {_shown(node)}")
            elif span and not grain.divides(span):
                self.misfits.setdefault(name, f"the clock of {step.zone} doesn't leave {name} buckets whole")
        if len(self.misfits) == len(GRAINS):
            raise Unfit(f"no bucket fits {_shown(node)}")

    def _meets_lookup(self, node: exp.Expr) -> bool:
        """Whether a condition sets ts against a time of a lookup so that whole buckets lie on one side of it."""
        if not isinstance(node, (exp.GTE, exp.LT, exp.LTE, exp.GT)):
            return False
        # ts >= bound and ts < bound, either way round; with ts > bound, a row at the bound itself would differ.
        ts, bound = node.this, node.expression
        if isinstance(node, (exp.LTE, exp.GT)):
            ts, bound = bound, ts
        if not is_time(ts, self.alias) or not isinstance(bound, exp.Column) or bound.table not in self.lookups:
            return False
        fit = bucket_bounds(self.lookups[bound.table], [bound.name], self.view)
        for name in GRAINS.keys() - fit:
            self.misfits.setdefault(name, f"{bound.name} of lookup {self.lookups[bound.table]} cuts {name} buckets")
        return True

    def _column(self, node: exp.Column) -> frozenset[str]:
        if (node.table in self.lookups or node.table in self.joined) and not node.meta.get("outer"):
            return frozenset()
        if node.meta.get("outer") or node.table != self.alias:
            raise Unfit("a column of the query around it stands inside the block")
        if node.name == self.fact.time:
            raise Unfit("its condition on ts is not one range, or ts itself is grouped by")
        if node.name not in self.dims:
            raise Unfit(f"{node.name} is no dimension")
        return frozenset((node.name,))


def _by_name(sets: Iterable[Iterable[exp.Expr]], named: Mapping[str, exp.Expr]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name for name, key in named.items() if key in tuple(listed)) for listed in sets)


def _shown(node: exp.Expr) -> str:
    """An expression as a reason may show it: short, without tables and quotes."""
    bare = node.transform(lambda one: exp.column(one.name) if isinstance(one, exp.Column) else one)
    return str(bare.sql("postgres"))[:60]


def _only_shown(select: exp.Select, terms: Iterable[Term], tree: exp.Expr) -> None:
    """Approximate values may be shown; where anything else depends on one, rows answer exactly."""
    approximate = [term.node for term in terms if term.approximate]
    if not approximate:
        return
    if not _on_top(select, tree):
        raise Unfit("a percentile inside a sub-query is computed from rows, since what is around it may depend on it")
    ordered = select.args["order"].expressions if select.args.get("order") else []
    by_position = {int(item.this.name) - 1 for item in ordered if isinstance(item.this, exp.Literal)}
    for place, item in enumerate(select.expressions):
        holds = any(node in approximate for node in aggregates(item))
        if holds and (item.this not in approximate or place in by_position or select.args.get("distinct")):
            raise Unfit("the order, the distinct rows or an expression depends on a percentile, so rows answer exactly")
    for clause in ("having", "order"):
        if any(node in approximate for node in aggregates(select.args.get(clause))):
            raise Unfit(f"{clause.upper()} depends on a percentile, so rows answer exactly")


def _on_top(select: exp.Select, tree: exp.Expr) -> bool:
    """Whether the SELECT's rows are the statement's rows, untouched (UNION ALL and LIMIT only let them through)."""
    node: Any = select
    while node is not tree:
        parent = node.parent
        if not isinstance(parent, exp.Union) or parent.args.get("distinct") or parent.args.get("order"):
            return False
        node = parent
    return True


def _unique(nodes: Iterable[exp.Expr]) -> list[exp.Expr]:
    found: list[exp.Expr] = []
    for node in nodes:
        if node not in found:
            found.append(node)
    return found
