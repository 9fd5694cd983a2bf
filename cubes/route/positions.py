"""Numbers in clauses: positions in the select list, and LIMIT and OFFSET."""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from lake.errors import QueryError


def at_position(node: exp.Literal, items: Sequence[exp.Expr], where: str) -> exp.Expr:
    """The item of a select list that a bare number in a clause means; QueryError where there is none."""
    if not node.name.isdigit() or not 1 <= int(node.name) <= len(items):
        raise QueryError(f"{where} position {node.name} is not in the select list.", todo=f"Use 1 to {len(items)}.")
    return items[int(node.name) - 1]


def check_limits(node: exp.Expr) -> None:
    """Take LIMIT ALL away; QueryError for a limit or offset that is no whole number."""
    for clause in ("limit", "offset"):
        limit = node.args.get(clause)
        if limit is None:
            continue
        value = limit.args.get("count") if isinstance(limit, exp.Fetch) else limit.expression
        if isinstance(value, (exp.Null, exp.Var)):
            node.set(clause, None)
        elif not (isinstance(value, exp.Literal) and value.name.isdigit()):
            raise QueryError(f"{clause.upper()} takes a whole number.", todo="Write it as LIMIT 100.")
