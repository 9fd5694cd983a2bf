"""What a cube is: frozen values, made by `cubes.load` and read by the builder, the verifier and the router.

A *cuboid* is a bitmask over the cube's declared dimensions: bit i set means that the i-th dimension is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class State:
    """One mergeable column of a cell, named by function and column, so that measures of equal parts share it.

    `function` is count, sum, min, max, weighted, weight, squares, fractions, last, last_at or where; `column` is the
    fact's column (for `where` the measure's name); `type` is the engine's type of the stored state; `predicate` is the
    SQL of a `where` state.
    """

    function: str
    column: str
    type: str
    predicate: str = ""

    @property
    def name(self) -> str:
        """The state's column in the cube's table."""
        return f"{self.function}_{self.column}"


@dataclass(frozen=True)
class Sketch:
    """Long rows beside the cells of one column: kept at these grains, in these cuboids, and nowhere else.

    `kind` is quantiles (a slot of the value's distribution and its rows) or distinct (a hash of a value and its rows;
    of each cell the `most` smallest hashes).
    """

    column: str
    grains: tuple[str, ...]
    cuboids: tuple[int, ...]
    kind: str = "quantiles"
    most: int = 0

    @property
    def name(self) -> str:
        """What the table's column `sketch` holds in its rows."""
        return self.column if self.kind == "quantiles" else f"{self.kind}:{self.column}"


@dataclass(frozen=True)
class Measure:
    """What a user asks for by name; `cubes.measures` says which states and sketches it needs.

    `function` is one of `cubes.measures.FUNCTIONS`. `column` is empty for a count of rows, `where` is the predicate of
    a conditional count. Quantiles and distinct are kept at their `grains`, in the cuboids that keep none of the
    dimensions `without`; quantiles promise a `relative_error` (a share, as text), distinct is exact up to `exact_to`
    values. A ratio is the value of the measure `of` over that of the measure `over`, both counts or sums of this cube.
    """

    name: str
    function: str
    column: str = ""
    where: str = ""
    grains: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    relative_error: str = ""
    description: str = ""
    exact_to: int = 0
    of: str = ""
    over: str = ""


@dataclass(frozen=True)
class Derived:
    """A dimension that is no column of the fact: a lookup's `column` by its key, as of the row's time, or a band.

    `lookup` is empty for a band of a number of the fact itself (`labels.x` is a label's). `type` is a declared column
    type. `edges` are the bounds of a band's steps, ascending numbers as text; () for a plain column.
    """

    name: str
    lookup: str
    column: str
    type: str
    edges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cube:
    """One cube. `grains` run from fine to coarse; `cuboids` are masks in ascending order, the base (all bits) last.

    `where` limits the fact's rows (empty: all of them). `keep` is (grain, days) pairs, `age_out` (dimension, days)
    pairs, `budget` the greatest number of cuboids, `budget_bytes` of bytes to a byte of trusted rows, held once these
    take `budget_from_mib`; none changes a cell that is made. `digest`, 12 hex digits, names everything that does.
    """

    name: str
    fact: str
    grains: tuple[str, ...]
    dimensions: tuple[str, ...]
    cuboids: tuple[int, ...]
    measures: tuple[Measure, ...]
    states: tuple[State, ...]
    sketches: tuple[Sketch, ...]
    digest: str
    where: str = ""
    keep: tuple[tuple[str, int], ...] = ()
    budget: int = 64
    budget_bytes: Decimal | None = None
    description: str = ""
    # Those of the dimensions that are no columns of the fact.
    derived: tuple[Derived, ...] = ()
    # After how many days cells need no longer tell a dimension.
    age_out: tuple[tuple[str, int], ...] = ()
    budget_from_mib: int = 0

    @property
    def base(self) -> int:
        """The cuboid that keeps every dimension."""
        return (1 << len(self.dimensions)) - 1

    def mask(self, names: Iterable[str]) -> int:
        """The cuboid that keeps exactly these dimensions; KeyError for one that the cube hasn't got."""
        places = {name: place for place, name in enumerate(self.dimensions)}
        return sum(1 << places[name] for name in set(names))

    def sketch(self, column: str, grain: str, cuboid: int, kind: str = "quantiles") -> Sketch | None:
        """The slots (or hashes, by `kind`) of a column if this cuboid keeps them at this grain, else None."""
        for sketch in self.sketches:
            fits = (sketch.kind, sketch.column) == (kind, column)
            if fits and grain in sketch.grains and cuboid in sketch.cuboids:
                return sketch
        return None

    def kept(self, cuboid: int) -> tuple[str, ...]:
        """The dimensions that a cuboid keeps, in the declared order."""
        return tuple(name for place, name in enumerate(self.dimensions) if cuboid >> place & 1)
