"""SET, SHOW, RESET and DISCARD as their words say it, carried out on a connection's variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cubes.serve.statements import Statement
from cubes.serve.variables import Variables
from lake.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa

_Told = tuple[tuple[str, str], ...]


def set_variable(variables: Variables, statement: Statement, *, in_transaction: bool) -> tuple[_Told, tuple[str, ...]]:
    """SET in all its forms; what the client must be told, and warnings."""
    tokens = list(statement.tokens[1:])
    scope = tokens[0][0].upper() if tokens else ""
    if scope in ("LOCAL", "SESSION") and len(tokens) > 1:
        tokens = tokens[1:]
    words = [text.upper() for text, _ in tokens]
    if words[:1] in (["TRANSACTION"], ["CHARACTERISTICS"]):
        _set_transaction(words)
        return (), ()
    if words[:2] == ["TIME", "ZONE"]:
        name, values = "timezone", tokens[2:]
    elif words[:1] == ["NAMES"]:
        name, values = "client_encoding", tokens[1:]
    else:
        name, values = _assignment(tokens)
    default = not values or [text.upper() for text, _ in values] in (["DEFAULT"], ["LOCAL"])
    value = None if default else "".join(", " if text == "," else text for text, _ in values)
    if scope == "LOCAL" and not in_transaction:
        return (), ("SET LOCAL can only be used in transaction blocks",)
    return tuple(variables.set(name, value, local=scope == "LOCAL")), ()


def shown(variables: Variables, statement: Statement) -> pa.Table:
    """The rows of a SHOW."""
    import pyarrow as pa

    words = [text for text, _ in statement.tokens[1:]]
    upper = [word.upper() for word in words]
    if upper == ["ALL"]:
        pairs = variables.listed()
        columns = {
            "name": [n for n, _ in pairs],
            "setting": [v for _, v in pairs],
            "description": [""] * len(pairs),
        }
        return pa.table(columns)
    names = {"TRANSACTION ISOLATION LEVEL": "transaction_isolation", "TIME ZONE": "TimeZone"}
    name = names.get(" ".join(upper), "".join(words))
    return pa.table({name: pa.array([variables.get(name)], pa.string())})


def reset(variables: Variables, statement: Statement) -> _Told:
    """RESET of one or all, and what DISCARD does to variables; what the client must be told."""
    name = "".join(text for text, _ in statement.tokens[1:])
    if name.upper() == "ALL" or statement.verb == "DISCARD":
        return tuple(variables.reset())
    return tuple(variables.set(name, None))


def _set_transaction(words: list[str]) -> None:
    if "WRITE" in words:
        raise QueryError("cannot set transaction read-write mode: the endpoint only reads", code="25006")


def _assignment(tokens: list[tuple[str, bool]]) -> tuple[str, list[tuple[str, bool]]]:
    """`name = values` or `name TO values`; a name may have dots."""
    for place, (text, quoted) in enumerate(tokens):
        if not quoted and text.upper() in ("=", "TO"):
            return "".join(word for word, _ in tokens[:place]), tokens[place + 1 :]
    raise QueryError("syntax error: SET wants a name, = or TO, and a value", code="42601")
