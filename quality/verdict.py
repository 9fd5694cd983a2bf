"""The verdict on a batch: every expectation's outcome, and passed, warned or blocked by the worst that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from quality.suites import BatchRule, Suite

_BY_SEVERITY: Final = {"critical": "blocked", "warning": "warned", "info": "passed"}
_ORDER: Final = ("passed", "warned", "blocked")


@dataclass(frozen=True)
class Finding:
    """One expectation, of rows or of the batch. `unexpected` counts bad rows, or is the measure of a batch rule."""

    name: str
    severity: str
    success: bool
    unexpected: int | str


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


def _finding(rule: BatchRule, measured: Measured) -> Finding:
    if rule.rule == "columns":
        differing = sorted(set(measured.columns) ^ set(measured.wanted))
        return Finding(rule.name, rule.severity, not differing, ", ".join(differing) or 0)
    if rule.rule == "rows":
        return Finding(rule.name, rule.severity, _within(rule, Decimal(measured.received)), measured.received)
    if rule.rule == "quarantined_share":
        share = Decimal(measured.quarantined) / Decimal(measured.judged) if measured.judged else Decimal(0)
        return Finding(rule.name, rule.severity, _within(rule, share), measured.quarantined)
    if measured.newest is None or measured.received_at is None:
        return Finding(rule.name, rule.severity, True, "no rows")
    age_s = int((measured.received_at - measured.newest).total_seconds())
    return Finding(rule.name, rule.severity, _within(rule, Decimal(age_s)), f"{age_s} s")


def _within(rule: BatchRule, number: Decimal) -> bool:
    return (rule.min is None or number >= rule.min) and (rule.max is None or number <= rule.max)
