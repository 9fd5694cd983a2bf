"""Strict mode: an answer that a caller said it does not want is refused, with what to do.

`cube`: whole blocks must come from cells, not from rows. `exact`: no column may be approximate. `passed`: every row
behind the answer passed its gate, and none that may belong to it is kept aside, held back or missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cubes.route.verdicts import against_passed
from lake.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Callable

MODES: Final = ("any", "cube", "exact", "passed")
_TRUSTED: Final = "answered from trusted rows"
_SHOWN: Final = 5


def require(mode: str, answer: Any) -> None:
    """QueryError 0A000 where the answer (of `cubes.session`) isn't as the mode asks; `any` asks for nothing."""
    if mode != "any":
        _CHECKS[mode](answer)


def _cube(answer: Any) -> None:
    if answer.path in ("raw", "mixed"):
        reason = next((notice for notice in answer.notices if _TRUSTED in notice), "no cube fits the query")
        raise _refusal("cube", reason, "see EXPLAIN CUBE for what would fit")


def _exact(answer: Any) -> None:
    inexact = any(column.relative_error for column in answer.columns)
    # A percentile of foreign histograms is as wide as their buckets, wherever it comes from.
    if not inexact and (answer.path == "constant" or not any(column.type == "DOUBLE" for column in answer.columns)):
        return
    columns = answer.receipt.get("columns", ())
    named = [column["name"] for column in columns if column["relative_error"] != 0 or "note" in column]
    if inexact or named:
        which = f": {', '.join(named)}" if named else ""
        raise _refusal("exact", f"the answer has approximate columns{which}", "to accept the bound of the receipt")


def _passed(answer: Any) -> None:
    found = against_passed(answer.receipt)
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        todo = "ask for a range without them, or release, undo or replay them (`fleetcube status`, the receipt's gate)"
        raise _refusal("passed", "; ".join(found[:_SHOWN]) + more, todo)


def _refusal(mode: str, what: str, todo: str) -> QueryError:
    return QueryError(
        f"fleetcube.require = {mode}: {what.rstrip('.')}.",
        todo=f"SET fleetcube.require = any, or {todo}.",
        code="0A000",
    )


_CHECKS: Final[dict[str, Callable[[Any], None]]] = {"cube": _cube, "exact": _exact, "passed": _passed}
