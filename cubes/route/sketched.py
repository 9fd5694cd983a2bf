"""Aggregates that are answered from the long rows beside the cells: percentiles and counts of distinct values."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from cubes.histograms import COUNTS


@dataclass(frozen=True)
class Quantile:
    """A percentile of a value column, with the names of the parts of its exact extremes; of histograms without."""

    function: str
    column: str
    share: str
    condition: exp.Expr | None
    low: str = ""
    high: str = ""

    @property
    def histogram(self) -> bool:
        """Whether it is of histograms; cells know as much of those as rows do."""
        return self.column == COUNTS


@dataclass(frozen=True)
class Distinct:
    """A number of distinct values of a column, by their hashes; `exact` where an estimate will not do."""

    column: str
    condition: exp.Expr | None
    exact: bool

    @property
    def sketch(self) -> str:
        """The name of the sketch that holds the hashes."""
        return f"distinct:{self.column}"
