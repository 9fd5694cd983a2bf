from __future__ import annotations

from itertools import combinations

import pytest

from cubes.cuboids import Group, Step, derivation, expand, is_within, mask
from lake.errors import DefinitionError


@pytest.mark.parametrize(
    "group, cuboids",
    [
        (Group((0, 1)), {0b01, 0b10, 0b11}),  # nothing at all is asked for by no group
        (Group((0, 1, 2), mandatory=(2,)), {0b100, 0b101, 0b110, 0b111}),
        (Group((0, 1, 2), hierarchies=((0, 1, 2),)), {0b001, 0b011, 0b111}),
        (Group((0, 1, 2), hierarchies=((2, 0),), mandatory=(1,)), {0b010, 0b110, 0b111}),
        (Group((0, 1, 2), joints=((0, 1),)), {0b011, 0b100, 0b111}),
        (Group((0, 1, 2), most=1), {0b001, 0b010, 0b100}),
        (Group((0, 1, 2), mandatory=(0,), most=2), {0b001, 0b011, 0b101}),
        (Group((0, 1, 2, 3), mandatory=(0,), hierarchies=((1, 2),), joints=((3,),)), {1, 3, 7, 9, 11, 15}),
    ],
)
def test_a_group_expands_by_its_rules(group: Group, cuboids: set[int]) -> None:
    assert expand(group, 100) == cuboids


def test_a_group_over_the_limit_is_refused_before_it_is_made() -> None:
    with pytest.raises(DefinitionError, match=r"more than 64 cuboids.*budget"):
        expand(Group(tuple(range(60))), 64)


def test_mask_and_containment() -> None:
    assert mask([0, 3]) == 0b1001
    assert is_within(0b1000, 0b1001)
    assert not is_within(0b0010, 0b1001)


def test_each_cuboid_comes_from_its_smallest_finished_parent() -> None:
    groups = {0b111: 1000, 0b011: 100, 0b101: 900, 0b001: 10, 0b000: 1}
    assert derivation(0b111, groups, groups) == (
        Step(0b111, (0b101, 0b011)),
        Step(0b011, (0b001,)),
        Step(0b001, (0b000,)),
    )


def test_every_lattice_is_derived_whole_and_in_order() -> None:
    cuboids = [mask(places) for size in range(5) for places in combinations(range(5), size)]
    groups = {cuboid: 7 * cuboid.bit_count() + cuboid % 3 for cuboid in cuboids} | {0b11111: 99}
    finished = {0b11111}
    for step in derivation(0b11111, cuboids, groups):
        assert step.parent in finished
        assert all(is_within(child, step.parent) for child in step.children)
        finished.update(step.children)
    assert finished == {*cuboids, 0b11111}


def test_a_cuboid_without_fewer_groups_than_its_parent_still_has_one() -> None:
    assert derivation(3, [1, 2, 0], dict.fromkeys(range(4), 0)) == (Step(3, (1, 2)), Step(1, (0,)))
