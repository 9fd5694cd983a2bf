"""The `options` of a start packet: settings as on PostgreSQL's command line, `-c name=value` or `--name=value`.

Words end at white space; a backslash takes the next character as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lake.errors import QueryError

_WORD = re.compile(r"(?:\\.|[^\\\s])+", re.DOTALL)
_SETTING = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)


def with_options(parameters: Mapping[str, str]) -> dict[str, str]:
    """The start parameters with those that stand in `options` as parameters of their own, as if given by name.

    One that is given in both ways stands by name. Errors: QueryError 22023 for an option that is no setting.
    """
    words = [re.sub(r"\\(.)", r"\1", one, flags=re.DOTALL) for one in _WORD.findall(parameters.get("options", ""))]
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        said = next(rest, "") if word == "-c" else word.removeprefix("-c") if word.startswith("-c") else word[2:]
        setting = _SETTING.fullmatch(said) if word.startswith(("-c", "--")) else None
        if setting is None:
            # Not told in full: it might be a token with a slip of the pen before it.
            what = f"the start option {word[:12]!r} is not understood"
            raise QueryError(what, todo="Write options='-c name=value'.", code="22023")
        # A dash stands for an underscore, as PostgreSQL has it.
        found[setting[1].replace("-", "_").lower()] = setting[2]
    named = {name.lower(): value for name, value in parameters.items() if name != "options"}
    return {**found, **named}
