"""The tables that the endpoint shows, with comments: facts and lookups in `public`, the server's own in `fleet`."""

from __future__ import annotations

from collections.abc import Iterable

from cubes.model import Cube
from cubes.serve.journal import Journal
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
_RECEIPTS = (
    RelationColumn("at", "timestamptz", "When the answer was given"),
    RelationColumn("process", "int8", "Connection that asked, as pg_backend_pid() names it"),
    RelationColumn("statement", "text", "The statement as it was sent"),
    RelationColumn("path", "text", "What answered: cube, cube+raw, mixed or raw"),
    RelationColumn("rows", "int8", "Rows of the answer [1]"),
    RelationColumn("latency_ms", "float8", "Time to the answer, before rows were sent [ms]"),
    RelationColumn("receipt", "text", "The receipt as JSON; with counts where fleetcube.receipt was on"),
)


def relations(journal: Journal, cubes: Iterable[Cube] = (), more: Iterable[Relation] = ()) -> tuple[Relation, ...]:
    """Every relation of a server, in name order within its schema; a cube is a view, since FROM may name it.

    `more` are the server's own beside its receipts.
    """
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
    named = sorted([*facts, *lookups, *shown], key=lambda relation: relation.name)
    about = "The last statements on facts that this server answered, oldest first"
    return (*named, Relation("fleet", "receipts", "v", about, _RECEIPTS, journal.table), *more)


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
