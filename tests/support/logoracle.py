"""The slow truth about online.log and offline.log in plain Python, sharing no code with the project; and such logs.

`read_log` says which values a log holds and what is wrong with the rest; `roll_up` makes cells of values, exactly.
`write_log` writes a log of several months in which lines go wrong in every way.
"""

from __future__ import annotations

import csv
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path

# What a log's second and third field are: metric, seconds that a value stands for, least and greatest valid value.
FIELDS = {
    "online": (("service.requests", None, 0, None), ("model.accuracy", 60, 0, 1)),
    "offline": (("training.batch_size", 60, 0, None), ("training.samples", None, 0, None)),
}
HEADERS = {"online": "time,request_num,accuracy", "offline": "time,batch_size,train_sample_num"}
COUNTERS = {"service.requests", "training.samples"}
STEPS_S = (30, 60, 60, 300, 1980)
PERCENTILES = (Fraction(1, 2), Fraction(95, 100))

Cell = tuple[object, ...]


@dataclass
class Reading:
    """Values by metric, each with its time; quarantined rows by the check that they fail."""

    values: dict[str, list[tuple[datetime, Fraction]]] = field(default_factory=lambda: defaultdict(list))
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def trusted(self) -> int:
        return sum(len(values) for values in self.values.values())

    def __add__(self, other: Reading) -> Reading:
        both = Reading(faults=self.faults + other.faults)
        for values in (self.values, other.values):
            for metric, found in values.items():
                both.values[metric] += found
        return both


def read_log(path: Path, kind: str) -> Reading:
    """Every line of the log but its header, blank ones left out."""
    reading = Reading()
    for line in path.read_bytes().split(b"\n")[1:]:
        if not line.strip(b" \t\r"):
            continue
        cells = _cells(line.removesuffix(b"\r"))
        if cells is None or len(cells) != 3:
            reading.faults["malformed"] += 1
            continue
        when = _time(cells[0])
        for text, (metric, _, least, most) in zip(cells[1:], FIELDS[kind], strict=True):
            found = _value(text, metric, least, most)
            fault = next((told for told in (when, found) if isinstance(told, str)), "")
            if fault:
                reading.faults[fault] += 1
            else:
                reading.values[metric].append((when, found))
    return reading


def _cells(line: bytes) -> list[str] | None:
    try:
        text = line.decode()
        return None if "\0" in text else next(csv.reader([text], strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None


def _time(text: str) -> datetime | str:
    """The time, or the check that it fails."""
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return "bad_time" if text else "missing_required"


def _value(text: str, metric: str, least: int | None, most: int | None) -> Fraction | str:
    """The value, rounded half to even at its ninth place, or the check that it fails."""
    if not text:
        return "missing_required"
    if re.fullmatch(r"[+-]?(nan|inf)", text.lower()):
        return "non_finite"
    if not re.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", text.lower()):
        return "bad_number"
    value = nine(Fraction(Decimal(text)))
    if metric in COUNTERS and value < 0:
        return "negative_increment"
    outside = (least is not None and value < least) or (most is not None and value > most)
    return "out_of_range" if outside else value


def nine(number: Fraction) -> Fraction:
    """The number rounded half to even at its ninth place."""
    return Fraction(round(number * 10**9), 10**9)


def cells(reading: Reading, kind: str, bucket: Callable[[datetime], Cell]) -> dict[Cell, Cell]:
    """{(metric, bucket…): (count, sum, least, most, mean, mean over time, integral)} of a log."""
    found: dict[Cell, Cell] = {}
    for metric, seconds, _, _ in FIELDS[kind]:
        for key, values in grouped(reading.values[metric], bucket).items():
            total, count = sum(values, Fraction()), len(values)
            mean = nine(total / count)
            timed = (None, None) if seconds is None else (mean, total * seconds)
            found[metric, *key] = (count, total, min(values), max(values), mean, *timed)
    return found


def ranks(reading: Reading, kind: str, bucket: Callable[[datetime], Cell]) -> dict[Cell, Cell]:
    """{(metric, bucket…): the values at the ranks of PERCENTILES}."""
    return {
        (metric, *key): tuple(sorted(values)[ceil(share * len(values)) - 1] for share in PERCENTILES)
        for metric, *_ in FIELDS[kind]
        for key, values in grouped(reading.values[metric], bucket).items()
    }


def grouped(
    values: Iterable[tuple[datetime, Fraction]], bucket: Callable[[datetime], Cell]
) -> dict[Cell, list[Fraction]]:
    """Values by the bucket of their time."""
    found: dict[Cell, list[Fraction]] = defaultdict(list)
    for when, value in values:
        found[bucket(when)].append(value)
    return found


# Ways for a line to go wrong; it comes as its three fields.
SORTS: dict[str, Callable[[str, str, str], str]] = {
    "field missing": lambda t, a, b: f"{t},{a}",
    "field too many": lambda t, a, b: f"{t},{a},{b},7",
    "comma at the end": lambda t, a, b: f"{t},{a},{b},",
    "thousands separator": lambda t, a, b: f"{t},1,{a},{b}",
    "thousands separator in quotes": lambda t, a, b: f'{t},"1,113",{b}',
    "quote never closed": lambda t, a, b: f'{t},"{a},{b}',
    "text after a quote": lambda t, a, b: f'{t},"{a}"x,{b}',
    "not UTF-8": lambda t, a, b: f"{t},{a}\udcff,{b}",
    "NUL": lambda t, a, b: f"{t},{a},{b}\0",
    "nothing": lambda t, a, b: "",
    "blanks": lambda t, a, b: " \t ",
    "header again": lambda t, a, b: "time,a,b",
    "no such date": lambda t, a, b: f"2026-02-30 01:00:00,{a},{b}",
    "no such hour": lambda t, a, b: f"2026-02-03 24:30:00,{a},{b}",
    "other form of date": lambda t, a, b: f"31/01/2026 22:00,{a},{b}",
    "no date": lambda t, a, b: f",{a},{b}",
    "text in a number": lambda t, a, b: f"{t},many,{b}",
    "two points": lambda t, a, b: f"{t},{a},0.9.3",
    "hexadecimal": lambda t, a, b: f"{t},0x{a},{b}",
    "no number": lambda t, a, b: f"{t},{a},",
    "neither number": lambda t, a, b: f"{t},,",
    "NaN": lambda t, a, b: f"{t},NaN,{b}",
    "infinite": lambda t, a, b: f"{t},{a},-inf",
    "below zero": lambda t, a, b: f"{t},-5,{b}",
    "second below zero": lambda t, a, b: f"{t},{a},-0.5",
    "above one": lambda t, a, b: f"{t},{a},1.000000001",
}
# Ways for a line to look odd and be right.
ODD: tuple[Callable[[str, str, str], str], ...] = (
    lambda t, a, b: f"{t},{a},{b}\r",
    lambda t, a, b: f'"{t}","{a}","{b}"',
    lambda t, a, b: f"{t},{a}e0,{b}",
    lambda t, a, b: f"{t},+{a},0.1234567885",
    lambda t, a, b: f"{t},{a}.50,0.12345678850000001",
    lambda t, a, b: f"{t},{a}.0,5E-10",
)


def write_log(path: Path, kind: str, *, seed: int, lines: int = 1500) -> None:
    """A log of half a year from October 2025 on: hours of lines, days of silence, lines twice or late, every fault."""
    rng = random.Random(seed)
    when = datetime(2025, 10, 17, 22, 41, tzinfo=UTC)
    times, written = [], []
    for number in range(1, lines + 1):
        when += timedelta(days=rng.randrange(6, 16)) if number % 100 == 0 else timedelta(seconds=rng.choice(STEPS_S))
        times.append(f"{when:%Y-%m-%d %H:%M:%S}")
        fields = (times[-1], *_numbers(rng, kind))
        chance = rng.random()
        line = rng.choice(ODD)(*fields) if chance < 0.05 else ",".join(fields)
        written += [line, line] if chance > 0.98 else [line]
    for make in SORTS.values():
        for _ in range(rng.randrange(4, 12)):
            line = make(rng.choice(times), *_numbers(rng, kind))
            written.insert(rng.randrange(len(written)), line)
    for _ in range(lines // 50):
        written.insert(rng.randrange(len(written)), written.pop(rng.randrange(len(written))))
    text = "\n".join([HEADERS[kind], *written, ""])
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


def _numbers(rng: random.Random, kind: str) -> tuple[str, str]:
    if kind == "online":
        return str(rng.randrange(100_000)), f"0.{rng.randrange(10 ** rng.choice((3, 6))):03}"
    return str(2 ** rng.randrange(11)), str(rng.randrange(10**6))
