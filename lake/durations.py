"""Lengths of time as people write them, such as 30s, 5m, 6h, 1d; and lists of them by name: upkeep=1h verify=6h."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from lake.errors import ConfigError, did_you_mean

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WORD: Final = re.compile(r"([0-9]{1,7})([smhd])")


def seconds_of(text: str, where: str) -> int:
    """The seconds of a length of time, at least one. Errors: ConfigError that names where it was given.

    >>> seconds_of("5m", "--every")
    300
    """
    match = _WORD.fullmatch(text.strip())
    seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
    if not seconds:
        raise ConfigError(f"'{text}' is no length of time.", where=where, todo="Write one like 30s, 5m, 6h or 1d.")
    return seconds


def named_seconds(text: str, known: Collection[str], where: str) -> dict[str, int]:
    """{name: seconds} of a list with = between name and length, and blanks or commas between the entries."""
    found: dict[str, int] = {}
    for word in text.replace(",", " ").split():
        name, _, length = word.partition("=")
        if name not in known:
            raise ConfigError(f"There is no '{name}' here.", where=where, todo=did_you_mean(name, known))
        found[name] = seconds_of(length, f"{where}: {name}")
    return found


def told(seconds: float) -> str:
    """A length of time for people.

    >>> told(5400)
    '1.5 h'
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
