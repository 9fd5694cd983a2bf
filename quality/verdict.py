"""The verdict on a batch: every expectation's outcome, and passed, warned or blocked by the worst that failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from quality.suites import BatchRule, Suite

_BY_SEVERITY: Final = {"critical": "blocked", "warning": "warned", "info": "passed"}
_ORDER: Final = ("passed", "warned", "blocked")


@dataclass(frozen=True)
class Finding:
    """One expectation, of rows or of the batch. `unexpected` counts bad rows, or is the measure of a batch rule.

    `says` words a failure: what was found against which limit; it is empty where the expectation holds.
    """

    name: str
    severity: str
    success: bool
    unexpected: int | str
    says: str = ""


@dataclass(frozen=True)
class Measured:
    """What batch rules speak of. `judged` is received rows less duplicates and gaps."""

    received: int
    judged: int
    quarantined: int
    newest: datetime | None
    received_at: datetime | None
    columns: tuple[str, ...]
    wanted: tuple[str, ...]


def batch_findings(suite: Suite, measured: Measured) -> list[Finding]:
    """The outcomes of the suite's batch rules that have something to say about a batch of this size."""
    return [_finding(rule, measured) for rule in suite.batch if measured.received >= rule.from_rows]


def verdict(findings: Sequence[Finding]) -> str:
    """`blocked` if a critical expectation failed, `warned` if a warning did, else `passed`."""
    failed = [_BY_SEVERITY[finding.severity] for finding in findings if not finding.success]
    return max(failed, key=_ORDER.index, default="passed")


def percent(share: Decimal | Fraction | int, beside: Decimal | int | None = None) -> str:
    """A share in percent with one decimal place, or as many more as tell it from the limit that stands beside it."""
    exact = Fraction(share) * 100
    limit = None if beside is None else Fraction(beside) * 100
    for places in (1, 2, 3, 4, 6, 9):
        rounded = Decimal(round(exact * 10**places)).scaleb(-places)
        if limit is None or exact == limit or Fraction(rounded) != limit:
            break
    return f"{rounded.normalize():f} %"


def _finding(rule: BatchRule, measured: Measured) -> Finding:
    number, unexpected, says = _measure(rule, measured)
    success = not _differing(measured) if rule.rule == "columns" else number is None or _within(rule, number)
    return Finding(rule.name, rule.severity, success, unexpected, "" if success else says)


def _measure(rule: BatchRule, measured: Measured) -> tuple[Decimal | None, int | str, str]:
    """What the rule measures, as a number, as `unexpected`, and in words; None where there is nothing to measure."""
    if rule.rule == "columns":
        differing = ", ".join(_differing(measured))
        return None, differing or 0, f"columns are missing or too many: {differing}"
    if rule.rule == "rows":
        rows = measured.received
        return Decimal(rows), rows, f"{rows:,} rows came; the suite wants {_limits(rule, '{:,}'.format)}"
    if rule.rule == "quarantined_share":
        bad, judged = measured.quarantined, measured.judged
        share = Decimal(bad) / Decimal(judged) if judged else Decimal(0)
        told = percent(share, rule.min if rule.max is None else rule.max)
        limits = _limits(rule, percent)
        return share, bad, f"{told} of the rows ({bad:,} of {judged:,}) belong in quarantine; the suite wants {limits}"
    if measured.newest is None or measured.received_at is None:
        return None, "no rows", ""
    age_s = int((measured.received_at - measured.newest).total_seconds())
    limits = _limits(rule, "{} s".format)
    return Decimal(age_s), f"{age_s} s", f"the newest event was {age_s} s old when it came; the suite wants {limits}"


def _differing(measured: Measured) -> list[str]:
    """Columns that the candidate lacks, or has beyond the fact's."""
    return sorted(set(measured.columns) ^ set(measured.wanted))


def _limits(rule: BatchRule, form: Callable[[Decimal | int], str]) -> str:
    ends = (("at least", rule.min), ("at most", rule.max))
    return " and ".join(f"{word} {form(end)}" for word, end in ends if end is not None)


def _within(rule: BatchRule, number: Decimal) -> bool:
    return (rule.min is None or number >= rule.min) and (rule.max is None or number <= rule.max)
