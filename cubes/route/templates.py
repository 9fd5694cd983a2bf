"""The formats of to_char: PostgreSQL's templates as the engine's, and the unit of time that one tells at the finest.

The parser translates the patterns that it knows and leaves all others standing as plain text, which would come out as
it stands. So what it left is looked at here: other patterns are translated, or the format is refused.
"""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from lake.errors import QueryError

# What comes out of the parser -> the engine's code. `%u` is the parser's of D, whose week begins on another day.
_CODES: Final = {
    **{f"%{code}": f"%{code}" for code in "YymdHIMSfjGVbaAB"},
    **{f"%-{code}": f"%-{code}" for code in "dmHIMSj"},
    "HH": "%I",
    "Mon": "%b",
    "%uy": "%a",
    "AM": "%p",
    "PM": "%p",
    "MS": "%g",
    "F%month": "%B",
    "FM%uay": "%A",
}
_PIECE: Final = re.compile(r'"[^"%\\]*"|%-?[A-Za-z]|[^A-Za-z%"\\]')
_LONGEST_FIRST: Final = sorted(_CODES, key=len, reverse=True)
_UNITS: Final = {
    **dict.fromkeys("YymbB", "MONTH"),
    **dict.fromkeys("djaA", "DAY"),
    **dict.fromkeys("GV", "WEEK"),
    **dict.fromkeys("HIp", "HOUR"),
    "M": "MINUTE",
    "S": "SECOND",
}


def set_format(node: exp.TimeToStr) -> None:
    """Give a to_char the engine's format in place; QueryError 0A000 for one that would not mean the same there."""
    given = node.args.get("format")
    if not (isinstance(given, exp.Literal) and given.is_string):
        todo = "Write it as to_char(ts, 'YYYY-MM-DD')."
        raise QueryError("to_char() takes a constant format.", todo=todo, code="0A000")
    text, made = given.name, ""
    while text:
        word = next((code for code in _LONGEST_FIRST if text.startswith(code)), "")
        found = _PIECE.match(text)
        if not word and (found is None or found[0].startswith("%")):
            known = "YYYY, YY, MM, Mon, FMMonth, DD, DDD, Dy, FMDay, IYYY, IW, HH24, HH12, AM, MI, SS, MS, US"
            todo = f"Known: {known}; other words in double quotes."
            raise QueryError("the format of to_char() has a pattern that is not supported.", todo=todo, code="0A000")
        piece = word or (found[0] if found else "")
        made += _CODES[word] if word else piece.strip('"')
        text = text[len(piece) :]
    node.set("format", exp.Literal.string(made))


def units_of(node: exp.TimeToStr) -> set[str]:
    """The units that a format tells, each within some grains; "" for one that lies within none."""
    return {_UNITS.get(code, "") for code in re.findall(r"%-?([A-Za-z])", node.args["format"].name)}
