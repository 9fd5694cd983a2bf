"""What flows through the passes: a statement, its blocks, and the plan of each, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp

from cubes.route.sketched import Distinct, Quantile
from cubes.route.span import Window

if TYPE_CHECKING:
    from cubes.route.match import Candidate, Fit
    from cubes.route.rewrite import Answered
    from cubes.route.tile import Plan


@dataclass(frozen=True)
class Part:
    """One mergeable column of a block: how a row gives it, how a cell gives it, and how parts are merged.

    `merge` is sum, min, max or distinct; `states` are the cube's columns that `cell` reads; `dims` those of its
    conditions. `where` is the predicate of a conditional count, which a cube may keep as a state of its own.
    """

    name: str
    merge: str
    type: str
    row: exp.Expr
    cell: exp.Expr
    states: frozenset[str] = frozenset()
    dims: frozenset[str] = frozenset()
    where: str = ""


@dataclass(frozen=True)
class Term:
    """An aggregate of the user's: the node, its column in the merged relation, and its value over merged parts."""

    name: str
    node: exp.Expr
    kind: str
    final: str
    quantile: Quantile | None = None
    distinct: Distinct | None = None

    @property
    def approximate(self) -> bool:
        """Whether cells may give another value than rows."""
        if self.quantile is not None:
            return not self.quantile.histogram
        return self.distinct is not None and not self.distinct.exact


@dataclass(frozen=True)
class Block:
    """A SELECT over one fact that aggregates; `reason` says why cubes can't answer it, empty when they may.

    `keys` are the grouping expressions by column name; `where` is the predicate without the time range; `dims` are the
    dimensions of keys and predicate; `misfits` are the grains in whose buckets some expression of time is not
    constant, each with the reason; `beside` is what stands after FROM where lookups are joined, else (). `sets` are the
    sets of keys, by name, where they are not simply all of them; `told` is each GROUPING() with the keys it asks about.
    """

    select: exp.Select
    fact: str
    alias: str
    window: Window = field(default_factory=Window)
    where: exp.Expr | None = None
    keys: Mapping[str, exp.Expr] = field(default_factory=dict)
    sets: tuple[tuple[str, ...], ...] = ()
    told: Mapping[str, tuple[exp.Expr, tuple[str, ...]]] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    terms: tuple[Term, ...] = ()
    dims: frozenset[str] = frozenset()
    misfits: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[exp.Expr, ...] = ()
    reason: str = ""

    @property
    def sketches(self) -> frozenset[str]:
        """The names of the sketches of which slots or hashes are needed."""
        named = {term.quantile.column for term in self.terms if term.quantile}
        return frozenset(named | {term.distinct.sketch for term in self.terms if term.distinct})

    @property
    def sketched(self) -> frozenset[str]:
        """The columns of those sketches."""
        return frozenset(name.removeprefix("distinct:") for name in self.sketches)


@dataclass(frozen=True)
class Piece:
    """A run of whole buckets of one grain, from one cuboid."""

    grain: str
    cuboid: int
    window: Window


@dataclass(frozen=True)
class Statement:
    """A statement on its way through the passes; what a pass has not reached yet is empty.

    `fits`, `candidates` and `plans` run beside `blocks`; `scanned` are (fact, range) of reads of
    trusted rows; `outputs` are (name, kind) pairs; `sql` is the engine's text; `volatile` statements ask for the
    present and are planned anew each time.
    """

    text: str
    raw: bool = False
    tree: exp.Expr | None = None
    outputs: tuple[tuple[str, str], ...] = ()
    blocks: tuple[Block, ...] = ()
    fits: tuple[tuple[Fit, ...], ...] = ()
    candidates: tuple[tuple[Candidate, ...], ...] = ()
    plans: tuple[Plan | None, ...] = ()
    answered: tuple[Answered, ...] = ()
    scanned: tuple[tuple[str, Window], ...] = ()
    sql: str = ""
    volatile: bool = False
