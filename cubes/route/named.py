"""MEASURE(name) as the expression that a cube declares under that name, so that nobody writes a formula twice.

`FROM` may name a cube: that is its fact, under the cube's `where`. In the text that names a fact, a measure is looked
for in all cubes over it; `MEASURE(cube.name)` names the cube. Quantiles are asked with their share, MEASURE(latency,
0.99), or by the name p99_latency (p999_latency is 99.9 %). Runs before names are bound, on nothing but names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import sqlglot
from sqlglot import exp

from cubes.histograms import COUNTS
from cubes.model import Cube, Measure
from lake.errors import QueryError, did_you_mean
from lake.facts import load_facts
from lake.lookups import load_lookups

if TYPE_CHECKING:
    from cubes.route.statement import Statement
    from cubes.route.view import View

WORD: Final = "measure"
_SHARE: Final = re.compile(r"p([0-9]{1,5})_(.+)")


@dataclass(frozen=True)
class _From:
    """A fact in FROM: its alias, and the cubes whose measures it has; `whole` where it was named by a cube itself."""

    alias: str
    cubes: tuple[Cube, ...]
    whole: bool


@dataclass(frozen=True)
class _Meant:
    """A measure of one cube, of the rows under `alias`; `share` where a quantile is asked."""

    cube: Cube
    measure: Measure
    alias: str
    share: str
    filtered: bool

    @property
    def means(self) -> tuple[object, ...]:
        """What it comes to: equal in two cubes when they declare the same thing."""
        parts = [replace(self._other(name), name="", description="") for name in (self.measure.of, self.measure.over)]
        own = replace(self.measure, name="", description="", grains=(), without=(), relative_error="", of="", over="")
        return replace(own, exact_to=0), *parts, self.cube.where if self.filtered else "", self.share

    def _other(self, name: str) -> Measure:
        return next((one for one in self.cube.measures if one.name == name), Measure("", ""))


def named(statement: Statement, view: View) -> Statement:
    """The statement with cubes in FROM as their facts, and each MEASURE written out.

    Errors: QueryError for an unknown measure, with the nearest name, and for one that two cubes mean differently.
    """
    assert statement.tree is not None, "parse comes first"
    # Of a fact that the user may not read, no measure exists either.
    cubes = {cube.name: cube for cube in view.shelf.cubes if view.policy is None or view.policy.reads(cube.fact)}
    tree = statement.tree.copy()
    for select in list(tree.find_all(exp.Select)):
        sources = list(_sources(select, cubes))
        for node in [node for node in select.find_all(exp.Anonymous) if node.name == WORD]:
            if node.find_ancestor(exp.Select) is select:
                _write_out(node, sources)
    return replace(statement, tree=tree)


def _sources(select: exp.Select, cubes: dict[str, Cube]) -> Iterator[_From]:
    """The facts in FROM; a cube there becomes its fact, of the rows that the cube is of."""
    hidden = _ctes(select)
    from_ = select.args.get("from_")
    joins = select.args.get("joins") or []
    for place, source in enumerate([from_, *joins] if from_ is not None else []):
        table = source.this
        if not isinstance(table, exp.Table) or table.name in hidden:
            continue
        if table.name in load_facts():
            held = tuple(cube for cube in cubes.values() if cube.fact == table.name)
            yield _From(table.alias_or_name, held, whole=False)
        elif table.name in cubes and table.name not in load_lookups():
            cube = cubes[table.name]
            _refuse_filtered_outer(cube, [source, *joins] if place == 0 else [source])
            if not table.alias:
                table.set("alias", exp.TableAlias(this=exp.to_identifier(table.name, quoted=True)))
            table.set("this", exp.to_identifier(cube.fact, quoted=True))
            if cube.where:
                select.where(_predicate(cube.where, table.alias), copy=False)
            yield _From(table.alias, (cube,), whole=True)


def _refuse_filtered_outer(cube: Cube, around: Iterable[exp.Expr]) -> None:
    """A filter in WHERE would take away the rows that an outer join adds."""
    if cube.where and any(str(join.args.get("side") or "").upper() in ("LEFT", "RIGHT", "FULL") for join in around):
        todo = f"Join (SELECT ... FROM {cube.name}) instead."
        raise QueryError(f"cube {cube.name} has a filter and stands in an outer join.", todo=todo, code="0A000")


def _ctes(node: exp.Expr | None) -> set[str]:
    """The names of WITH that a query sees."""
    found: set[str] = set()
    while node is not None:
        clause = node.args.get("with_")
        found |= {cte.alias for cte in clause.expressions} if clause else set()
        node = node.parent
    return found


def _write_out(node: exp.Anonymous, sources: list[_From]) -> None:
    if isinstance(node.parent, exp.Window) or (
        isinstance(node.parent, exp.Filter) and isinstance(node.parent.parent, exp.Window)
    ):
        raise QueryError("MEASURE can't be a window function.", todo="Group in a sub-query.", code="0A000")
    meant = _meant(node, sources)
    around = node.parent if isinstance(node.parent, exp.Filter) else None
    conditions = [around.expression.this] if around is not None else []
    if meant.filtered and meant.cube.where:
        conditions.append(_predicate(meant.cube.where, meant.alias))
    made = _expression(meant, meant.measure, conditions)
    top = around or node
    if isinstance(top.parent, exp.Select) and top.arg_key == "expressions":
        made = exp.alias_(made, _asked_name(node), quoted=True)
    top.replace(made if isinstance(made, (exp.Alias, exp.Func, exp.Filter, exp.WithinGroup)) else exp.Paren(this=made))


def _asked_name(node: exp.Anonymous) -> str:
    return str(node.expressions[0].name)


def _meant(node: exp.Anonymous, sources: list[_From]) -> _Meant:
    """The measure that a MEASURE names."""
    asked, *rest = node.expressions
    if not isinstance(asked, exp.Column) or (rest and not isinstance(rest[0], exp.Literal)):
        todo = "Write MEASURE(errors), or MEASURE(latency, 0.99) for a quantile."
        raise QueryError("MEASURE takes the name of a measure.", todo=todo, code="42883")
    if not sources:
        todo = "Name a fact or a cube in FROM, beside MEASURE."
        raise QueryError("MEASURE needs the rows of a fact.", todo=todo, code="42803")
    share = rest[0].name if rest else ""
    near = [(source, cube) for source in sources for cube in source.cubes]
    if asked.table:
        near = [(source, cube) for source, cube in near if asked.table in (source.alias, cube.name)]
    found = [one for source, cube in near for one in _in_cube(cube, asked.name, share, source)]
    # A declared name comes before what another cube's quantiles would be called.
    found = [one for one in found if one.measure.name == asked.name] or found
    if not found:
        known = sorted({one.name for _, cube in near for one in cube.measures})
        todo = did_you_mean(asked.name, known) or f"There are {', '.join(known) or 'none'}."
        raise QueryError(f"there is no measure '{asked.name}'.", todo=todo, code="42703")
    other = next((one for one in found if (one.means, one.alias) != (found[0].means, found[0].alias)), None)
    if other is not None:
        here, there = (f"{one.cube.name}.{asked.name}" for one in (found[0], other))
        todo = f"Write MEASURE({here}) or MEASURE({there})."
        what = f"measure '{asked.name}' of cube {found[0].cube.name} is another than that of cube {other.cube.name}."
        raise QueryError(what, todo=todo, code="42702")
    return found[0]


def _in_cube(cube: Cube, name: str, share: str, source: _From) -> Iterator[_Meant]:
    """The measure of that name in a cube, or the quantile that pNN_name means."""
    measures = {one.name: one for one in cube.measures}
    form = _SHARE.fullmatch(name)
    if name in measures:
        yield _Meant(cube, measures[name], source.alias, share, filtered=not source.whole)
    elif form and not share and form[2] in measures and measures[form[2]].function == "quantiles":
        digits = form[1]
        part = "1" if digits == "100" else f"0.{digits.zfill(2)}"
        yield _Meant(cube, measures[form[2]], source.alias, part, filtered=not source.whole)


def _expression(meant: _Meant, measure: Measure, conditions: list[exp.Expr]) -> exp.Expr:
    """A measure's value over rows, each aggregate under the conditions."""
    if measure.function == "ratio":
        others = {one.name: one for one in meant.cube.measures}
        of, over = (_expression(meant, others[name], conditions) for name in (measure.of, measure.over))
        parts = [of, exp.Nullif(this=over, expression=exp.Literal.number(0))]
        return exp.Anonymous(this="fc_divide", expressions=parts)
    if measure.function == "quantiles" and not meant.share:
        what = f"'{measure.name}' is a distribution, of which a share is asked."
        todo = f"Write MEASURE({measure.name}, 0.99) or MEASURE(p99_{measure.name})."
        raise QueryError(what, todo=todo, code="42883")
    if measure.function != "quantiles" and meant.share:
        raise QueryError(f"'{measure.name}' is no distribution, so it takes no share.", todo="Leave it out.")
    own = [_predicate(measure.where, meant.alias)] if measure.where else []
    column = exp.column(measure.column, table=meant.alias, quoted=True) if measure.column else exp.Star()
    core = _CORES.get(measure.function, _word(measure.function))(column, meant.share)
    held = [exp.paren(node.copy()) for node in (*own, *conditions)]
    return exp.Filter(this=core, expression=exp.Where(this=exp.and_(*held, copy=False))) if held else core


_Core = Callable[[exp.Expr, str], exp.Expr]


def _word(function: str) -> _Core:
    """The SQL function of the measure's own name."""

    def made(column: exp.Expr, _: str) -> exp.Expr:
        return sqlglot.parse_one(f"{function}(x)", read="postgres").transform(
            lambda node: column if isinstance(node, exp.Column) else node
        )

    return made


def _quantile(column: exp.Expr, share: str) -> exp.Expr:
    rank = exp.Literal.number(share)
    if column.name == COUNTS:
        return exp.Anonymous(this="approx_percentile", expressions=[column, rank])
    order = exp.Order(expressions=[exp.Ordered(this=column, nulls_first=False)])
    return exp.WithinGroup(this=exp.PercentileCont(this=rank), expression=order)


_CORES: Final[dict[str, _Core]] = {
    "count": lambda column, _: exp.Count(this=column, big_int=True),
    "distinct": lambda column, _: exp.Count(this=exp.Distinct(expressions=[column])),
    "quantiles": _quantile,
}


def _predicate(text: str, alias: str) -> exp.Expr:
    """A definition's predicate with its columns under an alias, quoted as a statement's own."""
    tree = sqlglot.parse_one(text, read="duckdb")
    for column in tree.find_all(exp.Column):
        column.set("this", exp.to_identifier(column.name, quoted=True))
        column.set("table", exp.to_identifier(alias, quoted=True))
    return tree
