"""A definition written out: as YAML and as a CREATE CUBE statement, both in one canonical form.

What a definition doesn't say is left out, so that either text reads back to the same definition.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from cubes.measures import FUNCTIONS
from cubes.spec import CubeSpec

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*|[0-9]+[A-Za-z_]+")
# Words that would be read as the next clause.
_WORDS: Final = frozenset(
    "age all as band budget by comment cube filter for from group grouping hierarchy include joint join keep lattice "
    "left mandatory most partition select sets starting where with".split()
)


def to_yaml(spec: CubeSpec) -> str:
    """The definition as YAML: a line for each field, and one for each measure."""
    return "\n".join(field_lines(plain_fields(spec))) + "\n"


def field_lines(fields: Mapping[str, Any]) -> list[str]:
    """Fields of a definition as lines of YAML."""
    lines = []
    for name, value in fields.items():
        if name == "measures":
            lines += [f"{name}:", *(f"  {key}: {_flow(one)}" for key, one in value.items())]
        else:
            lines.append(f"{name}: {_flow(value)}")
    return lines


def to_sql(spec: CubeSpec) -> str:
    """The definition as a CREATE CUBE statement; see `cubes.declare` for its grammar."""
    said = plain_fields(spec)
    comment = f" COMMENT {_text(said['description'])}" if "description" in said else ""
    items = [", ".join(map(_name, said["dimensions"])), *_derived(said)]
    items += [_measure(*one) for one in said["measures"].items()]
    lines = [f"CREATE CUBE {_name(said['cube'])}{comment} AS", "SELECT " + ",\n    ".join(items)]
    joins = "".join(f" LEFT JOIN {_name(lookup)}" for lookup in _joined(said))
    lines.append(f"FROM {_name(said['fact'])}{joins}")
    if "where" in said:
        lines.append(f"WHERE {said['where'].strip()}")
    lines.append("GROUP BY " + ",\n    ".join(["ALL", *_groupings(said)]))
    starting = f" STARTING {said['week_starts']}" if "week_starts" in said else ""
    lines.append(f"PARTITION BY {', '.join(map(_name, said['grains']))}{starting}")
    if said.get("keep"):
        lines.append("KEEP " + ", ".join(f"{_name(grain)} FOR {_name(age)}" for grain, age in said["keep"].items()))
    if said.get("age_out"):
        ages = (f"{_name(name)} AFTER {_name(age)}" for name, age in said["age_out"].items())
        lines.append(f"AGE OUT {', '.join(ages)}")
    if said.get("budget"):
        lines.append(f"BUDGET {_options(said['budget'])}")
    return "\n".join(lines) + ";\n"


def plain_fields(spec: CubeSpec) -> dict[str, Any]:
    """What the definition says, as plain values, without what it leaves to its default."""
    said = spec.model_dump(exclude_defaults=True)
    for measure in said["measures"].values():
        if "count" in measure:
            count = measure["count"]
            measure["count"] = count if "where" in count and "column" in count else count.get("column", "*")
            if "where" in count and "column" not in count:
                measure["count"] = {"where": count["where"]}
    return said


def _derived(said: Mapping[str, Any]) -> Iterator[str]:
    for lookup, names in said.get("joins", {}).items():
        for name, column in names.items():
            yield _name(f"{lookup}.{column}") + ("" if name == column else f" AS {_name(name)}")
    for name, band in said.get("bands", {}).items():
        edges = "".join(f", {edge}" for edge in band["edges"])
        yield f"band({_name(band['column'])}{edges}) AS {_name(name)}"


def _joined(said: Mapping[str, Any]) -> list[str]:
    columns = [band["column"].rpartition(".")[0] for band in said.get("bands", {}).values()]
    return list(dict.fromkeys([*said.get("joins", {}), *(name for name in columns if name and name != "labels")]))


def _measure(name: str, said: Mapping[str, Any]) -> str:
    function = next(one for one in FUNCTIONS if one in said)
    value = said[function]
    options = {key: one for key, one in said.items() if key != function}
    tail = f" AS {_name(name)}" + (f" WITH {_options(options)}" if options else "")
    if function == "count" and isinstance(value, Mapping):
        return f"count(*) FILTER (WHERE {value['where'].strip()}){tail}"
    if isinstance(value, Mapping):
        return f"{function}({', '.join(f'{key} => {_value(one)}' for key, one in value.items())}){tail}"
    return f"{function}({value if value == '*' else _name(value)}){tail}"


def _groupings(said: Mapping[str, Any]) -> Iterator[str]:
    if said.get("cuboids"):
        sets = ",\n        ".join(map(_names, said["cuboids"]))
        yield f"GROUPING SETS ({sets})"
    for group in said.get("groups", []):
        parts = [f"INCLUDE {_names(group['include'])}"] if group.get("include") is not None else []
        parts += [f"MANDATORY {_names(group['mandatory'])}"] if "mandatory" in group else []
        parts += [f"HIERARCHY {_names(names)}" for names in group.get("hierarchies", [])]
        parts += [f"JOINT {_names(names)}" for names in group.get("joints", [])]
        parts += [f"MOST {group['max_dimensions']}"] if "max_dimensions" in group else []
        yield f"LATTICE ({' '.join(parts)})"


def _options(said: Mapping[str, Any]) -> str:
    shown = {
        key: _names(one) if isinstance(one, list) else _text(one) if key == "description" else _value(one)
        for key, one in said.items()
    }
    return f"({', '.join(f'{_name(key)} = {text}' for key, text in shown.items())})"


def _names(names: Iterable[str]) -> str:
    return f"({', '.join(map(_name, names))})"


def _name(name: str) -> str:
    plain = _PLAIN.fullmatch(name) and name.lower() not in _WORDS
    return name if plain else '"' + name.replace('"', '""') + '"'


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else _text(value)
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _flow(value: Any) -> str:
    """A value on one line; texts in double quotes wherever the reader might take them for something else."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{_flow(key)}: {_flow(one)}" for key, one in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case Decimal():
            return f"{value:f}"
        case str():
            plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*|[0-9]+[A-Za-df-z][A-Za-z]*", value)
            return (
                value
                if plain and value.lower() not in ("null", "true", "false")
                else json.dumps(value, ensure_ascii=False)
            )
    return str(value)
