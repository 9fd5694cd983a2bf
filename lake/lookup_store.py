"""Lookups as Delta tables: shipped rows at first, replaced as a whole when somebody loads their own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from lake.delta import commit, open_snapshot
from lake.duck import Duck, arrow_texts, duck_type
from lake.lease import Busy, lease
from lake.lookups import Lookup, LookupColumn, Row, checked_rows, load_lookups, read_rows
from lake.parquet import parquet_texts, scan_parquet
from lake.tables import lookup

# Making a lookup takes a fraction of a second.
_TRIES: Final = 150
_WAIT_S: Final = 0.2


def publish_lookup(lake: Path, duck: Duck, name: str, rows: Sequence[Row]) -> bool:
    """Make `rows` (texts in column order) the lookup's whole content in one commit; False if it held just that."""
    ref = lookup(name)
    snapshot = open_snapshot(lake, ref)
    source = f"lookup_{name}"
    duck.register(source, arrow_texts(ref.schema.names, rows))
    try:
        cast = ", ".join(f'CAST("{item.name}" AS {duck_type(item.type)}) AS "{item.name}"' for item in ref.schema)
        select = f"SELECT {cast} FROM {source}"
        if snapshot.exists and not _differs(duck, select, duck.scan(snapshot)):
            return False
        number = (snapshot.txn("lookup") or 0) + 1
        files = duck.write(select, lake, ref, f"v{number}")
        commit(lake, ref, snapshot, adds=files, removes=snapshot.files, txns={"lookup": number})
        return True
    finally:
        duck.unregister(source)


def lookup_rows(duck: Duck, declared: Lookup, path: Path) -> tuple[Row, ...]:
    """The rows of a CSV or Parquet file for a lookup, checked; of Parquet the columns may stand in any order.

    Errors: DefinitionError with the file and the line, or the row, that is wrong.
    """
    if path.suffix != ".parquet":
        return read_rows(declared, path)
    texts = parquet_texts(path, [column.name for column in declared.columns])
    wanted = ", ".join(_as_written(column, text) for column, text in zip(declared.columns, texts, strict=True))
    rows = duck.sql(f"SELECT {wanted} FROM {scan_parquet(path)} ORDER BY file_row_number")
    cells = ([cell or "" for cell in row] for row in rows)
    return checked_rows(declared, ((row, f"{path}:{number}") for number, row in enumerate(cells, 1)))


def _as_written(column: LookupColumn, text: str) -> str:
    """A text as a CSV file would have it: a time without a zone is UTC, a whole number that came as a double is one."""
    if column.type == "timestamp":
        return f"CASE WHEN ends_with({text}, 'Z') THEN {text} ELSE {text} || 'Z' END"
    return f"regexp_replace({text}, '[.]0$', '')" if column.type == "integer" else text


def ensure_lookups(lake: Path, duck: Duck, names: Iterable[str] | None = None) -> list[str]:
    """Make the missing lookups with their shipped rows, and bring the generated one (`metrics`) up to date."""
    made = []
    for name, declared in load_lookups().items():
        wanted = names is None or name in names
        if wanted and (name == "metrics" or not open_snapshot(lake, lookup(name)).exists):
            made += [name] if _made(lake, duck, name, declared.rows) else []
    return made


def _made(lake: Path, duck: Duck, name: str, rows: Sequence[Row]) -> bool:
    """Publish a lookup unless another process that starts on the same lake has done it, or does it just now."""
    for left in reversed(range(_TRIES)):
        try:
            with lease(lake, lookup(name).key):
                is_due = name == "metrics" or not open_snapshot(lake, lookup(name)).exists
                return is_due and publish_lookup(lake, duck, name, rows)
        except Busy:
            if not left:
                raise
            time.sleep(_WAIT_S)
    return False


def _differs(duck: Duck, select: str, stored: str) -> bool:
    [(count,)] = duck.sql(
        f"SELECT count(*) FROM ((({select}) EXCEPT ALL (SELECT * FROM {stored})) "
        f"UNION ALL ((SELECT * FROM {stored}) EXCEPT ALL ({select})))"
    )
    return int(count) > 0
