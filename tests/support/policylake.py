"""Random row policies with a twin in Python, and lakes that hold only the rows that such a policy permits.

The twin judges Python values with SQL's three truths and shares no code with the router: a query under the policy must
answer as the same query on the lake of permitted rows does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
from sqllake import add_rows

from cubes.access import Policy, load_access
from lake import delta, tables
from lake.duck import connect
from lake.places import address
from lake.settings import Settings

Judge = Callable[[Mapping[str, Any]], bool | None]

_WORDS = {
    "requests": {"tenant": "a b c".split(), "site": ["eu", "us"], "model": ["llama-3", "it's"], "status": ["ok"]},
    "samples": {"site": ["eu", "us"], "host": ["host-0", "host-3"], "metric": ["gpu.power"], "model": ["llama-3"]},
    "evaluations": {"model": ["llama-3", "qwen-2"], "task": ["math"], "run": ["run-0", "run-1"]},
}
_NUMBERS = {"requests": {"prompt_tokens": 2000, "e2e_ms": 9000}, "samples": {"value": 1}, "evaluations": {"n": 1000}}


@dataclass(frozen=True)
class Ruled:
    """A policy as the router has it, and its twin by fact."""

    policy: Policy
    judges: Mapping[str, Judge]
    text: str


def random_rule(seed: int, folder: Path) -> Ruled:
    """A policy over all three facts of the small lake, by way of an access file."""
    rng = random.Random(seed)
    made = {fact: _predicate(rng, fact, 2) for fact in _WORDS}
    rows = "".join(f"      {fact}: {_yaml(text)}\n" for fact, (text, _) in made.items())
    path = folder / f"access{seed}.yaml"
    path.write_text(
        f"roles:\n  some:\n    facts: [requests, samples, evaluations]\n    rows:\n{rows}"
        "users:\n  u: {roles: [some]}\n"
    )
    return Ruled(load_access(path).policy("u"), {fact: judge for fact, (_, judge) in made.items()}, rows)


def permitted_lake(whole: Settings, judges: Mapping[str, Judge], folder: Path) -> Settings:
    """A lake without cubes that holds those trusted rows of another which the judges permit, in one batch a fact."""
    folder.mkdir(parents=True)
    settings = Settings(lake=folder, memory_mib=512)
    duck = connect(settings)
    for fact in _WORDS:
        ref = tables.trusted(fact)
        snapshot = delta.open_snapshot(whole.lake, ref)
        rows: list[dict[str, Any]] = []
        for file in snapshot.paths():
            rows += ds.dataset(address(file), format="parquet").to_table().to_pylist()
        kept = [row for row in rows if fact in judges and judges[fact](row) is True]
        columns = [name for name in ref.schema.names if name not in ("agent boot idx row_key batch seq day".split())]
        add_rows(duck, settings, fact, [{name: row.get(name) for name in columns} for row in kept], 1)
    duck.connection.close()
    return settings


def _yaml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _predicate(rng: random.Random, fact: str, depth: int) -> tuple[str, Judge]:
    if depth and rng.random() < 0.5:
        (a, f), (b, g) = _predicate(rng, fact, depth - 1), _predicate(rng, fact, depth - 1)
        if rng.random() < 0.5:
            return f"({a} AND {b})", lambda row: _and(f(row), g(row))
        return f"({a} OR {b})", lambda row: _not(_and(_not(f(row)), _not(g(row))))
    if depth and rng.random() < 0.15:
        text, judge = _predicate(rng, fact, depth - 1)
        return f"NOT ({text})", lambda row: _not(judge(row))
    if rng.random() < 0.2:
        column = rng.choice(sorted(_NUMBERS[fact]))
        bound = Decimal(rng.randrange(_NUMBERS[fact][column] * 100)) / 100
        return f"{column} > {bound}", lambda row: None if row[column] is None else row[column] > bound
    column = rng.choice(sorted(_WORDS[fact]))
    word = rng.choice(_WORDS[fact][column])
    quoted = "'" + word.replace("'", "''") + "'"
    shape = rng.randrange(5)
    if shape == 0:
        return f"{column} IS NULL", lambda row: row[column] is None
    if shape == 1:
        return f"{column} <> {quoted}", lambda row: None if row[column] is None else row[column] != word
    if shape == 2:
        other = rng.choice(_WORDS[fact][column])
        quoted_other = "'" + other.replace("'", "''") + "'"
        return (
            f"{column} IN ({quoted}, {quoted_other})",
            lambda row: None if row[column] is None else row[column] in (word, other),
        )
    if shape == 3:
        return f"upper({column}) = upper({quoted})", lambda row: _same_upper(row[column], word)
    return f"{column} = {quoted}", lambda row: None if row[column] is None else row[column] == word


def _same_upper(value: str | None, word: str) -> bool | None:
    return None if value is None else value.upper() == word.upper()


def _and(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def _not(a: bool | None) -> bool | None:
    return None if a is None else not a
