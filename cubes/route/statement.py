"""What flows through the passes: a statement, its blocks, and the plan of each, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp

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
class Quantile:
    """A percentile of a value column: `low` and `high` name the parts of its exact extremes."""

    function: str
    column: str
    share: str
    condition: exp.Expr | None
    low: str
    high: str


@dataclass(frozen=True)
class Term:
    """An aggregate of the user's: the node, its column in the merged relation, and its value over merged parts."""

    name: str
    node: exp.Expr
    kind: str
    final: str
    quantile: Quantile | None = None


@dataclass(frozen=True)
class Block:
    """A SELECT over exactly one fact that aggregates; `reason` says why cubes can't answer it, empty when they may.

    `keys` are the grouping expressions by column name; `where` is the predicate without the time range; `dims` are the
    dimensions of keys and predicate; `step` is the number of seconds whose divisors are fitting grains (0: any grain).
    """

    select: exp.Select
    fact: str
    alias: str
    window: Window = field(default_factory=Window)
    where: exp.Expr | None = None
    keys: Mapping[str, exp.Expr] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    terms: tuple[Term, ...] = ()
    dims: frozenset[str] = frozenset()
    step: int = 0
    reason: str = ""

    @property
    def sketches(self) -> frozenset[str]:
        """The value columns of which slots are needed."""
        return frozenset(term.quantile.column for term in self.terms if term.quantile)


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
