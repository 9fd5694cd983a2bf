"""The receipt: what an answer rests on, in plain JSON values.

It is made after the answer, at first use, by a few small queries at the statement's own versions: rows behind each
block, what quarantine holds of the same days and site, and for samples how much of the expected time was covered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sqlglot import exp

from cubes.buckets import RELATIVE_ERROR
from cubes.distinct import relative_error
from cubes.route.coverage import coverage
from cubes.route.lower import engine_sql
from cubes.route.match import cuboid_name
from cubes.route.parts import aggregates
from cubes.route.policy import permitted
from cubes.route.source import rows_sql
from cubes.route.span import Window, moment
from cubes.route.statement import Block
from cubes.route.verdicts import gate_of
from cubes.route.widths import widths
from cubes.route.window import conjuncts
from lake.times import iso

if TYPE_CHECKING:
    from cubes.route.rewrite import Answered
    from cubes.route.statement import Statement, Term
    from cubes.route.tile import Plan
    from cubes.route.view import View

_JOINED = "not a SELECT over this fact alone, so its rows are read"


def path_of(statement: Statement) -> str:
    """cube, cube+raw (with edges or a tail), mixed (some blocks from rows), raw, or constant where no fact is read."""
    if not statement.answered:
        return "raw" if statement.scanned else "constant"
    if statement.scanned:
        return "mixed"
    edged = any(one.plan.edges or one.plan.tail for one in statement.answered)
    return "cube+raw" if edged else "cube"


def notices(statement: Statement) -> tuple[str, ...]:
    """One line for each block that was pushed down, with the reason; none when rows were asked for."""
    if statement.raw:
        return ()
    told = [f"{block.fact}: answered from trusted rows: {block.reason}." for block in _pushed(statement)]
    return (*dict.fromkeys(told),)


def errors_of(statement: Statement) -> list[float]:
    """Relative error bound of each output column: 0 is exact."""
    errors = [0.0] * len(statement.outputs)
    for one in statement.answered:
        bounds = [(term.node, _bound(term, one.plan)) for term in one.plan.block.terms if term.approximate]
        for place, item in enumerate(one.plan.block.select.expressions if bounds else ()):
            held = list(aggregates(item))
            errors[place] = max([errors[place], *(bound for node, bound in bounds if node in held)])
    return errors


def _bound(term: Term, plan: Plan) -> float:
    if term.distinct is None:
        return float(RELATIVE_ERROR)
    [most] = {one.most for one in plan.cube.cube.sketches if one.name == term.distinct.sketch}
    return relative_error(most - 1)


def make_receipt(
    statement: Statement,
    view: View,
    latency_ms: Mapping[str, float],
    *,
    cached: bool = False,
    counted: bool = True,
) -> dict[str, Any]:
    """The whole receipt. Rows count what each block's predicate let through; all figures hold at `versions`.

    Not `counted` it asks no query: what is to be counted (rows, coverage, the gate, newest times) is left out.
    """
    plans = {id(one.plan.block): one for one in statement.answered}
    blocks = [_block(block, plans.get(id(block)), view, counted) for block in statement.blocks]
    inside = [block.fact for block in _pushed(statement)]
    for fact, window in statement.scanned:
        if fact in inside:
            inside.remove(fact)
        else:
            blocks.append(
                {
                    "fact": fact,
                    "cube": None,
                    "reason": _JOINED,
                    **_of_rows(fact, window, view, "", None, columns=frozenset(), counted=counted),
                }
            )
    wide = widths(statement, view) if counted else {}
    return {
        "path": path_of(statement),
        "reason": "; ".join(dict.fromkeys(block["reason"] for block in blocks if block["reason"])),
        "blocks": blocks,
        "versions": {fact: _versions(fact, view) for fact in sorted({block["fact"] for block in blocks})},
        **({"rows": sum(block["rows"] for block in blocks)} if counted else {}),
        "columns": [
            {"name": name, "relative_error": error, **wide.get(place, {})}
            for place, ((name, _), error) in enumerate(zip(statement.outputs, errors_of(statement), strict=True))
        ],
        "policy": "none" if view.policy is None else view.policy.digest,
        "as_of": None if view.past is None else str(view.past.asked),
        "cached": cached,
        "latency_ms": {name: round(value, 3) for name, value in latency_ms.items()},
    }


def _pushed(statement: Statement) -> list[Block]:
    return [block for block in statement.blocks if block.reason]


def _block(block: Block, answered: Answered | None, view: View, counted: bool) -> dict[str, Any]:
    if answered is None:
        where: exp.Expr | None = block.select.args.get("where")
        joined = bool(block.select.args.get("joins"))
        alone = (
            where is not None
            and not joined
            and where.find(exp.Subquery, exp.Select, exp.Exists) is None
            and not _outer(where)
        )
        text = f" AS {_quoted(block.alias)} WHERE {engine_sql(where.this)}" if where is not None and alone else ""
        return {
            "fact": block.fact,
            "cube": None,
            "reason": block.reason,
            **_of_rows(block.fact, block.window, view, text, block, columns=_names(where), counted=counted),
        }
    plan = answered.plan
    told = {
        "fact": block.fact,
        "cube": plan.cube.cube.name,
        "reason": "",
        "range": block.window.shown(),
        "pieces": [_piece(plan, place) for place in range(len(plan.pieces))],
        "raw_edges": [edge.shown() for edge in plan.edges],
        "tail": {"after_batch": plan.cube.watermark, "range": _span(plan.tail).shown()} if plan.tail else None,
    }
    if not counted:
        return told
    rows, covered = view.duck.sql(answered.rows_sql)[0]
    return {**told, "rows": rows, **_quality(block.fact, block.window, view, block, covered)}


def _span(windows: Sequence[Window]) -> Window:
    return Window(windows[0].start, windows[-1].end)


def _piece(plan: Plan, place: int) -> dict[str, Any]:
    piece = plan.pieces[place]
    return {"grain": piece.grain, "cuboid": cuboid_name(plan.cube, piece.cuboid), "range": piece.window.shown()}


def _outer(where: exp.Expr) -> bool:
    return any(column.meta.get("outer") for column in where.find_all(exp.Column))


def _names(where: exp.Expr | None) -> frozenset[str]:
    return frozenset(column.name for column in where.find_all(exp.Column)) if where is not None else frozenset()


def _of_rows(
    fact: str,
    window: Window,
    view: View,
    where: str,
    block: Block | None,
    *,
    columns: frozenset[str],
    counted: bool,
) -> dict[str, Any]:
    window = Window(0, 0) if window.empty else window
    if not counted:
        return {"range": window.shown()}
    timed = "sum(interval_s)" if fact == "samples" else "NULL"
    allowed, needed = permitted(fact, view)
    relation = rows_sql(view.fact(fact), [window], view, {*columns, *needed, "interval_s"})
    if allowed:
        relation = f"(SELECT * FROM {relation} AS {_quoted(fact)} WHERE {allowed})"
    rows, covered = view.duck.sql(f"SELECT count(*), {timed} FROM {relation}{where}")[0]
    quality = _quality(fact, window, view, block, covered)
    return {"range": window.shown(), "rows": rows, **quality}


def _quality(fact: str, window: Window, view: View, block: Block | None, covered: Decimal | None) -> dict[str, Any]:
    # Kept-aside rows have no typed columns for a policy to judge: of them such a user is told nothing.
    gate = None if permitted(fact, view)[0] else gate_of(fact, window, _sites(block), view)
    return {
        "quarantined": None if gate is None else gate.pop("quarantined"),
        "gate": gate,
        "newest": _newest(fact, window, view),
        "coverage": coverage(fact, window, block, covered, view),
    }


def _versions(fact: str, view: View) -> dict[str, Any]:
    state = view.fact(fact)
    cubes = {
        held.cube.name: {
            "version": held.snapshot.version,
            "build": held.build,
            "watermark": held.watermark,
            "source": held.source,
        }
        for held in state.cubes
    }
    return {"trusted": state.trusted.version, "cubes": cubes}


def _sites(block: Block | None) -> frozenset[str] | None:
    """The sites that the predicate fixes, or None for any."""
    # Beside a lookup, a column of that name may be the lookup's.
    for node in conjuncts(block.where) if block is not None and not block.beside else []:
        if isinstance(node, (exp.EQ, exp.In)) and isinstance(node.this, exp.Column) and node.this.name == "site":
            values = [node.expression] if isinstance(node, exp.EQ) else node.expressions
            if values and all(isinstance(value, exp.Literal) for value in values):
                return frozenset(value.name for value in values)
    return None


def _newest(fact: str, window: Window, view: View) -> str | None:
    """Time of the newest trusted row in the range, whatever its dimensions."""
    state = view.fact(fact)
    end = None if window.end is None else moment(window.end - 1).date().isoformat()
    days = {file.partition["day"] or "" for file in state.trusted.files}
    inside = [day for day in sorted(days, reverse=True) if end is None or day <= end]
    if not inside:
        return None
    last = [file.path for file in state.trusted.files if file.partition["day"] == inside[0]]
    until = f"WHERE epoch_us(ts) < {window.end}" if window.end is not None else ""
    allowed, needed = permitted(fact, view)
    if allowed:
        relation = f"{rows_sql(state, [window], view, needed)} AS {_quoted(fact)}"
        until = f"{until} AND {allowed}" if until else f"WHERE {allowed}"
    else:
        relation = view.duck.scan(state.trusted, state.trusted.paths(lambda file: file.path in last))
    newest = view.duck.sql(f"SELECT max(ts) FROM {relation} {until}")[0][0]
    return None if newest is None else iso(newest)


def _quoted(name: str) -> str:
    return str(exp.to_identifier(name, quoted=True).sql("duckdb"))
