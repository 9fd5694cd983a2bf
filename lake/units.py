"""Units (UCUM): exact factors between units of one dimension. Scales with an offset (kelvin, Fahrenheit) are left out.

A unit is a term, or terms joined by `/`: `By`, `{token}/s`, `g/(kW.h)`. A word in braces counts things; a plain
number (`1`) may be read as such a count, but two different words never convert into each other.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_Unit = tuple[Fraction, tuple[str, ...], tuple[str, ...]]  # factor, sorted bases above the stroke, and below

# Terms that take no prefix: factor in a base unit, and the base.
_TERMS: dict[str, tuple[Fraction, str]] = {
    "1": (Fraction(1), "1"),
    "%": (Fraction(1, 100), "1"),
    "[ppm]": (Fraction(1, 1_000_000), "1"),
    "min": (Fraction(60), "s"),
    "h": (Fraction(3600), "s"),
    "d": (Fraction(86400), "s"),
    "Cel": (Fraction(1), "Cel"),
}
# Terms that do.
_PREFIXED: dict[str, tuple[Fraction, str]] = {
    "By": (Fraction(1), "By"),
    "bit": (Fraction(1, 8), "By"),
    "J": (Fraction(1), "J"),
    "W.h": (Fraction(3600), "J"),
    **{base: (Fraction(1), base) for base in ("s", "W", "Hz", "g", "V", "A", "m")},
}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5}
_COUNT = re.compile(r"([kMGTPE]?)(\{[A-Za-z][A-Za-z0-9_ -]*\})")

# How people and exporters write units that UCUM writes otherwise.
_ALIASES = {
    "percent": "%", "pct": "%", "ratio": "1", "fraction": "1",
    "ppm": "[ppm]",
    "sec": "s", "second": "s", "seconds": "s", "millisecond": "ms", "milliseconds": "ms", "µs": "us", "μs": "us",
    "microseconds": "us", "nanoseconds": "ns", "minute": "min", "minutes": "min", "hour": "h", "hours": "h", "day": "d",
    "days": "d",
    "byte": "By", "bytes": "By", "B": "By", "KB": "kBy", "bits": "bit",
    "joule": "J", "joules": "J", "watt": "W", "watts": "W", "hertz": "Hz",
    "Wh": "W.h", "kWh": "kW.h", "MWh": "MW.h",
    "celsius": "Cel", "°C": "Cel", "gram": "g", "grams": "g",
    "USD": "{USD}", "$": "{USD}",
}  # fmt: skip
_BYTES = re.compile(r"([kMGTPE]|[KMGTP]i)B")


def scale(from_unit: str, to_unit: str) -> Fraction | None:
    """The exact factor that turns a number of `from_unit` into one of `to_unit`; None where there is no such factor.

    >>> scale("mW", "W"), scale("%", "1"), scale("s", "By")
    (Fraction(1, 1000), Fraction(1, 100), None)
    """
    source, target = _parse(from_unit.strip()), _parse(to_unit.strip())
    if source is None or target is None:
        return None
    if source[1:] != target[1:] and not _counts(source, target):
        return None
    return source[0] / target[0]


def known(unit: str) -> bool:
    """Whether the unit (or its alias) can be read."""
    return _parse(unit.strip()) is not None


def checked(unit: str) -> str:
    """The unit as given if it is in its canonical spelling; ValueError, for validators of documents, otherwise."""
    if not known(unit):
        raise ValueError(f"unit '{unit}' is not known; units are UCUM, as 'By', 'ms', '{{token}}/s', '1'.")
    canonical = _spelled(unit)
    if canonical != unit:
        raise ValueError(f"unit '{unit}' is written '{canonical}' here.")
    return unit


def _counts(source: _Unit, target: _Unit) -> bool:
    """Whether one side says `1` (exactly, not a percentage) where the other counts something in braces."""
    if source[2] != target[2] or source[0] != 1:
        return False
    (one, other) = (source[1], target[1]) if source[1] == ("1",) else (target[1], source[1])
    return one == ("1",) and len(other) == 1 and other[0].startswith("{")


def _spelled(unit: str) -> str:
    """The UCUM spelling: each term's alias resolved, `kB` as `kBy`."""
    return "/".join(_term_spelled(term) for term in unit.strip().split("/"))


def _term_spelled(term: str) -> str:
    bytes_written = _BYTES.fullmatch(term)
    if bytes_written:
        return bytes_written[1] + "By"
    return _ALIASES.get(term, term)


@lru_cache(maxsize=4096)  # units come from senders too: the number of texts has no bound
def _parse(unit: str) -> _Unit | None:
    """Factor and bases of a unit, or None."""
    factor = Fraction(1)
    above: list[str] = []
    below: list[str] = []
    for position, term in enumerate(_spelled(unit).split("/")):
        bare = term[1:-1] if term.startswith("(") and term.endswith(")") else term
        read = _term(_term_spelled(bare))
        if read is None:
            return None
        if position == 0:
            factor *= read[0]
            above.append(read[1])
        else:
            factor /= read[0]
            below.append(read[1])
    return factor, tuple(above), tuple(sorted(below))


def _term(term: str) -> tuple[Fraction, str] | None:
    """Factor and base of one term, with its prefix."""
    if term in _TERMS:
        return _TERMS[term]
    if term in _PREFIXED:
        return _PREFIXED[term]
    count = _COUNT.fullmatch(term)
    if count:
        return (_power(count[1]) if count[1] else Fraction(1)), count[2]
    if term[:2] in _BINARY and term[2:] in {"By", "bit"}:
        factor, base = _PREFIXED[term[2:]]
        return factor * 1024 ** _BINARY[term[:2]], base
    if term[:1] in _DECIMAL and term[1:] in _PREFIXED:
        factor, base = _PREFIXED[term[1:]]
        return factor * _power(term[0]), base
    return None


def _power(prefix: str) -> Fraction:
    """The factor of a decimal prefix."""
    return Fraction(10) ** _DECIMAL[prefix]
