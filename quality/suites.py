"""Suites: what rows and batches of a fact are expected to be, one document per fact in `quality/suites`.

A row rule is declared once and compiled twice: to SQL, which sends bad rows to quarantine, and to an expectation of
Great Expectations, which gives the verdict (`quality/expectations.py`). A test holds their counts equal.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from lake.documents import read_document
from lake.errors import did_you_mean
from lake.facts import load_facts
from lake.own import once, own_part
from quality.checks import RowCheck

_FOLDER = Path(__file__).parent / "suites"
_HALF = Decimal("0.5")
_STRICT = ConfigDict(frozen=True, extra="forbid")
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]
Severity = Literal["critical", "warning", "info"]


class RowRule(BaseModel):
    """An expectation on one column of a row. NULL passes every rule but not_null, as in Great Expectations.

    The rule fails for the batch when less than the share `mostly` of its rows hold; single bad rows go to quarantine
    unless `quarantine` is false.
    """

    model_config = _STRICT

    name: _Name
    column: _Name
    rule: Literal["not_null", "between", "one_of", "length"]
    min: Decimal | int | None = None
    max: Decimal | int | None = None
    values: tuple[str, ...] = ()
    severity: Severity
    mostly: Decimal | int = Field(default=1, ge=0, le=1)
    quarantine: bool = True

    @model_validator(mode="after")
    def _arguments_fit(self) -> RowRule:
        bounded = self.rule in {"between", "length"}
        if bounded != (self.min is not None or self.max is not None):
            raise ValueError(f"rule {self.rule} {'needs' if bounded else 'takes no'} min or max.")
        if (self.rule == "one_of") != bool(self.values):
            raise ValueError("values go with the rule one_of, and with no other.")
        return self

    def as_check(self) -> RowCheck:
        """The rule as SQL: TRUE for a bad row, with the reason in words."""
        column = f'"{self.column}"'
        measured = f"length({column})" if self.rule == "length" else column
        bounds = [f"{measured} < {self.min}"] if self.min is not None else []
        bounds += [f"{measured} > {self.max}"] if self.max is not None else []
        listed = ", ".join("'" + value.replace("'", "''") + "'" for value in self.values)
        bad = {
            "not_null": f"{column} IS NULL",
            "one_of": f"{column} NOT IN ({listed})",
        }.get(self.rule, " OR ".join(bounds))
        shown = f"coalesce(CAST({column} AS VARCHAR), 'nothing')"
        wanted = self.wanted().replace("'", "''")
        return RowCheck(self.name, bad, f"'column {self.column}: ' || {shown} || ' is not {wanted}'")

    def wanted(self) -> str:
        """What the column is to be, in words that follow "is not"."""
        if self.rule == "not_null":
            return "a value"
        if self.rule == "one_of":
            return "one of " + ", ".join(self.values)
        low, high = ("" if bound is None else str(bound) for bound in (self.min, self.max))
        return f"within {low}..{high}" + (" letters" if self.rule == "length" else "")


class BatchRule(BaseModel):
    """An expectation on a batch as a whole; it speaks only from `from_rows` rows on.

    rows: received rows in min..max. quarantined_share: at most `max`. newest_age_s: the newest event is at most `max`
    seconds older than the newest receipt. columns: the candidate has the fact's columns, no more and no less.
    """

    model_config = _STRICT

    name: _Name
    rule: Literal["rows", "quarantined_share", "newest_age_s", "columns"]
    min: Decimal | int | None = None
    max: Decimal | int | None = None
    from_rows: int = Field(default=0, ge=0)
    severity: Severity


class Suite(BaseModel):
    """All rules of a fact. `digest` names the very rules that judged a batch."""

    model_config = _STRICT

    fact: _Name
    description: str
    rows: tuple[RowRule, ...]
    batch: tuple[BatchRule, ...]

    @property
    def digest(self) -> str:
        """First 12 hex digits of the SHA-256 of the rules as canonical JSON."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def load_suite(fact_name: str, folder: Path | None = None) -> Suite:
    """The suite of a fact: from `folder` where it is given, else as the user declared it, or as it is shipped.

    A fact of the user's own without one gets `_usual`. Errors: DefinitionError with file and line if it is wrong.
    """
    return _declared(fact_name) if folder is None else _read(folder / f"{fact_name}.yaml", fact_name)


@once
def _declared(fact_name: str) -> Suite:
    own = own_part("suites")
    for path in [] if own is None else sorted(own.glob("*.yaml")):
        if path.stem not in load_facts():
            _read(path, path.stem)  # says that there is no such fact: nobody would ever ask for this one
    for folder in (*([own] if own is not None else []), _FOLDER):
        path = folder / f"{fact_name}.yaml"
        if path.is_file():
            return _read(path, fact_name)
    return _usual(fact_name)


def _usual(fact_name: str) -> Suite:
    """What is expected of any fact: a time, and rows most of which are sound; types and words are checked before."""
    rules = (
        BatchRule(name="columns", rule="columns", severity="critical"),
        BatchRule(name="share_quarantined", rule="quarantined_share", max=_HALF, from_rows=1000, severity="critical"),
    )
    known = RowRule(name="time_known", column="ts", rule="not_null", severity="warning", mostly=Decimal("0.99"))
    return Suite(fact=fact_name, description="What is expected of any fact.", rows=(known,), batch=rules)


def _read(path: Path, fact_name: str) -> Suite:
    document = read_document(path)
    suite = document.validate(Suite)
    if suite.fact != fact_name:
        raise document.error(f"suite of '{suite.fact}' lies in {path.name}.", ("fact",), "Let the file bear its name.")
    if fact_name not in load_facts():
        raise document.error(f"there is no fact '{fact_name}'.", ("fact",), did_you_mean(fact_name, load_facts()))
    columns = [column.name for column in load_facts()[fact_name].columns]
    for place, rule in enumerate(suite.rows):
        if rule.column not in columns:
            near = did_you_mean(rule.column, columns)
            raise document.error(f"fact {fact_name} has no column '{rule.column}'.", ("rows", place, "column"), near)
    places = [(("rows", place, "name"), rule.name) for place, rule in enumerate(suite.rows)]
    places += [(("batch", place, "name"), rule.name) for place, rule in enumerate(suite.batch)]
    first: set[str] = set()
    for at, name in places:
        if name in first:
            raise document.error(f"rule '{name}' is there twice.", at, "Rename one of them.")
        first.add(name)
    return suite
