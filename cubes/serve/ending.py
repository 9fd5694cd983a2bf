"""`pg_cancel_backend(pid)` and `pg_terminate_backend(pid)`: ending what another connection runs, or the connection.

The query is the catalogue's, so the numbers may come from `pg_stat_activity` or `fleet.queries`; the function is a
column of its outermost SELECT, and is called for each row of the result, after it is there. Everybody may end their
own; others' only with the power queries.end, a tenant's user only within the tenant. Both outcomes are audited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from sqlglot import exp

from cubes.serve.running import Running, Viewer
from cubes.serve.statements import Statement, parse
from lake.errors import QueryError

if TYPE_CHECKING:
    import pyarrow as pa

POWER: Final = "queries.end"
_FUNCTIONS: Final = {"pg_cancel_backend": False, "pg_terminate_backend": True}


@dataclass(frozen=True)
class Ender:
    """Ends statements and connections of a server. `act(process, terminate)` does it, from any thread."""

    running: Running
    act: Callable[[int, bool], None]

    def end(self, process: int, viewer: Viewer, tell: Callable[..., None], *, terminate: bool) -> bool:
        """End it, told to the audit log first; False where there is no such connection.

        Errors: QueryError 42501 for who may not; of a number without a connection too, so that nothing can be guessed.
        """
        operation = "query.terminate" if terminate else "query.cancel"
        found = self.running.connection(process)
        if found is None and viewer.may(POWER) and (viewer.policy is None or viewer.policy.tenant is None):
            return False
        if found is None or not viewer.over(POWER, found.user, found.tenant):
            tell(operation, str(process), result="refused")
            what = f"permission denied to end what connection {process} runs"
            todo = f"A role with may: [{POWER}] can; your own connections are in fleet.queries."
            raise QueryError(what, todo=todo, code="42501")
        tell(operation, str(process), detail={"of": found.user})
        self.act(process, terminate)
        return True


def asks_to_end(statement: Statement) -> bool:
    """Whether a query calls one of the functions, as far as its words tell."""
    return any(text.lower() in _FUNCTIONS for text, _ in statement.tokens)


def without_calls(statement: Statement) -> tuple[Statement, dict[int, bool]]:
    """The query with each call replaced by its argument, and which columns those are: True is to terminate.

    Errors: QueryError 0A000 for a call anywhere but as a column of the outermost SELECT.
    """
    tree = parse(statement)
    ends: dict[int, bool] = {}
    for place, item in enumerate(tree.selects if isinstance(tree, exp.Select) else ()):
        call = _call(item.this if isinstance(item, exp.Alias) else item)
        if call is None:
            continue
        ends[place] = _FUNCTIONS[call.name.lower()]
        number = exp.cast(call.expressions[0].copy(), exp.DataType.Type.BIGINT)
        item.replace(exp.alias_(number, item.alias or call.name.lower()))
    left = [node for node in tree.find_all(exp.Anonymous) if node.name.lower() in _FUNCTIONS]
    if left or (ends and any(tree.args.get(part) for part in ("distinct", "group", "having"))):
        todo = "Write SELECT pg_cancel_backend(pid) FROM fleet.queries WHERE ..."
        raise QueryError("the ending of queries is a column of the outermost SELECT", todo=todo, code="0A000")
    return replace(statement, text=tree.sql("postgres")), ends


def ended(table: pa.Table, ends: dict[int, bool], end: Callable[[int, bool], bool]) -> tuple[pa.Table, list[str]]:
    """The result with what became of each row in the place of its number, and warnings for numbers of nobody."""
    import pyarrow as pa

    warnings: list[str] = []

    def one(process: Any, terminate: bool) -> bool | None:
        if process is None:
            return None
        done = end(int(process), terminate)
        if not done:
            warnings.append(f"PID {process} is not a PostgreSQL server process")
        return done

    for place, terminate in ends.items():
        values = [one(process, terminate) for process in table.column(place).to_pylist()]
        table = table.set_column(place, table.column_names[place], pa.array(values, pa.bool_()))
    return table, warnings


def _call(node: exp.Expr) -> exp.Anonymous | None:
    """The call that a column is, `pg_catalog.` before it or not."""
    if isinstance(node, exp.Dot) and node.this.name.lower() == "pg_catalog":
        node = node.expression
    if not isinstance(node, exp.Anonymous) or node.name.lower() not in _FUNCTIONS:
        return None
    most = 2 if _FUNCTIONS[node.name.lower()] else 1
    if not 1 <= len(node.expressions) <= most:
        raise QueryError(f"function {node.name.lower()} takes the number of a connection", code="42883")
    return node
