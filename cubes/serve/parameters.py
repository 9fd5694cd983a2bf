"""Values of a bound statement, put into its tree as typed literals: no client's text becomes SQL by joining texts."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from sqlglot import exp

from cubes.serve.pg_types import PG_TYPES
from cubes.serve.statements import Statement, parse, split
from lake.errors import QueryError

_BY_OID = {item.oid: item.name for item in PG_TYPES.values()}
_ARRAYS = {item.array_oid: item for item in PG_TYPES.values()}
_EPOCH = datetime(2000, 1, 1)
# Types whose literal is the text itself; numbers and booleans are checked and made of their own kind.
_CASTS = {
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMPTZ",
    "interval": "INTERVAL",
}
_UNKNOWN = frozenset({0, 705})
_WHOLE = frozenset({"int2", "int4", "int8", "oid"})


def count_of(statement: Statement) -> int:
    """The number of parameters: the highest $n in the statement."""
    if not any(text == "$" for text, _ in statement.tokens):
        return 0
    return max((_number(node) for node in parse(statement).find_all(exp.Parameter)), default=0)


def bound(
    statement: Statement,
    oids: Sequence[int],
    formats: Sequence[int],
    values: Sequence[bytes | None],
    told: Sequence[int] = (),
) -> Statement:
    """The statement with each $n replaced. Errors: 08P01 for a wrong number of values, 22P02 or 0A000 for a bad one.

    `oids` are the types that the client named, 0 where it left that open; `told` those that it was then told, by which
    it encodes binary values.
    """
    wanted = count_of(statement)
    if len(values) != wanted:
        raise QueryError(f"{len(values)} parameter values were sent, but the statement has {wanted}", code="08P01")
    if wanted == 0:
        return statement
    spread = list(formats) if len(formats) > 1 else list(formats or (0,)) * wanted
    tree = parse(statement)
    listed = _listed(tree)
    literals = []
    for place, value in enumerate(values):
        oid = oids[place] if place < len(oids) else 0
        if oid in _UNKNOWN and spread[place] == 1 and place < len(told):
            oid = told[place]
        if oid in _UNKNOWN and place + 1 in listed:
            oid = PG_TYPES["text"].array_oid
        literals.append(_literal(oid, spread[place], value))
    return _replaced(tree, literals)


def unbound(statement: Statement, oids: Sequence[int]) -> Statement:
    """The statement with typed NULLs for its parameters: it has the columns of any answer, and as a rule no rows."""
    return bound(statement, oids, (), [None] * count_of(statement))


def without_rows(statement: Statement) -> Statement:
    """The query with LIMIT 0, so that describing it costs nothing; another statement as it is."""
    tree = parse(statement) if statement.verb in ("SELECT", "WITH", "VALUES", "TABLE") else None
    if not isinstance(tree, (exp.Select, exp.SetOperation)):
        return statement
    tree.set("limit", exp.Limit(expression=exp.Literal.number(0)))
    return split(tree.sql("postgres"))[0]


def _listed(tree: exp.Expression) -> set[int]:
    """The parameters that stand in ANY($n): arrays, whatever their type; drivers leave it to us to see that."""
    held = (node.this for node in tree.find_all(exp.Any))
    bare = (node.this if isinstance(node, exp.Paren) else node for node in held)
    return {_number(node) for node in bare if isinstance(node, exp.Parameter)}


def _replaced(tree: exp.Expression, literals: Sequence[exp.Expression]) -> Statement:
    for node in list(tree.find_all(exp.Parameter)):
        node.replace(literals[_number(node) - 1].copy())
    for equality in list(tree.find_all(exp.EQ)):
        _member(equality)
    return split(tree.sql("postgres"))[0]


def _member(node: exp.EQ) -> None:
    """`x = ANY (ARRAY[a, b])` is `x IN (a, b)`, which the router knows; without elements it is false, even for NULL."""
    held = node.expression.this if isinstance(node.expression, exp.Any) else None
    array = held.this if isinstance(held, exp.Paren) else held
    if isinstance(array, exp.Cast) and isinstance(array.this, exp.Cast):
        array = array.this
    array = array.this if isinstance(array, exp.Cast) else array
    if isinstance(array, exp.Array):
        items = [item.copy() for item in array.expressions]
        node.replace(exp.In(this=node.this.copy(), expressions=items) if items else exp.false())


def _number(node: exp.Parameter) -> int:
    name = node.this.name
    if not name.isdigit() or not 0 < int(name) <= 65535:
        raise QueryError(f"there is no parameter ${name}", code="42P02")
    return int(name)


def _literal(oid: int, form: int, value: bytes | None) -> exp.Expression:
    array = _ARRAYS.get(oid)
    name = array.name if array else _BY_OID.get(oid, "text" if oid in _UNKNOWN else "")
    if not name or form not in (0, 1):
        todo = "Send it as text, with a cast in the SQL."
        raise QueryError(f"parameters of type oid {oid} are not supported", todo=todo, code="0A000")
    if array is not None:
        return _array(name, form, value)
    return _scalar(name, oid in _UNKNOWN, form, value)


def _scalar(name: str, unknown: bool, form: int, value: bytes | None) -> exp.Expression:
    """One value; NULL of a known type stays of that type."""
    if value is None:
        return exp.null() if unknown else exp.cast(exp.null(), _sql_type(name), dialect="postgres")
    try:
        text = (
            value.decode("utf-8") if form == 0 or name in ("text", "varchar", "name", "json") else _BINARY[name](value)
        )
        return _typed(name, text)
    except (ValueError, ArithmeticError, struct.error, OverflowError) as error:
        raise QueryError(f"invalid value for a parameter of type {name}: {value[:40]!r}", code="22P02") from error
    except KeyError as error:
        raise QueryError(
            f"binary parameters of type {name} are not supported", todo="Send it as text.", code="0A000"
        ) from error


def _typed(name: str, text: str) -> exp.Expression:
    if name in _WHOLE:
        return _numeral(str(int(text)))
    if name == "numeric":
        plain = format(Decimal(text), "f")
        if not plain.lstrip("-").replace(".", "", 1).isdigit():
            raise ValueError("not finite")
        return _numeral(plain)
    if name in ("float4", "float8"):
        return exp.cast(exp.Literal.string(repr(float(text))), "DOUBLE PRECISION", dialect="postgres")
    if name == "bool":
        if text.lower() not in ("t", "f", "true", "false", "on", "off", "1", "0"):
            raise ValueError("not a boolean")
        return exp.Boolean(this=text.lower() in ("t", "true", "on", "1"))
    literal = exp.Literal.string(text)
    return exp.cast(literal, _CASTS[name], dialect="postgres") if name in _CASTS else literal


def _numeral(text: str) -> exp.Expression:
    """A number; a negative one in brackets, so that `1 -$1` does not become a comment."""
    literal = exp.Literal.number(text.lstrip("-"))
    return exp.paren(exp.Neg(this=literal), copy=False) if text.startswith("-") else literal


def _sql_type(name: str) -> str:
    return PG_TYPES[name].title if name != "name" else "TEXT"


def _array(name: str, form: int, value: bytes | None) -> exp.Expression:
    if value is None:
        return exp.null()
    items = (
        _binary_items(value) if form == 1 else [None if t is None else t.encode() for t in _text_items(value.decode())]
    )
    array = exp.Array(expressions=[_scalar(name, True, form, item) for item in items])
    return exp.cast(array, f"{_sql_type(name)}[]", dialect="postgres") if not items else array


def _binary_items(value: bytes) -> list[bytes | None]:
    """The elements of a one-dimensional array in binary form."""
    try:
        dimensions, _, _ = struct.unpack_from("!iii", value)
        if dimensions == 0:
            return []
        if dimensions != 1:
            raise QueryError("arrays of several dimensions are not supported as parameters", code="0A000")
        (count,) = struct.unpack_from("!i", value, 12)
        items: list[bytes | None] = []
        at = 20
        for _ in range(count):
            (size,) = struct.unpack_from("!i", value, at)
            at += 4
            items.append(None if size < 0 else value[at : at + size])
            at += max(size, 0)
    except struct.error as error:
        raise QueryError("invalid value for an array parameter", code="22P02") from error
    return items


def _text_items(text: str) -> list[str | None]:
    """The elements of `{1,NULL,"a b"}`: each is a JSON-like string or a bare word."""
    nested = '"' not in text and "{" in text[1:]
    if nested or not (text.startswith("{") and text.endswith("}")):
        raise QueryError("invalid value for an array parameter", todo="Send one dimension, as {a,b}.", code="22P02")
    items: list[str | None] = []
    word, quoted, inside, at = "", False, False, 1
    while at < len(text):
        char = text[at]
        if char == "\\" and at + 1 < len(text):
            word, at = word + text[at + 1], at + 1
        elif char == '"':
            quoted, inside = True, not inside
        elif not inside and char in ",}":
            if word or quoted or char == "," or items:
                items.append(None if word.upper() == "NULL" and not quoted else word)
            word, quoted = "", False
        else:
            word += char
        at += 1
    return items


def _moment(value: bytes) -> str:
    """Microseconds since 2000-01-01."""
    return (_EPOCH + timedelta(microseconds=struct.unpack("!q", value)[0])).isoformat(sep=" ")


def _zoned(value: bytes) -> str:
    return _moment(value) + "+00:00"


def _day(value: bytes) -> str:
    return date.fromordinal(_EPOCH.toordinal() + struct.unpack("!i", value)[0]).isoformat()


def _numeric(value: bytes) -> str:
    """Base 10,000 digits with a weight, a sign and a display scale."""
    count, weight, sign, _ = struct.unpack_from("!hhHh", value)
    if sign not in (0x0000, 0x4000):
        raise ValueError("not finite")
    total = 0
    for digit in struct.unpack_from(f"!{count}h", value, 8):
        total = total * 10_000 + digit
    # Made from its parts: arithmetic on decimals would round to 28 digits.
    return str(Decimal((int(sign != 0), tuple(map(int, str(total))), 4 * (weight - count + 1))))


def _interval(value: bytes) -> str:
    micros, days, months = struct.unpack("!qii", value)
    return f"{months} months {days} days {micros} microseconds"


def _unpacked(form: str) -> Callable[[bytes], str]:
    return lambda value: str(struct.unpack(form, value)[0])


_BINARY: dict[str, Callable[[bytes], str]] = {
    "bool": lambda value: "t" if value == b"\1" else "f",
    "int2": _unpacked("!h"),
    "int4": _unpacked("!i"),
    "int8": _unpacked("!q"),
    "oid": _unpacked("!I"),
    "time": lambda value: (_EPOCH + timedelta(microseconds=struct.unpack("!q", value)[0])).time().isoformat(),
    "interval": _interval,
    "float4": _unpacked("!f"),
    "float8": _unpacked("!d"),
    "numeric": _numeric,
    "date": _day,
    "timestamp": _moment,
    "timestamptz": _zoned,
}
