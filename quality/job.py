"""What judging takes: the gate of one fact with all it needs, and a job, which is one batch to judge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lake.catalogue import Catalogue
from lake.duck import Duck
from lake.facts import Fact
from lake.settings import Settings
from quality.checks import Policy
from quality.suites import Suite
from quality.verdict import Finding

if TYPE_CHECKING:
    import pyarrow as pa


class Clean(Protocol):
    """Gives SQL of the typed rows of a landing relation (`ingestion.clean.clean`)."""

    def __call__(self, duck: Duck, fact: Fact, landing: str, *, catalogue: Catalogue) -> str: ...


class RowJudge(Protocol):
    """Judges the candidate's rows against the suite's row rules (`quality.expectations.Judge`)."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that a chunk must have; decimals come as doubles, good enough for a verdict."""

    def judge(self, chunks: Iterable[pa.Table]) -> list[Finding]:
        """One finding for each row rule, over all chunks of a batch."""


@dataclass(frozen=True)
class Gate:
    """Everything that judging one fact needs. `judge` gives the compiled suite; importing its engine takes seconds."""

    settings: Settings
    duck: Duck
    fact: Fact
    clean: Clean
    catalogue: Catalogue
    policy: Policy
    suite: Suite
    judge: Callable[[], RowJudge]


@dataclass(frozen=True)
class Job:
    """A batch to judge: its number, its range of landing batches, and how many of its rows were blocked before."""

    batch: int
    landed_from: int
    landed_to: int
    retried: int = 0
