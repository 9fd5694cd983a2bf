"""A cube's definition as text beside its cells, so that an old version can be read after its YAML has changed.

The text is JSON of the value's fields. A field that the text lacks takes its default; one that this program doesn't
know may change the meaning of the cells, so such a definition is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin, get_type_hints

from cubes.model import Cube
from lake.errors import LakeError

if TYPE_CHECKING:
    from lake.delta import Snapshot

PROPERTY: Final = "fleetcube.definition"
INHERITS: Final = "fleetcube.inherits"  # digests of the definitions of whose cells a table was first made


def to_text(cube: Cube) -> str:
    """The definition as one line of JSON; fields that hold their default are left out."""
    return json.dumps(_plain(cube), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def from_text(text: str, where: str) -> Cube:
    """The definition of a text; `where` names its place in errors. LakeError when a newer program wrote it."""
    try:
        found = _value(Cube, json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        todo = "Use the version of fleetcube that built it, or drop the table."
        raise LakeError(f"The stored definition can't be read: {error}.", where=where, todo=todo) from error
    assert isinstance(found, Cube)
    return found


def inherited(cells: Snapshot) -> tuple[str, ...]:
    """The digests of the earlier definitions whose cells are in a cube's table."""
    return tuple((cells.property(INHERITS) or "").split())


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        found = {one.name: getattr(value, one.name) for one in fields(value)}
        defaults = {one.name: one.default for one in fields(value)}
        return {
            name: _plain(held) for name, held in found.items() if defaults[name] is MISSING or held != defaults[name]
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    return str(value) if isinstance(value, Decimal) else value


def _value(kind: Any, plain: Any) -> Any:
    """The value of a declared type whose plain form this is."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        assert isinstance(kind, type)
        hints = get_type_hints(kind)
        strange = sorted(set(plain) - set(hints))
        if strange:
            raise ValueError(f"{kind.__name__} has no {', '.join(strange)}")
        return kind(**{name: _value(hints[name], held) for name, held in plain.items()})
    if origin in (Union, UnionType):
        return None if plain is None else _value(next(one for one in arguments if one is not NoneType), plain)
    if origin is tuple:
        kinds = [arguments[0]] * len(plain) if arguments[-1] is Ellipsis else arguments
        return tuple(_value(one, held) for one, held in zip(kinds, plain, strict=True))
    if origin is not None and issubclass(origin, Mapping):
        return {key: _value(arguments[1], held) for key, held in plain.items()}
    return Decimal(plain) if kind is Decimal else plain
