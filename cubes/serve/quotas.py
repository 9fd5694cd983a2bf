"""Quotas of the access file as they hold for one statement: the tighter of the user's and the tenant's.

How many may run at once is kept by `admission`; here are the time of a statement and the rows of an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cubes.serve.admission import Share
from lake.errors import QueryError

if TYPE_CHECKING:
    from cubes.access import Policy


@dataclass(frozen=True)
class Bound:
    """What a statement may take: seconds from its arrival, rows of its answer; None is no bound."""

    statement_s: int | None = None
    rows: int | None = None

    def check(self, rows: int) -> None:
        """QueryError 53400 for an answer of more rows: it is refused, never cut."""
        if self.rows is not None and rows > self.rows:
            what = f"the answer has more than the {self.rows:,} rows of your quota"
            todo = "Ask for an aggregate, a shorter range or a LIMIT, or have the quota raised (quotas: rows)."
            raise QueryError(what, todo=todo, code="53400")


def bound_of(policy: Policy | None) -> Bound:
    """The bound that a policy sets; none for the operator."""
    if policy is None:
        return Bound()
    both = policy.quotas.tightest(policy.tenant_quotas)
    return Bound(both.statement_s, both.rows)


def share_of(policy: Policy | None, user: str, process: int) -> Share:
    """Whose a statement is, with the quotas on how many run at once."""
    if policy is None:
        return Share(user, process=process)
    return Share(user, policy.tenant, process, policy.quotas.running, policy.tenant_quotas.running)
