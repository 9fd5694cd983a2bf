"""The engine's refusals in words of ours: what is wrong with the statement, without the engine's names for things.

Each pattern is matched against the engine's first line, without its kind of error ("Binder Error: "). What no pattern
knows is passed on in the engine's words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lake.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

_KIND: Final = re.compile(r"^(?:[A-Z][A-Za-z]*(?: [A-Za-z]+)? )?Error: ")
# Longer names first: one may begin with another.
_TYPES: Final = {
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "STRING_LITERAL": "text",
    "INTEGER_LITERAL": "integer",
    "VARCHAR": "text",
    "INTEGER": "integer",
    "HUGEINT": "numeric",
    "DOUBLE": "double precision",
    "FLOAT": "real",
    "BOOLEAN": "boolean",
    "BOOL": "boolean",
    "TIMESTAMP": "timestamp",
    "INTERVAL": "interval",
    "BIGINT": "bigint",
    "DATE": "date",
    "INT128": "numeric",
    "INT64": "bigint",
    "INT32": "integer",
    "INT16": "smallint",
    "INT8": "tinyint",
}
_TYPE: Final = re.compile("|".join([r"DECIMAL(?:\([0-9, ]+\))?", *map(re.escape, _TYPES)]))
_CAST: Final = "Write CAST(x AS type) where types differ."
_NUMBER: Final = "Cast to a wider type, or aggregate less."
# The engine's kind of error -> SQLSTATE.
_CODES: Final = {
    "OutOfRangeException": "22003",
    "ConversionException": "22P02",
}


def refusal(error: duckdb.Error) -> QueryError:
    """What the engine says of a statement that it can't run, as an error with its SQLSTATE and what to do."""
    said = _KIND.sub("", str(error).splitlines()[0]).rstrip(".! ")
    for pattern, told in _PATTERNS:
        if match := pattern.search(said):
            return told(match)
    code = _CODES.get(type(error).__name__, "XX000")
    return QueryError(f"the statement can't be run: {_named(said)}.", code=code)


def _named(text: str) -> str:
    """Types by PostgreSQL's names."""
    return _TYPE.sub(lambda match: _TYPES.get(match[0], "numeric"), text)


def _no_function(match: re.Match[str]) -> QueryError:
    name, taken = match[1], _named(match[2])
    operands = taken.split(", ")
    if not name[0].isalpha():
        shown = f"{operands[0]} {name} {operands[1]}" if len(operands) == 2 else f"{name} {taken}"
        return QueryError(f"there is no operator {shown}.", todo=_CAST, code="42883")
    if name.startswith("fc_"):
        return QueryError(f"an aggregate does not take {taken}.", todo=_CAST, code="42883")
    return QueryError(f"{name}() does not take {taken}.", todo=_CAST, code="42883")


def _no_value(match: re.Match[str]) -> QueryError:
    column = f" (column {match[3]})" if match[3] else ""
    wanted = _named(match[2])
    return QueryError(
        f"'{match[1]}' is no {wanted}{column}.", todo=f"Compare and cast only what reads as {wanted}.", code="22P02"
    )


def _no_cast(match: re.Match[str]) -> QueryError:
    source, target = _named(match[1]), _named(match[2])
    return QueryError(f"{source} can't be made {target}.", todo="Cast by way of text, or leave it out.", code="42846")


def _no_time(match: re.Match[str]) -> QueryError:
    todo = "Write '2026-10-06' or '2026-10-06 12:30:00+00'."
    return QueryError(f"'{match[2]}' is no {match[1]}.", todo=todo, code="22007")


def _no_unit(match: re.Match[str]) -> QueryError:
    todo = "Use second, minute, hour, day, week, month, quarter or year."
    return QueryError(f"there is no unit of time '{match[1].lower()}'.", todo=todo, code="22023")


def _fixed(what: str, todo: str, code: str) -> Callable[[re.Match[str]], QueryError]:
    return lambda match: QueryError(what.format(*map(_named, match.groups())), todo=todo, code=code)


_PATTERNS: Final = tuple(
    (re.compile(pattern), told)
    for pattern, told in (
        (r"ivision by zero", _fixed("Division by zero.", "Write a / NULLIF(b, 0).", "22012")),
        (r"No function matches the given name and argument types '(\S+?)\((.*)\)'", _no_function),
        (
            r"Could not convert string ['\"](.*)['\"] to (\S+(?:\([0-9, ]+\))?)"
            r"(?: when casting from source column (\w+))?$",
            _no_value,
        ),
        (r"Unimplemented type for cast \((.+) -> (.+)\)(?: when|$)", _no_cast),
        (r"(?:invalid )?(date|timestamp|time|interval) field(?: format| value out of range)?: \"(.*?)\"", _no_time),
        (r"extract specifier \"(.*)\" not recognized", _no_unit),
        (
            r"More than one row returned by a subquery",
            _fixed("a sub-query in an expression gave more than one row.", "Aggregate it, or add LIMIT 1.", "21000"),
        ),
        (
            r"with value (\S+) can't be cast because the value is out of range for the destination type (\S+)",
            _fixed("{0} is out of the range of {1}.", _NUMBER, "22003"),
        ),
        (r"Overflow in \w+ of (\S+) .*?\((.*)\)", _fixed("{1} is out of the range of {0}.", _NUMBER, "22003")),
        (
            r"^(?:aggregate function calls cannot be nested|WHERE clause cannot contain aggregates)",
            _fixed("an aggregate stands inside another, or in WHERE.", "Use HAVING, or a sub-query.", "42803"),
        ),
        (
            r"^column \"(.*?)\" must appear in the GROUP BY clause",
            _fixed("column '{0}' must be in GROUP BY or inside an aggregate.", "Add it to GROUP BY.", "42803"),
        ),
        (
            r"Could not parse string \"(.*?)\" according to format specifier",
            _fixed("'{0}' does not read as the format says.", "Check the format.", "22007"),
        ),
    )
)
