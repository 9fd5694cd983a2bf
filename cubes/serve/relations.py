"""The tables of schema `public`, with comments: facts, lookups, and cubes as views."""

from __future__ import annotations

from collections.abc import Iterable

from cubes.model import Cube
from cubes.serve.pg_catalog import Relation, RelationColumn
from lake.facts import load_facts
from lake.lookups import load_lookups

# A declared column type as a client sees it; decimal, duration and interval are exact numbers.
_TYPES = {
    "timestamp": "timestamptz",
    "decimal": "numeric",
    "duration": "numeric",
    "interval": "numeric",
    "integer": "int8",
    "string": "text",
    "boolean": "bool",
    "labels": "text",
    "counts": "int8[]",
}


def relations(cubes: Iterable[Cube] = ()) -> tuple[Relation, ...]:
    """Every relation, in the order of names; a cube is a view, since FROM may name it."""
    facts = [
        Relation(
            "public",
            fact.name,
            "r",
            fact.description,
            tuple(
                RelationColumn(c.name, _TYPES[c.type], _comment(c.description, c.unit), c.required)
                for c in fact.columns
            ),
        )
        for fact in load_facts().values()
    ]
    lookups = [
        Relation(
            "public",
            lookup.name,
            "r",
            lookup.description,
            tuple(RelationColumn(c.name, _TYPES[c.type], _comment(c.description, c.unit)) for c in lookup.columns),
            key=(*lookup.key, "valid_from") if lookup.temporal and "valid_from" not in lookup.key else lookup.key,
        )
        for lookup in load_lookups().values()
    ]
    taken = {item.name for item in (*facts, *lookups)}
    shown = [_cube(cube) for cube in cubes if cube.name not in taken]
    return tuple(sorted([*facts, *lookups, *shown], key=lambda relation: relation.name))


def _cube(cube: Cube) -> Relation:
    """A cube's dimensions as columns of its fact, and its measures in words: they are asked by MEASURE(name)."""
    fact = load_facts()[cube.fact]
    kept = {"ts", *cube.dimensions}
    columns = tuple(
        RelationColumn(c.name, _TYPES[c.type], _comment(c.description, c.unit), c.required)
        for c in fact.columns
        if c.name in kept
    )
    measures = ", ".join(measure.name for measure in cube.measures)
    said = f"{cube.description.rstrip('.')}. " if cube.description else ""
    text = f"{said}Rows of {cube.fact}; MEASURE(name) of: {measures}"
    return Relation("public", cube.name, "v", text, columns, about=cube.fact)


def _comment(description: str, unit: str) -> str:
    """A column's description with its unit behind it, in brackets, where it has one."""
    return f"{description} [{unit}]" if unit not in ("", "none") else description
