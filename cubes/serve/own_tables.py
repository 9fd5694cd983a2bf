"""Tables of the schema `fleet` that tell of this server itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cubes.serve.pg_catalog import Relation, RelationColumn
from cubes.serve.running import Viewer

if TYPE_CHECKING:
    import pyarrow as pa

    from cubes.results import ResultCache
    from cubes.selfaudit import SelfAudit

_CACHE: Final = (
    RelationColumn("hits", "int8", "Statements that were answered from it [1]"),
    RelationColumn("misses", "int8", "Statements that were not [1]"),
    RelationColumn("entries", "int8", "Answers that are kept [1]"),
    RelationColumn("size_bytes", "int8", "What they take [By]"),
    RelationColumn("most_bytes", "int8", "What they may take [By]"),
)


_AUDIT: Final = (
    RelationColumn("sampled", "int8", "Answers from cubes that were chosen [1]"),
    RelationColumn("dropped", "int8", "Of these, left out because too many were waiting [1]"),
    RelationColumn("skipped", "int8", "Left out since rows can't tell: ties, size, time, expired rows [1]"),
    RelationColumn("audited", "int8", "Asked of trusted rows again [1]"),
    RelationColumn("differing", "int8", "That said something else [1]"),
)


def audit_table(audit: SelfAudit) -> Relation:
    """`fleet.selfaudit`: one row, what the self-audit of this server did."""

    def table(viewer: Viewer) -> pa.Table:
        import pyarrow as pa

        counts = vars(audit.counts)
        return pa.table({column.name: pa.array([counts[column.name]], pa.int64()) for column in _AUDIT})

    return Relation("fleet", "selfaudit", "v", "Answers that this server asked of trusted rows again", _AUDIT, table)


def cache_table(results: ResultCache) -> Relation:
    """`fleet.result_cache`: one row, what this server keeps of answers and how often that was of use."""

    def table(viewer: Viewer) -> pa.Table:
        import pyarrow as pa

        counts = results.counts
        row = (counts.hits, counts.misses, counts.entries, counts.size_bytes, results.most_bytes)
        names = [column.name for column in _CACHE]
        return pa.table({name: pa.array([value], pa.int64()) for name, value in zip(names, row, strict=True)})

    return Relation("fleet", "result_cache", "v", "Answers that this server keeps until a publish", _CACHE, table)
