"""The lattice of cuboids as bitmasks: which ones a definition asks for, and from which parent each is derived. Pure.

A cuboid can be derived from every cuboid that keeps all of its dimensions; the cheapest parent is the one with the
fewest groups. Dimensions are places in the cube's declared order here; `cubes.load` turns names into places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from lake.errors import DefinitionError


@dataclass(frozen=True)
class Group:
    """An aggregation group over dimensions (as places): which combinations of them are worth a cuboid.

    `mandatory` are in every cuboid; of a hierarchy only its beginnings occur; the dimensions of a joint occur together
    or not at all; every other dimension is free. `most` limits the dimensions of a cuboid, 0 means no limit.
    """

    dimensions: tuple[int, ...]
    mandatory: tuple[int, ...] = ()
    hierarchies: tuple[tuple[int, ...], ...] = ()
    joints: tuple[tuple[int, ...], ...] = ()
    most: int = 0


@dataclass(frozen=True)
class Step:
    """Derive `children` from the finished `parent`; steps are in an order in which every parent is finished."""

    parent: int
    children: tuple[int, ...]


def expand(group: Group, limit: int) -> set[int]:
    """The cuboids of a group; DefinitionError when there would be more than `limit`, before they are all made."""
    mandatory = mask(group.mandatory)
    found: set[int] = set()
    for parts in product(*_choices(group)):
        cuboid = mandatory
        for part in parts:
            cuboid |= part
        if cuboid and (not group.most or cuboid.bit_count() <= group.most):
            found.add(cuboid)
        if len(found) > limit:
            raise DefinitionError(
                f"The group asks for more than {limit} cuboids.",
                todo="Add mandatory dimensions, hierarchies or joints, lower max_dimensions, or raise budget.cuboids.",
            )
    return found


def is_within(cuboid: int, parent: int) -> bool:
    """Whether `parent` keeps every dimension that `cuboid` keeps."""
    return cuboid & parent == cuboid


def mask(places: Iterable[int]) -> int:
    """The cuboid that keeps the dimensions at these places."""
    return sum(1 << place for place in set(places))


def derivation(top: int, wanted: Iterable[int], groups: Mapping[int, int]) -> tuple[Step, ...]:
    """The order in which to derive `wanted` cuboids from `top`, each from its finished parent with fewest `groups`.

    `groups` gives the number of groups of each cuboid, `top` included. Ties go to the smaller mask, so that the plan
    depends on nothing but its arguments.
    """
    finished = [top]
    steps: list[Step] = []
    for child in sorted(set(wanted) - {top}, key=lambda cuboid: (-groups[cuboid], -cuboid.bit_count(), cuboid)):
        parent = min(
            (cuboid for cuboid in finished if is_within(child, cuboid)), key=lambda cuboid: (groups[cuboid], cuboid)
        )
        if steps and steps[-1].parent == parent:
            steps[-1] = Step(parent, (*steps[-1].children, child))
        else:
            steps.append(Step(parent, (child,)))
        finished.append(child)
    return tuple(steps)


def _choices(group: Group) -> Iterator[Sequence[int]]:
    """For each unit of the group, the masks that it may contribute; the units are independent of each other."""
    for hierarchy in group.hierarchies:
        yield [mask(hierarchy[:length]) for length in range(len(hierarchy) + 1)]
    for joint in group.joints:
        yield [0, mask(joint)]
    bound = {*group.mandatory, *(place for unit in (*group.hierarchies, *group.joints) for place in unit)}
    for place in group.dimensions:
        if place not in bound:
            yield [0, 1 << place]
