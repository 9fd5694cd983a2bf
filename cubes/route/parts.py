"""Aggregates taken apart: for each, what one row gives, what one partial cell gives, and the value over the merged.

A CASE with conditions over dimensions is taken through: each branch gives its own state. What has no state here
raises `Unfit` with the reason, and the whole block is answered from rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp

from cubes.histograms import COUNTS
from cubes.histograms import WORDS as HISTOGRAMS
from cubes.route.grammar import AGGREGATES
from cubes.route.kinds import is_exact, kind
from cubes.route.lower import percentile_parts
from cubes.route.sketched import Distinct, Quantile
from cubes.route.statement import Part, Term
from cubes.route.values import SPREADS, fraction_of, latest_of, square_of
from cubes.spread import FRACTIONS, SQUARES, final_sql, is_split
from lake.facts import Fact, duck_type

_SCALES = {"integer": 0, "interval": 3, "duration": 6, "decimal": 9}
_WORDS = ("approx_percentile", "time_avg", "integral", "fc_weight", *HISTOGRAMS.values())
_Pair = tuple[exp.Expr, exp.Expr]


_STATES = ("count", "sum", "min", "max", "weighted", "weight", "squares", "fractions", "last")


class Unfit(Exception):
    """Why something can't be answered from cells; caught by the pass that looks for blocks."""


def aggregates(node: exp.Expr | None) -> Iterator[exp.Expr]:
    """The aggregates of an expression, each with its FILTER and WITHIN GROUP; window functions are none."""
    if node is None or isinstance(node, (exp.Select, exp.SetOperation, exp.Subquery)):
        return
    if isinstance(node, exp.Window):
        core = node.this.this if isinstance(node.this, exp.Filter) else node.this
        outside = [*core.iter_expressions(), *(node.args.get("partition_by") or ()), node.args.get("order")]
        if isinstance(node.this, exp.Filter):
            outside.append(node.this.expression)
        for child in outside:
            yield from aggregates(child)
        return
    word = isinstance(node, exp.Anonymous) and node.name in _WORDS
    if word or isinstance(node, (exp.Filter, exp.WithinGroup)) or type(node) in AGGREGATES:
        yield node
        return
    for child in node.iter_expressions():
        yield from aggregates(child)


@dataclass
class PartMaker:
    """Collects the parts of one block. `uses` gives the dimensions of a condition or raises Unfit."""

    fact: Fact
    alias: str
    uses: Callable[[exp.Expr], frozenset[str]]
    parts: list[Part] = field(default_factory=list)
    derived: frozenset[str] = frozenset()
    hashed: frozenset[str] = frozenset()

    def term(self, node: exp.Expr, name: str) -> Term:
        """One aggregate as a term over parts; Unfit where no state can give it."""
        condition = node.expression.this if isinstance(node, exp.Filter) else None
        core = node.this if isinstance(node, exp.Filter) else node
        if condition is not None:
            self.uses(condition)
        if isinstance(core, exp.WithinGroup) or core.name == "approx_percentile":
            return self._quantile(node, name, condition)
        if core.name in HISTOGRAMS.values():
            if core.expressions[0].table != self.alias:
                raise Unfit("a percentile of the query around it stands inside the block")
            return Term(name, node, "double", "", Quantile(core.name, COUNTS, core.expressions[1].name, condition))
        distinct = self._distinct(core, condition)
        if distinct is not None:
            return Term(name, node, kind(node), "", distinct=distinct)
        final = self._final(core, condition)
        return Term(name, node, kind(node), final)

    def _final(self, core: exp.Expr, condition: exp.Expr | None) -> str:
        argument = core.expressions[0] if isinstance(core, exp.Anonymous) else core.this
        match core:
            case exp.Count():
                return self._count(argument, condition)
            case exp.Sum():
                total = self._add("sum", self._sum_type(argument), argument, condition, "sum")
                return f"CAST({total} AS BIGINT)" if kind(core) == "integer" else total
            case exp.Avg():
                total = self._add("sum", self._sum_type(argument), argument, condition, "sum")
                return f"fc_avg({total}, {self._add('sum', 'BIGINT', argument, condition, 'count')})"
            case exp.Min() | exp.Max():
                function = core.key
                return self._add(function, self._extreme_type(argument), argument, condition, function)
            case exp.Anonymous() if core.name in ("time_avg", "integral"):
                weighted = self._add("sum", "DECIMAL(38,12)", argument, condition, "weighted")
                if core.name == "integral":
                    return weighted
                return f"fc_time_avg({weighted}, {self._add('sum', 'DECIMAL(38,3)', argument, condition, 'weight')})"
            case exp.Anonymous() if core.name == "fc_weight":
                return self._add("sum", "DECIMAL(38,3)", argument, condition, "weight")
            case exp.Last():
                if self._value_column(argument) is None:
                    raise Unfit("last() is kept of value columns only")
                return f"struct_extract({self._add('max', '', argument, condition, 'latest')}, 'v')"
            case _ if type(core) in SPREADS:
                return self._spread(core, argument, condition)
        raise Unfit(f"{core.key}() is not kept as a state")

    def _spread(self, core: exp.Expr, argument: exp.Expr, condition: exp.Expr | None) -> str:
        column = self._value_column(argument)
        if column is None:
            raise Unfit(f"{core.key}() of an expression is not kept as a state")
        declared = self.fact.column(column).type
        parts = {"count": "BIGINT", "sum": self._sum_type(argument), "squares": SQUARES[declared]}
        if is_split(declared):
            parts["fractions"] = FRACTIONS
        count, total, squares, fractions = (
            self._add("sum", parts[part], argument, condition, part) if part in parts else ""
            for part in ("count", "sum", "squares", "fractions")
        )
        return final_sql(SPREADS[type(core)], (count, total, squares, fractions))

    def _distinct(self, core: exp.Expr, condition: exp.Expr | None) -> Distinct | None:
        """The count of distinct values that hashes give; None for one that is counted otherwise."""
        approximate = isinstance(core, exp.ApproxDistinct)
        if not approximate and not (isinstance(core, exp.Count) and isinstance(core.this, exp.Distinct)):
            return None
        values = [core.this] if approximate else core.this.expressions
        column = values[0] if len(values) == 1 and isinstance(values[0], exp.Column) else None
        found = "" if column is None or column.table != self.alias else column.name
        if approximate or found in self.hashed:
            if not found:
                raise Unfit("the distinct values of an expression are not kept as hashes")
            return Distinct(found, condition, exact=not approximate)
        return None

    def _count(self, argument: exp.Expr, condition: exp.Expr | None) -> str:
        if isinstance(argument, exp.Distinct):
            if len(argument.expressions) != 1:
                raise Unfit("count(DISTINCT ...) of several columns is not kept as a state")
            inner = argument.expressions[0]
            return self._add("distinct", "", inner, condition, "itself")
        where = self._conditional(argument, condition)
        column = self._add("sum", "BIGINT", argument, condition, "count", where=where)
        return f"coalesce({column}, 0)"

    def _quantile(self, node: exp.Expr, name: str, condition: exp.Expr | None) -> Term:
        function, argument, share = percentile_parts(node)
        column = self._value_column(argument)
        if column is None or not isinstance(share, exp.Literal):
            raise Unfit("a percentile of an expression is not kept as slots")
        low, high = (self._add(end, self._extreme_type(argument), argument, condition, end) for end in ("min", "max"))
        found = Quantile(function, column, share.name, condition, low, high)
        return Term(name, node, "double", "", found)

    def _add(
        self,
        merge: str,
        to: str,
        argument: exp.Expr,
        condition: exp.Expr | None,
        state: str,
        *,
        where: str = "",
    ) -> str:
        """The part of that state of the argument, made or found again; gives its quoted column."""
        row, cell = self._pair(argument, state, to)
        dims = self._dims(argument) | (self.uses(condition) if condition is not None else frozenset())
        if condition is not None:
            row, cell = (exp.Case().when(condition.copy(), one) for one in (row, cell))
        prefixes = tuple(f"{one}_" for one in _STATES)
        states = {
            one.name for one in cell.find_all(exp.Column) if one.meta.get("state") and one.name.startswith(prefixes)
        }
        name = f"s{len(self.parts)}"
        part = Part(name, merge, to, row, cell, frozenset(states), dims, where)
        for held in self.parts:
            if (held.merge, held.type, held.row, held.cell) == (merge, to, row, cell):
                return f'"{held.name}"'
        self.parts.append(part)
        return f'"{name}"'

    def _pair(self, node: exp.Expr, state: str, to: str) -> _Pair:
        """(what a row gives, what a cell gives) for one argument; a CASE is of the type `to`, where there is one."""
        if isinstance(node, exp.Paren):
            return self._pair(node.this, state, to)
        if isinstance(node, exp.Null):
            return exp.Null(), exp.Null()
        column = self._value_column(node)
        if column is not None and state == "latest":
            return latest_of(node), latest_of(self._state(f"last_{column}"), self._state(f"last_at_{column}"))
        if column is not None and state != "itself":
            return self._row_of(node, state), self._state(f"{state}_{column}")
        if isinstance(node, exp.Case) and state != "itself":
            return self._branches(node, state, to)
        if state in ("min", "max", "itself"):
            self.uses(node)
            return node.copy(), node.copy()
        rows = self._state("rows")
        if state == "count":
            if isinstance(node, (exp.Star, exp.Literal, exp.Boolean)):
                return exp.Literal.number(1), rows
            self.uses(node)
            present = exp.Is(this=exp.Paren(this=node.copy()), expression=exp.Null()).not_()
            return exp.Case().when(present, exp.Literal.number(1)), exp.Case().when(present.copy(), rows)
        if state == "sum" and isinstance(node, exp.Literal) and not node.is_string and node.name.isdigit():
            return node.copy(), exp.Mul(this=exp.cast(rows, "DECIMAL(38, 0)"), expression=node.copy())
        raise Unfit(f"{state} of {node.sql('postgres')[:60]} is not kept as a state".replace("sum of", "the sum of"))

    def _branches(self, node: exp.Case, state: str, to: str) -> _Pair:
        def branch_of(value: exp.Expr) -> _Pair:
            # Sums are as wide as can be: beside one without decimal places the engine would round the other's away.
            a, b = self._pair(value, state, to)
            return (exp.cast(a, to), exp.cast(b, to)) if to else (a, b)

        row, cell = exp.Case(), exp.Case()
        subject = node.this
        for branch in node.args["ifs"]:
            condition = exp.EQ(this=subject.copy(), expression=branch.this.copy()) if subject else branch.this.copy()
            self.uses(condition)
            a, b = branch_of(branch.args["true"])
            row, cell = row.when(condition, a), cell.when(condition.copy(), b)
        if node.args.get("default") is not None:
            a, b = branch_of(node.args["default"])
            row, cell = row.else_(a), cell.else_(b)
        return row, cell

    def _row_of(self, node: exp.Expr, state: str) -> exp.Expr:
        present = node.copy().is_(exp.Null()).not_()
        interval = exp.column("interval_s", table=self.alias, quoted=True)
        match state:
            case "count":
                return exp.Case().when(present, exp.Literal.number(1))
            case "weighted":
                return exp.Mul(this=node.copy(), expression=interval)
            case "weight":
                return exp.Case().when(present, interval)
            case "squares":
                return square_of(node, self.fact.column(node.name).type)
            case "fractions":
                return fraction_of(node)
        return node.copy()

    def _state(self, name: str) -> exp.Column:
        column = exp.column(name, table=self.alias, quoted=True)
        column.meta["state"] = True
        return column

    def _value_column(self, node: exp.Expr) -> str | None:
        if isinstance(node, exp.Column) and node.table == self.alias:
            declared = next((one for one in self.fact.values if one.name == node.name), None)
            if declared is not None and declared.type in _SCALES:
                return declared.name
        return None

    def _dims(self, node: exp.Expr) -> frozenset[str]:
        names = {column.name for column in self.fact.dimensions} | self.derived
        mine = (one.name for one in node.find_all(exp.Column) if one.table == self.alias)
        return frozenset(name for name in mine if name in names)

    def _sum_type(self, argument: exp.Expr) -> str:
        if not is_exact(kind(argument)):
            raise Unfit(f"the sum of {argument.sql('postgres')[:60]} is not kept as a state")
        held = [self._value_column(one) for one in argument.find_all(exp.Column)]
        scale = max((_SCALES[self.fact.column(name).type] for name in held if name), default=0)
        return f"DECIMAL(38,{scale})"

    def _extreme_type(self, argument: exp.Expr) -> str:
        column = self._value_column(argument)
        return duck_type(self.fact.column(column).type) if column else ""

    def _conditional(self, argument: exp.Expr, condition: exp.Expr | None) -> str:
        """The predicate of a count of rows, when that is all it is: a cube may keep just this count."""
        if condition is None and isinstance(argument, exp.Case) and argument.this is None:
            branches, default = argument.args["ifs"], argument.args.get("default")
            if len(branches) == 1 and isinstance(branches[0].args["true"], exp.Literal) and default is None:
                argument, condition = branches[0].args["true"], branches[0].this
        if condition is None or not isinstance(argument, (exp.Star, exp.Literal)):
            return ""
        # A lookup's column of the same name is another column.
        mine = all(column.table == self.alias for column in condition.find_all(exp.Column))
        return predicate_key(condition) if mine else ""


def predicate_key(predicate: exp.Expr | str) -> str:
    """One text for equal predicates: no table names, no quotes, no brackets around the whole."""
    tree = sqlglot.parse_one(predicate, read="postgres") if isinstance(predicate, str) else predicate.copy()
    while isinstance(tree, exp.Paren):
        tree = tree.this
    for column in tree.find_all(exp.Column):
        column.set("table", None)
        column.set("this", exp.to_identifier(column.name.lower()))
    return str(tree.sql("duckdb"))
