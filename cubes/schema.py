"""The JSON Schema of cube definitions, by which editors complete and check the YAML; made by `make docs`."""

from __future__ import annotations

import json
from typing import Any

from cubes.spec import CubeSpec

# What each field is for, as an editor shows it.
_MEANINGS = {
    "cube": "Name of the cube; one name is there once",
    "fact": "The fact whose rows it aggregates",
    "description": "What the cube is for",
    "grains": "Lengths of time buckets, from fine to coarse; 1w and 1mo are made of 1d",
    "week_starts": "The day on which the weeks of grain 1w begin",
    "dimensions": "Text columns of the fact to group and filter by",
    "joins": "Derived dimensions: columns of lookups, by their key, as of the row's time",
    "bands": "Derived dimensions: bands of a number between declared edges, as texts such as [0,128)",
    "where": "Predicate that limits the fact's rows",
    "cuboids": "Combinations of dimensions to keep cells for; that of all dimensions is always kept",
    "groups": "Aggregation groups, each of which stands for many cuboids",
    "measures": "What is kept of the rows, by name",
    "keep": "How long each grain is kept, such as 30d, 8w or 10y",
    "age_out": "After how long cells need no longer tell a dimension, such as {device: 90d, host: 1y}",
    "budget": "What the cube may cost",
}


def cube_schema() -> dict[str, Any]:
    """The schema of one definition, with the short forms that YAML allows."""
    schema = CubeSpec.model_json_schema(mode="validation")
    for name, text in _MEANINGS.items():
        schema["properties"][name]["description"] = text
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "fleetcube cube"}


def cube_schema_text() -> str:
    """The schema as it is written to docs/cube.schema.json."""
    return json.dumps(cube_schema(), indent=1, sort_keys=True) + "\n"
