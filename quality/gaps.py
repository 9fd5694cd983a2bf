"""Gaps: ranges of sequence numbers that a sender declares lost; what was judged or declared before is no gap again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from lake.delta import Snapshot
from lake.duck import Duck, text_literal
from lake.facts import Fact

Range = tuple[int, int]  # first and last, both included


@dataclass(frozen=True)
class Gap:
    """A run of lost sequence numbers of one sender."""

    agent: str
    boot: str
    seq_from: int
    seq_to: int
    reason: str
    received_at: datetime

    @property
    def rows(self) -> int:
        """How many numbers are lost."""
        return self.seq_to - self.seq_from + 1


def new_gaps(duck: Duck, fact: Fact, landing: str, *, seen: Snapshot, gaps: Snapshot) -> tuple[list[Gap], int]:
    """The gaps that the relation `landing` declares anew, and how many of its lost numbers were known already.

    Known are numbers with rows in this batch (fc_ranges), numbers judged before, and numbers declared lost before.
    """
    declared = duck.sql(
        "SELECT agent, boot, seq, seq + lost - 1, coalesce(raw, 'not told'), received_at "
        f"FROM {landing} WHERE problem = 'gap' AND lost > 0 ORDER BY ALL"
    )
    if not declared:
        return [], 0
    known = _known(duck, fact, landing, seen=seen, gaps=gaps)
    found: list[Gap] = []
    repeated = 0
    for agent, boot, first, last, reason, received_at in declared:
        ranges = known[agent, boot]
        fresh = subtract((first, last), ranges)
        found += [Gap(agent, boot, *run, reason, received_at) for run in fresh]
        repeated += (last - first + 1) - sum(end - start + 1 for start, end in fresh)
        ranges.append((first, last))
    return found, repeated


def subtract(whole: Range, known: Iterable[Range]) -> list[Range]:
    """The runs of `whole` that no range of `known` covers, in order.

    >>> subtract((1, 9), [(3, 4), (8, 20)])
    [(1, 2), (5, 7)]
    """
    left: list[Range] = []
    start, end = whole
    for first, last in sorted(known):
        if last < start or first > end:
            continue
        if first > start:
            left.append((start, first - 1))
        start = last + 1
    if start <= end:
        left.append((start, end))
    return left


def _known(
    duck: Duck, fact: Fact, landing: str, *, seen: Snapshot, gaps: Snapshot
) -> defaultdict[tuple[str, str], list[Range]]:
    """Ranges that are no news, of the senders that declare gaps."""
    name = text_literal(fact.name)
    senders = f"(SELECT DISTINCT agent, boot FROM {landing} WHERE problem = 'gap')"
    rows = duck.sql(
        "SELECT agent, boot, seq_from, seq_to FROM (SELECT * FROM fc_ranges UNION ALL "
        f"SELECT agent, boot, seq_from, seq_to FROM {duck.scan(seen)} WHERE fact = {name} UNION ALL "
        f"SELECT agent, boot, seq_from, seq_to FROM {duck.scan(gaps)} WHERE fact = {name}) "
        f"SEMI JOIN {senders} USING (agent, boot)"
    )
    known: defaultdict[tuple[str, str], list[Range]] = defaultdict(list)
    for agent, boot, first, last in rows:
        known[agent, boot].append((first, last))
    return known
