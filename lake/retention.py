"""Retention as a plan: what would go, why, and what must stand first. This module deletes nothing.

Rule of all rules: nothing fine goes before its coarser successor exists and reconciles with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lake.delta import DataFile, Snapshot, open_snapshot
from lake.documents import load_document
from lake.duck import Duck
from lake.tables import BATCHES, QUARANTINE, TableRef, landing, trusted
from lake.times import GRAINS

_SHIPPED = Path(__file__).parent / "declarations" / "retention.yaml"
_UNITS = {"d": 1, "w": 7, "y": 365}
_STRICT = ConfigDict(frozen=True, extra="forbid")


def parse_age(text: str) -> timedelta:
    """`30d`, `8w` or `10y` as a length of time; ValueError says what is wanted otherwise."""
    match = re.fullmatch(r"([1-9]\d*)([dwy])", text)
    if not match:
        raise ValueError(f"'{text}' is no age: write a number of days, weeks or years, such as 30d, 8w, 10y.")
    return timedelta(days=int(match[1]) * _UNITS[match[2]])


def _age(text: str) -> str:
    parse_age(text)
    return text


_Age = Annotated[str, AfterValidator(_age)]


class _FactRule(BaseModel):
    """How long trusted rows of a fact stay: an age, or the newest rounds `per` some dimensions."""

    model_config = _STRICT

    keep: _Age | None = None
    newest_rounds: int | None = Field(default=None, ge=1)
    per: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> _FactRule:
        if (self.keep is None) == (self.newest_rounds is None):
            raise ValueError("give either `keep` or `newest_rounds`.")
        if (self.newest_rounds is not None) != bool(self.per):
            raise ValueError("`newest_rounds` goes with `per`, the dimensions within which rounds are counted.")
        return self


class RetentionRules(BaseModel):
    """The rules in force; a fact without a rule is kept for ever."""

    model_config = _STRICT

    landing: _Age
    quarantine: _Age
    facts: dict[str, _FactRule]


@dataclass(frozen=True)
class CubeLife:
    """What retention must know of a cube: its table, its fact, and for how many days each grain stays."""

    name: str
    fact: str
    ref: TableRef
    keep: Mapping[str, int]


@dataclass(frozen=True)
class PlanRow:
    """One thing that would go: `rows` of it by metadata, and what must be proven `first` ('' when nothing must)."""

    layer: str
    subject: str
    rows: int
    size_bytes: int
    why: str
    first: str


def load_rules(folder: Path | None = None) -> RetentionRules:
    """The rules of `folder`/retention.yaml where there is one, else the shipped ones."""
    own = None if folder is None else folder / "retention.yaml"
    return load_document(own if own is not None and own.is_file() else _SHIPPED, RetentionRules)


def plan_retention(
    lake: Path, duck: Duck, rules: RetentionRules, cubes: Sequence[CubeLife], now: datetime
) -> list[PlanRow]:
    """What would go at `now`, finest first; reading metadata only, but for the counting of rounds."""
    rows: list[PlanRow] = []
    for fact, rule in sorted(rules.facts.items()):
        rows += _landing(lake, duck, fact, rules.landing, now)
        over = [cube for cube in cubes if cube.fact == fact]
        if rule.keep is not None:
            rows += _aged_days(lake, fact, rule.keep, over, now)
        else:
            rows += _old_rounds(lake, duck, fact, rule)
    rows += _quarantine(lake, rules.quarantine, now)
    for cube in cubes:
        rows += _grains(lake, cube, now)
    return rows


def _landing(lake: Path, duck: Duck, fact: str, keep: str, now: datetime) -> list[PlanRow]:
    """Landing files that were judged (by their highest landing batch) and are older than `keep`."""
    batches = duck.scan(open_snapshot(lake, BATCHES))
    judged = duck.sql(f"SELECT coalesce(max(landed_to), 0) FROM {batches} WHERE fact = $fact", {"fact": fact})[0][0]
    cutoff = now - parse_age(keep)
    files = [
        file
        for file in open_snapshot(lake, landing(fact)).files
        if file.maximum.get("landed", judged + 1) <= judged and file.maximum.get("received_at", now) < cutoff
    ]
    return _row("landing", fact, files, f"judged, and received before {cutoff:%Y-%m-%d} ({keep})", "")


def _aged_days(lake: Path, fact: str, keep: str, cubes: Sequence[CubeLife], now: datetime) -> list[PlanRow]:
    cutoff = (now - parse_age(keep)).date().isoformat()
    by_day = _by_partition(open_snapshot(lake, trusted(fact)), "day", cutoff)
    first = "; ".join(f"cube {cube.name} must hold and reconcile with those days" for cube in cubes)
    first = first or f"a cube over {fact} must be declared, or the rows are lost for good"
    return [
        row
        for day, files in by_day.items()
        for row in _row("trusted", f"{fact} {day}", files, f"older than {keep} (before {cutoff})", first)
    ]


def _old_rounds(lake: Path, duck: Duck, fact: str, rule: _FactRule) -> list[PlanRow]:
    """Rounds beyond the newest N within the rule's dimensions; newest by the time of their last row."""
    snapshot = open_snapshot(lake, trusted(fact))
    if not snapshot.files:
        return []
    per = ", ".join(f'"{name}"' for name in rule.per)
    found = duck.sql(
        f"""SELECT {per}, count(*), sum(n) FROM (
                SELECT {per}, count(*) AS n, row_number() OVER (PARTITION BY {per} ORDER BY max(ts) DESC) AS age
                FROM {duck.scan(snapshot)} GROUP BY {per}, run, "round")
            WHERE age > {rule.newest_rounds} GROUP BY {per} ORDER BY {per}"""
    )
    return [
        PlanRow(
            "trusted",
            f"{fact} " + " ".join(str(value) for value in row[: len(rule.per)]),
            int(row[-1]),
            0,
            f"{row[-2]} rounds beyond the newest {rule.newest_rounds} per {', '.join(rule.per)}",
            "cubes over the rounds must reconcile with them",
        )
        for row in found
    ]


def _quarantine(lake: Path, keep: str, now: datetime) -> list[PlanRow]:
    cutoff = now - parse_age(keep)
    files = [file for file in open_snapshot(lake, QUARANTINE).files if file.maximum.get("received_at", now) < cutoff]
    return _row("quarantine", "", files, f"received before {cutoff:%Y-%m-%d} ({keep})", "")


def _grains(lake: Path, cube: CubeLife, now: datetime) -> list[PlanRow]:
    """Segments of each grain that ended before the grain's keep; the next coarser kept grain must reconcile first."""
    snapshot = open_snapshot(lake, cube.ref)
    names = [name for name in GRAINS if name in cube.keep]
    rows: list[PlanRow] = []
    for at, grain in enumerate(names):
        keep = cube.keep[grain]
        cutoff = GRAINS[grain].segment_of(now - timedelta(days=keep))
        of_grain = [file for file in snapshot.files if file.partition.get("grain") == grain]
        coarser = names[at + 1] if at + 1 < len(names) else ""
        first = f"the {coarser} cells of the same days must exist and reconcile" if coarser else ""
        for segment, files in _by_partition(of_grain, "segment", cutoff).items():
            rows += _row("cube", f"{cube.name} {grain} {segment}", files, f"older than {keep} days", first)
    return rows


def _by_partition(files: Snapshot | Iterable[DataFile], column: str, before: str) -> dict[str, list[DataFile]]:
    found: dict[str, list[DataFile]] = {}
    for file in files.files if isinstance(files, Snapshot) else files:
        value = file.partition.get(column)
        if value is not None and value < before:
            found.setdefault(value, []).append(file)
    return dict(sorted(found.items()))


def _row(layer: str, subject: str, files: Sequence[DataFile], why: str, first: str) -> list[PlanRow]:
    if not files:
        return []
    return [PlanRow(layer, subject, sum(f.rows for f in files), sum(f.size_bytes for f in files), why, first)]
