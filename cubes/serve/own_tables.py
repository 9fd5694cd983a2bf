"""Tables of the schema `fleet` that tell of this server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cubes.serve.pg_catalog import Relation, RelationColumn

if TYPE_CHECKING:
    import pyarrow as pa

    from cubes.results import ResultCache

_CACHE: Final = (
    RelationColumn("hits", "int8", "Statements that were answered from it [1]"),
    RelationColumn("misses", "int8", "Statements that were not [1]"),
    RelationColumn("entries", "int8", "Answers that are kept [1]"),
    RelationColumn("size_bytes", "int8", "What they take [By]"),
    RelationColumn("most_bytes", "int8", "What they may take [By]"),
)


def cache_table(results: ResultCache) -> Relation:
    """`fleet.result_cache`: one row, what this server keeps of answers and how often that was of use."""

    def table() -> pa.Table:
        import pyarrow as pa

        counts = results.counts
        row = (counts.hits, counts.misses, counts.entries, counts.size_bytes, results.most_bytes)
        names = [column.name for column in _CACHE]
        return pa.table({name: pa.array([value], pa.int64()) for name, value in zip(names, row, strict=True)})

    return Relation("fleet", "result_cache", "v", "Answers that this server keeps until a publish", _CACHE, table)
