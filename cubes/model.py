"""What a cube is: frozen values, made by `cubes.load` and read by the builder, the verifier and the router.

A *cuboid* is a bitmask over the cube's declared dimensions: bit i set means that the i-th dimension is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class State:
    """One mergeable column of a cell, named by function and column, so that measures of equal parts share it.

    `function` is count, sum, min, max, weighted, weight or where; `column` is the fact's column (for `where` the
    measure's name); `type` is the engine's type of the stored state; `predicate` is the SQL of a `where` state.
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
    """Quantile slots of one value column: kept at these grains, in these cuboids, and nowhere else."""

    column: str
    grains: tuple[str, ...]
    cuboids: tuple[int, ...]


@dataclass(frozen=True)
class Measure:
    """What a user asks for by name; `cubes.measures` says which states and sketches it needs.

    `function` is count, sum, min, max, avg, time_avg or quantiles. `column` is empty for a count of rows, `where` is
    the predicate of a conditional count. Quantiles are kept at their `grains`, in the cuboids that keep none of the
    dimensions `without`, and promise a `relative_error` (a share, as text).
    """

    name: str
    function: str
    column: str = ""
    where: str = ""
    grains: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    relative_error: str = ""
    description: str = ""


@dataclass(frozen=True)
class Cube:
    """One cube. `grains` run from fine to coarse; `cuboids` are masks in ascending order, the base (all bits) last.

    `where` limits the fact's rows (empty: all of them). `keep` is (grain, days) pairs and `budget` the greatest number
    of cuboids; neither changes a cell. `digest`, 12 hex digits, names everything that does.
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
    description: str = ""

    @property
    def base(self) -> int:
        """The cuboid that keeps every dimension."""
        return (1 << len(self.dimensions)) - 1

    def mask(self, names: Iterable[str]) -> int:
        """The cuboid that keeps exactly these dimensions; KeyError for one that the cube hasn't got."""
        places = {name: place for place, name in enumerate(self.dimensions)}
        return sum(1 << places[name] for name in set(names))

    def sketch(self, column: str, grain: str, cuboid: int) -> Sketch | None:
        """The slots of a value column if this cuboid keeps them at this grain, else None."""
        for sketch in self.sketches:
            if sketch.column == column and grain in sketch.grains and cuboid in sketch.cuboids:
                return sketch
        return None

    def kept(self, cuboid: int) -> tuple[str, ...]:
        """The dimensions that a cuboid keeps, in the declared order."""
        return tuple(name for place, name in enumerate(self.dimensions) if cuboid >> place & 1)
