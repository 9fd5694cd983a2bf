"""PostgreSQL's catalogue, as far as it is true here: what psql and drivers ask about tables, columns and comments.

A query on `pg_catalog`, `information_schema` or `fleet` runs on plain tables (pg_catalog.sql) in a DuckDB of its own,
which reads no files and holds no data of the lake. What can't be answered is refused with the reason and logged;
nothing is ever answered with rows that were not asked for, or with none for lack of an idea.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from sqlglot import exp

from cubes.serve import catalog_grammar, catalog_rewrite
from cubes.serve.pg_types import PG_TYPES
from cubes.serve.running import Viewer
from cubes.serve.statements import Statement, parse
from cubes.serve.variables import Variables
from lake.duck import Duck, connect
from lake.errors import QueryError
from lake.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

    from cubes.access import Policy

_LOG = logging.getLogger(__name__)
_SCRIPT = Path(__file__).with_name("pg_catalog.sql")
_FIRST_OID = 20000
_FIRST_KEY_OID = 50000
_POLICIES_KEPT = 16
_MEMORY_MIB = 128
_BATCH_ROWS = 4096
_UNKNOWN = re.compile('Referenced column "([^"]*)" not found')
_BYTES_MAX = 64 << 20


@dataclass(frozen=True)
class RelationColumn:
    """A column as clients see it; `type` is a name of PG_TYPES, with [] behind it for an array."""

    name: str
    type: str
    comment: str = ""
    not_null: bool = False


@dataclass(frozen=True)
class Relation:
    """A table ('r') or view ('v') that the endpoint shows.

    `read` gives the rows of one that lives in the server itself, anew for each query, as the asking viewer may see
    them. `key` tells its rows apart; `about` is the table whose rows it shows, where that is another one.
    """

    schema: str
    name: str
    kind: str
    comment: str
    columns: tuple[RelationColumn, ...]
    read: Callable[[Viewer], pa.Table] | None = None
    key: tuple[str, ...] = ()
    about: str = ""


class Catalogue:
    """The catalogue of one server, shared by its connections, each query on a cursor of its own."""

    def __init__(self, relations: tuple[Relation, ...]) -> None:
        """Fill the tables from the relations; they don't change while a server runs."""
        self._relations = relations
        self._under: dict[str, Catalogue] = {}
        self._duck = connect(Settings(lake=Path("/nonexistent"), memory_mib=_MEMORY_MIB, threads=1))
        self._lock = Lock()
        self._running: dict[int, Duck] = {}
        given = _given(relations)
        for name, table in given.items():
            self._duck.register(name, table)
        listed = "SELECT function_name FROM duckdb_functions() WHERE starts_with(function_name, 'fc_')"
        others = set(self._duck.sql(listed))
        for statement in _SCRIPT.read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                self._duck.execute(statement)
        for name in given:
            self._duck.unregister(name)
        self._live = {_live_name(item): item.read for item in relations if item.read is not None}
        own = {name for (name,) in self._duck.sql("SELECT table_name FROM duckdb_tables()")}
        self._tables = frozenset(own | set(self._live))
        self._macros = frozenset(name for (name,) in set(self._duck.sql(listed)) - others)
        # Nothing is spilled: what outgrows the memory limit is refused.
        self._duck.execute("SET temp_directory = ''")
        self._duck.execute("SET GLOBAL integer_division = true")
        self._duck.execute("SET enable_external_access = false")
        self._duck.execute("SET lock_configuration = true")

    def under(self, policy: Policy | None) -> Catalogue:
        """The catalogue as a user sees it: without the tables and columns that are not for them."""
        if policy is None:
            return self
        with self._lock:
            held = self._under.pop(policy.digest, None)
        if held is None:
            held = Catalogue(_visible(self._relations, policy))
        with self._lock:
            self._under[policy.digest] = held
            # Those not used for longest go; one that is being asked is closed when its last query ends.
            while len(self._under) > _POLICIES_KEPT:
                self._under.pop(next(iter(self._under)))
        return held

    def column_types(self, tree: exp.Expression) -> dict[str, str]:
        """The types of the columns of a query's tables, by name; of all tables where it names none of them."""
        named = {table.name.lower() for table in tree.find_all(exp.Table)}
        found = [item for item in self._relations if item.name in named] or self._relations
        return {column.name: column.type for item in found for column in item.columns}

    def owns(self, statement: Statement) -> bool:
        """Whether a query is for the catalogue: it names a system table, or no table at all.

        Errors: QueryError 0A000 for a query that joins system tables and facts.
        """
        words = [text.lower() for text, _ in statement.tokens]
        if "from" in words and not any(w.startswith("pg_") or w in ("information_schema", "fleet") for w in words):
            return False
        tree = parse(statement)
        if not isinstance(tree, exp.Query):
            return False
        names = catalog_rewrite.tables_of(tree)
        system = [name for name in names if catalog_rewrite.is_system(name)]
        if system and len(system) < len(names):
            raise QueryError(
                "a query can't join system tables and facts yet",
                todo="Ask for them in two queries.",
                code="0A000",
            )
        return len(system) == len(names)

    def query(
        self,
        statement: Statement,
        variables: Variables,
        known: Mapping[str, str | int],
        process: int,
        viewer: Viewer,
    ) -> pa.Table:
        """Answer a query that the catalogue owns; `known` holds what functions like current_user return.

        `process` names the asking connection, for `interrupt`; system tables show what `viewer` may see.
        """
        tree = parse(statement)
        catalog_grammar.check(tree, self._macros)
        rewritten = catalog_rewrite.rewrite(tree, self._tables, self._macros, variables.get, known)
        used = {table.name for table in rewritten.find_all(exp.Table)}
        text = rewritten.sql("duckdb")
        # The bare cursor: Duck.cursor() sets what this locked database no longer lets anybody set.
        cursor = Duck(self._duck.connection.cursor())
        with self._lock:
            self._running[process] = cursor
        try:
            for name, read in self._live.items():
                if name in used:
                    cursor.register(name, read(viewer))
            table = _whole(cursor, text)
            names = catalog_rewrite.output_names(tree) if isinstance(tree, exp.Query) else None
            return table if names is None else table.rename_columns(names)
        except QueryError as error:
            if unknown := _UNKNOWN.search(error.what):
                raise QueryError(f'column "{unknown[1]}" does not exist', code="42703") from error
            if error.code not in ("XX000", "42883"):
                raise
            # It is this subset that falls short: refuse and log, never answer from nothing.
            raise _refusal(error, statement, text) from error
        finally:
            with self._lock:
                del self._running[process]
            cursor.connection.close()

    def interrupt(self, process: int) -> None:
        """Stop the catalogue query of that connection, if one runs."""
        with self._lock:
            narrowed = list(self._under.values())
        for other in narrowed:
            other.interrupt(process)
        with self._lock:
            running = self._running.get(process)
            if running is not None:
                running.interrupt()


def _whole(cursor: Duck, text: str) -> pa.Table:
    """All rows of a query; QueryError 53400 for more bytes than any catalogue has, before the server holds them."""
    import pyarrow as pa

    batches, size = [], 0
    for batch in cursor.stream(text, _BATCH_ROWS):
        size += batch.nbytes
        if size > _BYTES_MAX:
            todo = "Join its tables by their keys, or add LIMIT."
            raise QueryError(f"the answer has more than {_BYTES_MAX >> 20} MiB", todo=todo, code="53400")
        batches.append(batch)
    return pa.Table.from_batches(batches)


def _visible(relations: tuple[Relation, ...], policy: Policy) -> tuple[Relation, ...]:
    """The relations of a user, each with the columns of a user."""
    found = []
    for item in relations:
        if item.schema == "fleet":
            found += [item] if policy.sees(item.name) else []
        elif item.schema == "pg_catalog":
            found.append(item)
        elif policy.reads(item.about or item.name):
            table = item.about or item.name
            columns = tuple(column for column in item.columns if policy.shows(table, column.name))
            found.append(replace(item, columns=columns))
    return tuple(found)


def _live_name(item: Relation) -> str:
    return f"fc_{item.name}" if item.schema == "pg_catalog" else f"fc_{item.schema}_{item.name}"


def _refusal(error: QueryError, statement: Statement, text: str) -> QueryError:
    _LOG.warning("catalogue query refused: %s | asked: %s | as: %s", error.what, statement.text, text)
    todo = "The server's log holds the query: it shows what this catalogue lacks."
    return QueryError(f"the catalogue can't answer this query: {error.what}", todo=todo, code="0A000")


def _schema(**kinds: type) -> pa.Schema:
    """A schema of texts, whole numbers and booleans."""
    import pyarrow as pa

    types = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}
    return pa.schema({name: types[kind] for name, kind in kinds.items()})


def _given_keys(relations: tuple[Relation, ...]) -> pa.Table:
    """The keys of relations all of whose key columns are shown, each as the numbers of its columns."""
    import pyarrow as pa

    fields = _schema(oid=int, relation=int, schema=str, relation_name=str, name=str)
    keys = [
        {
            "oid": _FIRST_KEY_OID + place,
            "relation": _FIRST_OID + place,
            "schema": relation.schema,
            "relation_name": relation.name,
            "name": f"{relation.name}_pkey",
            "columns": [
                number for name in relation.key for number, c in enumerate(relation.columns, 1) if c.name == name
            ],
        }
        for place, relation in enumerate(relations)
        if relation.key and set(relation.key) <= {column.name for column in relation.columns}
    ]
    return pa.Table.from_pylist(keys, schema=fields.append(pa.field("columns", pa.list_(pa.int16()))))


def _given(relations: tuple[Relation, ...]) -> dict[str, pa.Table]:
    """What the script fills its tables from, by the names that it reads."""
    import pyarrow as pa

    shown = [
        {
            "oid": _FIRST_OID + place,
            "schema": relation.schema,
            "name": relation.name,
            "kind": relation.kind,
            "comment": relation.comment,
            "columns": len(relation.columns),
        }
        for place, relation in enumerate(relations)
    ]
    columns = [
        {
            "relation": _FIRST_OID + place,
            "number": number,
            "name": column.name,
            # An array type is named after that of its elements.
            "type": f"_{column.type[:-2]}" if column.type.endswith("[]") else column.type,
            "comment": column.comment,
            "not_null": column.not_null,
        }
        for place, relation in enumerate(relations)
        for number, column in enumerate(relation.columns, start=1)
    ]
    return {
        "fc_given_keys": _given_keys(relations),
        "fc_given_types": pa.Table.from_pylist([asdict(item) for item in PG_TYPES.values()]),
        # With their types: for a user who may read nothing there is no row to take them from.
        "fc_given_relations": pa.Table.from_pylist(
            shown, schema=_schema(oid=int, schema=str, name=str, kind=str, comment=str, columns=int)
        ),
        "fc_given_columns": pa.Table.from_pylist(
            columns, schema=_schema(relation=int, number=int, name=str, type=str, comment=str, not_null=bool)
        ),
    }
