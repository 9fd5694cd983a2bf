"""Great Expectations as the judge of batches: a suite's row rules compiled to expectations, validated chunk by chunk.

The only file that imports Great Expectations, which takes seconds: the gate imports this module when it has rows to
judge, nobody else does. Rows themselves are told apart by the same rules as SQL; here only counts matter.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from quality.suites import RowRule, Suite
from quality.verdict import Finding, percent

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
with warnings.catch_warnings():
    # Its dependencies import deprecated modules; that is no news to the person at the gate.
    warnings.simplefilter("ignore")
    import great_expectations as gx
    import great_expectations.expectations as _gxe
    from great_expectations.data_context.types.base import ProgressBarsConfig

if TYPE_CHECKING:
    import pyarrow as pa

_expect: Any = _gxe  # its names are not exported in a way that a type checker follows


class Judge:
    """A suite compiled once and held ready; `judge` may be called for any number of batches."""

    def __init__(self, suite: Suite) -> None:
        """Compile the row rules of `suite` in an ephemeral context: nothing is written, nothing is sent."""
        self.suite = suite
        context = gx.get_context(mode="ephemeral")
        context.enable_analytics(False)
        context.variables.progress_bars = ProgressBarsConfig(globally=False)
        expectations = [_expectation(rule) for rule in suite.rows]
        self._suite = context.suites.add(gx.ExpectationSuite(name=suite.fact, expectations=expectations))
        asset = context.data_sources.add_pandas(suite.fact).add_dataframe_asset("candidate")
        self._batches = asset.add_batch_definition_whole_dataframe("chunk")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a chunk must have, decimals as float64 (good enough for a verdict, not for a value)."""
        return tuple(dict.fromkeys(rule.column for rule in self.suite.rows))

    def judge(self, chunks: Iterable[pa.Table]) -> list[Finding]:
        """The finding of every row rule over the chunks of a batch, in the suite's order.

        NULLs count for not_null only; the other rules don't speak of them.
        """
        spoken = dict.fromkeys((rule.name for rule in self.suite.rows), 0)
        broken = dict(spoken)
        for chunk in chunks:
            if chunk.num_rows == 0:
                continue
            for name, rows, unexpected in self._validate(chunk):
                spoken[name] += rows
                broken[name] += unexpected
        return [_finding(rule, spoken[rule.name], broken[rule.name]) for rule in self.suite.rows]

    def _validate(self, chunk: pa.Table) -> list[tuple[str, int, int]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batch = self._batches.get_batch(batch_parameters={"dataframe": chunk.to_pandas()})
            result = batch.validate(
                self._suite, result_format={"result_format": "BASIC", "partial_unexpected_count": 0}
            )
        return [_counts(item) for item in result.results]


def _counts(item: Any) -> tuple[str, int, int]:
    """Rule, rows it spoke of, and rows that broke it; an expectation that could not run is an error of ours."""
    if item.exception_info.get("raised_exception"):
        raise RuntimeError(f"expectation failed to run: {item.exception_info.get('exception_message')}")
    found = item.result
    return (
        item.expectation_config.meta["rule"],
        int(found["element_count"]) - int(found.get("missing_count") or 0),
        int(found["unexpected_count"]),
    )


def _holds(rule: RowRule, rows: int, unexpected: int) -> bool:
    """Whether the share of good rows reaches `mostly`, over the whole batch and exactly."""
    return rows == 0 or Fraction(rows - unexpected, rows) >= Fraction(rule.mostly)


def _finding(rule: RowRule, rows: int, unexpected: int) -> Finding:
    if _holds(rule, rows, unexpected):
        return Finding(rule.name, rule.severity, True, unexpected)
    most = 1 - Fraction(rule.mostly)
    told = f"{percent(Fraction(unexpected, rows))} of the rows ({unexpected:,} of {rows:,})"
    says = f"column {rule.column}: {told} are not {rule.wanted()}; the suite lets {percent(most)} pass"
    return Finding(rule.name, rule.severity, False, unexpected, says)


def _expectation(rule: RowRule) -> Any:
    common: dict[str, Any] = {
        "column": rule.column,
        "severity": rule.severity,
        "mostly": float(rule.mostly),
        "meta": {"rule": rule.name},
    }
    if rule.rule == "not_null":
        return _expect.ExpectColumnValuesToNotBeNull(**common)
    if rule.rule == "one_of":
        return _expect.ExpectColumnValuesToBeInSet(value_set=list(rule.values), **common)
    low, high = _plain(rule.min), _plain(rule.max)
    if rule.rule == "length":
        return _expect.ExpectColumnValueLengthsToBeBetween(min_value=low, max_value=high, **common)
    return _expect.ExpectColumnValuesToBeBetween(min_value=low, max_value=high, **common)


def _plain(bound: Decimal | int | None) -> float | int | None:
    return float(bound) if isinstance(bound, Decimal) else bound
