"""Row checks: pure functions that say, in SQL, when a typed row is bad and why; a bad row goes to quarantine.

A check is registered for the facts that have the columns it speaks of. Beside the fact's columns it may name
`received_at` and what the catalogue says of the row's metric: `_m_kind` (NULL for an unknown metric), `_m_min`,
`_m_max`, `_m_unit`. A predicate that is NULL does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from lake.facts import Fact


@dataclass(frozen=True)
class RowCheck:
    """`bad` is SQL that is TRUE for a bad row, `reason` SQL that words why. A `notice` is counted, not quarantined."""

    name: str
    bad: str
    reason: str
    notice: bool = False


@dataclass(frozen=True)
class Policy:
    """What may be chosen: the fate of undeclared metrics (quarantine or accept), and known histogram bounds by id."""

    unknown_metrics: str = "quarantine"
    bounds: Mapping[str, int] = field(default_factory=dict)


Maker = Callable[[Policy], RowCheck]
_REGISTRY: Final[list[tuple[frozenset[str], Maker]]] = []


def register(*columns: str) -> Callable[[Maker], Maker]:
    """Register a maker of a check for every fact that has all these columns; who comes first is blamed first."""

    def keep(maker: Maker) -> Maker:
        _REGISTRY.append((frozenset(columns), maker))
        return maker

    return keep


def row_checks(fact: Fact, policy: Policy) -> tuple[RowCheck, ...]:
    """The checks of a fact, in the order in which a row is blamed."""
    # Imported here, as the families register themselves with this module.
    from quality.checks import metrics, times  # noqa: F401

    names = {column.name for column in fact.columns}
    return tuple(maker(policy) for wanted, maker in _REGISTRY if wanted <= names)
