"""What a query on the catalogue may hold: the router's grammar, and what psql, drivers and dashboards ask beyond it.

An allow-list on the tree as it was written, by kind of node, function, table function and clause; all else is refused
by name. The catalogue's engine reads no files and holds no data of facts, but its other functions could still eat the
server's memory, tell its variables or write its log.
"""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from cubes.route.grammar import CLAUSES, NODES, PARTS, TYPES
from cubes.route.templates import set_format
from lake.errors import QueryError, did_you_mean

SERIES_MAX: Final = 1000
_MORE: Final = (
    "Dot CurrentSchema CurrentSchemas CurrentDatabase CurrentCatalog CurrentVersion CurrentUser SessionUser "
    "ObjectIdentifier ArrayAgg GroupConcat LogicalAnd LogicalOr Explode Replace Bracket BitwiseAnd BitwiseOr "
    "ExplodingGenerateSeries GenerateSeries Unnest Operator Collate Array ByteString Values Format ArraySize "
    "ArrayPosition ArrayToString ConcatWs"
)
_KINDS: Final = NODES | frozenset(getattr(exp, name) for name in _MORE.split())
# PostgreSQL's functions that the engine has under the same name, or that the rewrite knows; behind `pg_catalog.` even
# those are anonymous of which the parser has a kind.
ENGINE_FUNCTIONS: Final = frozenset(
    "array_agg array_length array_position array_to_string bool_and bool_or concat_ws current_schemas current_setting "
    "format generate_subscripts json_build_object string_agg unnest".split()
)
# Their value is the connection's.
OF_CONNECTION: Final = frozenset(
    "version current_schema current_database current_user session_user current_role user pg_backend_pid".split()
)
_SCHEMAS: Final = ("pg_catalog", "information_schema", "fleet", "public")
_TABLE_PARTS: Final = ("this", "db", "catalog", "alias", "joins", "ordinality")
# Types of a cast that are no types of the router's: those of the catalogue itself, which the rewrite maps.
_OWN_TYPES: Final = frozenset(("USERDEFINED", "NAME"))
_WORD_MAX: Final = 64


def check(tree: exp.Expr, macros: frozenset[str]) -> None:
    """QueryError for the first thing that no catalogue query may hold; `macros` are the catalogue's own functions."""
    for node in tree.walk():
        if isinstance(node, exp.Anonymous):
            _known_function(node.name.lower(), macros)
        elif type(node) not in _KINDS:
            _unknown(node, macros)
        _parts(node)
        _shape(node)


def _known_function(name: str, macros: frozenset[str]) -> None:
    if f"fc_{name}" not in macros and name not in ENGINE_FUNCTIONS | OF_CONNECTION:
        known = (*ENGINE_FUNCTIONS, *OF_CONNECTION, *(macro.removeprefix("fc_") for macro in macros))
        near = did_you_mean(name, known)
        todo = near if near.startswith("Did") else "docs/endpoint.md says what the catalogue answers."
        raise QueryError(f"there is no function {name}()", todo=todo, code="42883")


def _unknown(node: exp.Expr, macros: frozenset[str]) -> None:
    if isinstance(node, exp.Func):
        _known_function(_called(node), macros)
    word = node.key.upper()
    raise QueryError(f"{word} is not supported in a query on the catalogue", todo="Write a plain SELECT.", code="0A000")


def _called(node: exp.Func) -> str:
    """The name that a function was called by, as far as the parser kept it."""
    written = re.match(r"[a-z_0-9]+(?=\()", node.sql("postgres").lower())
    return written[0] if written else node.sql_name().lower()


def _parts(node: exp.Expr) -> None:
    """Clauses and words that would reach the engine unread."""
    if isinstance(node, exp.Select):
        extra = [part for part, value in node.args.items() if value and part not in CLAUSES]
    elif isinstance(node, exp.Table):
        extra = [part for part, value in node.args.items() if value and part not in _TABLE_PARTS]
    elif isinstance(node, exp.With):
        extra = ["recursive"] if node.args.get("recursive") else []
    elif type(node) in PARTS and not isinstance(node, exp.Identifier):
        extra = [part for part, value in node.args.items() if value and part not in PARTS[type(node)]]
    else:
        extra = []
    if extra:
        what = extra[0].rstrip("_").replace("_", " ").upper()
        raise QueryError(f"{what} is not supported in a query on the catalogue", todo="Leave it out.", code="0A000")


def _shape(node: exp.Expr) -> None:
    """What is allowed in one form only."""
    if isinstance(node, exp.Identifier) and node.name.lower().startswith("fc_"):
        raise QueryError(f"names that begin with fc_ are taken ({node.name})", todo="Use another name.", code="42939")
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Func):
        schema = node.this.name.lower()
        if schema not in _SCHEMAS:
            raise QueryError(f'there is no schema "{schema}"', todo="Write pg_catalog.", code="3F000")
    if isinstance(node, (exp.ExplodingGenerateSeries, exp.GenerateSeries)):
        _series(node)
    if isinstance(node, exp.Replace) and not _is_small(node):
        raise QueryError("replace() takes two short texts, and no other replace() inside", code="0A000")
    if isinstance(node, exp.Cast) and not _is_plain(node.to):
        raise QueryError(f"no cast to {node.to.sql('postgres')}", todo="Cast to a plain type.", code="0A000")
    if isinstance(node, exp.TimeToStr):
        set_format(node)


def _is_plain(kind: exp.Expr) -> bool:
    """Whether a cast's type is one of the router's, one that the rewrite maps, or a list of such."""
    if isinstance(kind, exp.ObjectIdentifier):
        return True
    inner = kind.expressions[0] if kind.is_type("array") and kind.expressions else kind
    return inner.this in TYPES or inner.this.name in _OWN_TYPES


def _series(node: exp.Expr) -> None:
    """A series is as long as a list of the catalogue, or as two whole numbers say."""
    start, end = node.args.get("start"), node.args.get("end")
    first = int(start.name) if isinstance(start, exp.Literal) and start.name.isdigit() else None
    last = int(end.name) if isinstance(end, exp.Literal) and end.name.isdigit() else first if _is_length(end) else None
    if first is None or last is None or last - first >= SERIES_MAX or node.args.get("step") is not None:
        todo = f"Write generate_series(1, {SERIES_MAX}) at most."
        raise QueryError("generate_series() takes two whole numbers that are near", todo=todo, code="0A000")


def _is_length(node: exp.Expr | None) -> bool:
    """Whether it is the length of a column's list, or of the list of schemas."""
    if not isinstance(node, exp.Anonymous) or node.name.lower() not in ("array_upper", "array_length"):
        return False
    return isinstance(node.expressions[0], (exp.Column, exp.CurrentSchemas))


def _is_small(node: exp.Replace) -> bool:
    """Whether a replace can't make a text grow without bounds."""
    words = [node.expression, node.args.get("replacement")]
    short = all(isinstance(word, exp.Literal) and len(word.name) <= _WORD_MAX for word in words)
    return short and node.find_ancestor(exp.Replace) is None
